"""The stack of CloudFormation against an emulator of AWS, from its creation to its deletion, with the program on it.

    stack.py --bin SLUICE        # a build with --features aws; needs boto3, jsonschema and PyYAML in this Python

Creates what deploy/cloudformation/sluice.yaml describes: by the emulator's CloudFormation what it knows, by its APIs what it passes over, and the
custom resources by their handlers, as they stand in the template, called as CloudFormation calls them. Then the main job: log events into
the log group → stream → breach on a queue → deny → access refused → the period ends → access back; and the end of the stack with a hold in force,
once with the daemon alive and once without. Every line of the story is an assertion.
"""

import argparse
import base64
import datetime
import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
import urllib.request

import boto3
import jsonschema
from botocore.config import Config
from botocore.exceptions import ClientError

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests/deploy/cloudformation"))

from render import ACCOUNT, REGION, Stack, many, read  # noqa: E402

NAME = "sluice"
MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true"}
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]})
ANY = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "bedrock:*", "Resource": "*"}]})
PATIENCE = 120
# The budgets that the owner writes over the first ones: a period short enough to end while the test waits.
BUDGETS = """
[[budget]]
name = "each agent, a minute"
each = ["agent_id"]
limit = "5 USD"
window = "rolling 1m"
mode = "enforce"
[[budget.threshold]]
at = "100%"
do = ["notify", "hold"]
"""
# What the emulator's CloudFormation passes over without a word.
SKIPPED = {"AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::SNS::Subscription", "AWS::S3::BucketPolicy", "AWS::CloudWatch::Alarm",
           "AWS::Glue::Database", "AWS::Glue::Table", "AWS::Athena::WorkGroup", "AWS::Athena::NamedQuery", "AWS::CloudTrail::Trail",
           "AWS::Logs::Destination"}
# The order in which custom resources are made; those that a template has.
CUSTOM = ["Logging", "Subscription", "Trail", "FirstBudgets", "EnforcementSwitch", "Release"]
# Attributes of what it makes, by type: all are made of names.
ARNS = {"AWS::Kinesis::Stream": "kinesis:{region}:{account}:stream/{id}", "AWS::DynamoDB::Table": "dynamodb:{region}:{account}:table/{id}",
        "AWS::IAM::Role": "iam::{account}:role/{id}", "AWS::Lambda::Function": "lambda:{region}:{account}:function:{id}",
        "AWS::Logs::LogGroup": "logs:{region}:{account}:log-group:{id}:*", "AWS::S3::Bucket": "s3:::{id}",
        "AWS::Events::EventBus": "events:{region}:{account}:event-bus/{id}"}


class Context:
    """What Lambda tells a function."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self):
        return int(1000 * (self.end - time.monotonic()))


class Answers(http.server.BaseHTTPRequestHandler):
    """Where handlers put their answers, as CloudFormation's bucket takes them."""

    taken: list = []

    def do_PUT(self):
        self.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def until(what, holds, patience=PATIENCE):
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < patience, f"within {patience} s it did not come true that {what}"
        time.sleep(0.1)
    print(f"{time.monotonic() - begun:6.2f} s  {what}", flush=True)


def policies(resources):
    """Yields (roles, name, document) of every inline policy."""
    for one in resources.values():
        if one["Type"] == "AWS::IAM::Role":
            for entry in one["Properties"].get("Policies", []):
                yield [one["Properties"]["RoleName"]] if "RoleName" in one["Properties"] else [], entry["PolicyName"], entry["PolicyDocument"]
        if one["Type"] == "AWS::IAM::Policy":
            yield one["Properties"]["Roles"], one["Properties"]["PolicyName"], one["Properties"]["PolicyDocument"]


class Emulator:
    """AWS, as far as the emulator has it, and where handlers put their answers."""

    def __init__(self, log):
        self.moto = subprocess.Popen([str(HERE / "servers/moto.sh")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self.url = self.moto.stdout.readline().strip()
        os.environ.update(KEYS, AWS_ENDPOINT_URL=self.url)
        self.answers = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        threading.Thread(target=self.answers.serve_forever, daemon=True).start()

    def end(self):
        self.answers.shutdown()
        self.moto.stdin.close()
        self.moto.wait(10)


class Cloud:
    """One stack in an account and region, and CloudFormation as far as the emulator has it. `session` has credentials of that account."""

    def __init__(self, emulator, parameters, template="sluice.yaml", name=NAME, account=ACCOUNT, region=REGION, session=None):
        self.emulator, self.url, self.template, self.parameters, self.made = emulator, emulator.url, read(template), parameters, {}
        self.name, self.account, self.region, self.session = name, account, region, session or boto3.Session()
        self.functions = {}

    def client(self, name):
        return self.session.client(name, region_name=self.region)

    def rendered(self, **more):
        return Stack(self.template, self.parameters, self.name, region=self.region, account=self.account, **more)

    def create(self):
        """Creates the stack: first what the emulator makes, then what it passes over, then the custom resources in their order."""
        self.stack = self.rendered()
        there, resources = self.stack.there(), self.template["Resources"]
        self.custom = [name for name in there if resources[name]["Type"].startswith("Custom::")]
        plain = self.rendered(attributes={(name, key): "x" for name in self.custom for key in
                                          ("Told", "LogGroup", "Distribution", "Replay", "Name")})
        text = json.dumps({"AWSTemplateFormatVersion": "2010-09-09", "Resources": {name: self.for_moto(plain, name) for name in there if
                                                                                  name not in self.custom and not self.passes_over(name)}})
        self.client("cloudformation").create_stack(StackName=self.name, TemplateBody=text, Capabilities=["CAPABILITY_NAMED_IAM"])
        for one in self.client("cloudformation").describe_stack_resources(StackName=self.name)["StackResources"]:
            self.learn(one["LogicalResourceId"], resources[one["LogicalResourceId"]]["Type"], one.get("PhysicalResourceId"))
        self.fill()
        for name in sorted(self.custom, key=CUSTOM.index):
            self.order("Create", name)
        if "Configuration" not in resources:
            return self.stack.outputs()
        # It was made before the custom resources were answered. One word differs: while the emulator waits for a message it answers nobody.
        text = self.stack.value(resources["Configuration"]["Properties"]["Value"]).replace('queue_wait = "10s"', 'queue_wait = "0s"')
        self.client("ssm").put_parameter(Name=f"/{self.name}/config", Value=text, Overwrite=True)
        return self.stack.outputs()

    def passes_over(self, name):
        """Whether the emulator's CloudFormation makes nothing of a resource: some kinds, and a rule of a bus of one's own."""
        one = self.template["Resources"][name]
        return one["Type"] in SKIPPED or one["Type"] == "AWS::Events::Rule" and "EventBusName" in one["Properties"]

    def for_moto(self, plain, name):
        """One resource: conditions decided, references left to the emulator."""

        def decide(value):
            if isinstance(value, list):
                return [one for one in map(decide, value) if one != {"Ref": "AWS::NoValue"}]
            if not isinstance(value, dict):
                return value
            if "Fn::If" in value:
                condition, yes, no = value["Fn::If"]
                return decide(yes if plain.holds(condition) else no)
            if "Ref" in value and value["Ref"] in plain.parameters:
                return plain.parameters[value["Ref"]]
            if "Fn::GetAtt" in value and value["Fn::GetAtt"][0] in self.custom:
                return "x"
            if "Fn::Sub" in value:
                return self.substituted(plain, decide, value["Fn::Sub"])
            return {key: inner for key, inner in ((key, decide(inner)) for key, inner in value.items()) if inner != {"Ref": "AWS::NoValue"}}

        one = decide({key: value for key, value in self.template["Resources"][name].items() if key not in ("Condition", "Metadata", "DependsOn")})
        if one.get("DeletionPolicy") == "RetainExceptOnCreate":
            one["DeletionPolicy"] = "Retain"
        if one["Type"] == "AWS::SSM::Parameter":
            # A map, as CloudFormation wants it; the emulator wants a list.
            del one["Properties"]["Tags"]
        return one

    def substituted(self, plain, decide, sub):
        """A Fn::Sub whose own variables are decided and whose parameters are put in."""
        text, more = sub if isinstance(sub, list) else (sub, {})
        for parameter, value in plain.parameters.items():
            text = text.replace("${" + parameter + "}", value if isinstance(value, str) else ",".join(value))
        for custom in self.custom:
            text = text.replace("${" + custom + ".Replay}", "x").replace("${" + custom + ".Name}", "x")
        more = {key: decide(value) for key, value in more.items()}
        return {"Fn::Sub": [text, more] if more else text}

    def learn(self, name, kind, physical):
        # The emulator forgets the id of a bus, which is its name.
        physical = physical or self.stack.value(self.template["Resources"][name]["Properties"]["Name"])
        self.stack.known[name] = physical
        values = {"region": self.region, "account": self.account, "id": physical}
        if kind in ARNS:
            self.stack.attributes[name, "Arn"] = f"arn:aws:{ARNS[kind].format(**values)}"
        if kind == "AWS::SQS::Queue":
            queue = physical.rsplit("/", 1)[-1]
            self.stack.known[name] = self.client("sqs").get_queue_url(QueueName=queue)["QueueUrl"]
            self.stack.attributes.update({(name, "Arn"): f"arn:aws:sqs:{self.region}:{self.account}:{queue}", (name, "QueueName"): queue})
        if kind == "AWS::ECS::Service":
            self.stack.attributes[name, "Name"] = self.name

    def fill(self):
        """Makes by API what the emulator's CloudFormation passed over, from the template's own properties."""
        make = {
            "AWS::SQS::QueuePolicy": lambda p: [self.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(p["PolicyDocument"])})
                                                for url in p["Queues"]],
            "AWS::SNS::TopicPolicy": lambda p: [self.client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(
                p["PolicyDocument"])) for topic in p["Topics"]],
            "AWS::SNS::Subscription": lambda p: self.client("sns").subscribe(TopicArn=p["TopicArn"], Protocol=p["Protocol"], Endpoint=p["Endpoint"]),
            "AWS::S3::BucketPolicy": self.bucket_policy,
            "AWS::Logs::Destination": self.destination,
            "AWS::Events::Rule": self.rule,
            "AWS::CloudWatch::Alarm": lambda p: self.client("cloudwatch").put_metric_alarm(**p),
            "AWS::Glue::Database": lambda p: self.client("glue").create_database(DatabaseInput=p["DatabaseInput"]),
            "AWS::Glue::Table": lambda p: self.client("glue").create_table(DatabaseName=p["DatabaseName"], TableInput=p["TableInput"]),
            "AWS::Athena::WorkGroup": lambda p: self.client("athena").create_work_group(Name=p["Name"], Configuration=p["WorkGroupConfiguration"]),
            "AWS::Athena::NamedQuery": lambda p: self.client("athena").create_named_query(
                Name=p["Name"], Description=p["Description"], Database=p["Database"], QueryString=p["QueryString"], WorkGroup=p["WorkGroup"]),
        }  # fmt: skip
        self.stack.known.setdefault("Database", self.stack.parameters.get("GlueDatabase"))
        self.stack.known.setdefault("Workgroup", self.name)
        for name in self.stack.there():
            kind = self.template["Resources"][name]["Type"]
            if kind in make and self.passes_over(name):
                make[kind](self.stack.value(self.template["Resources"][name]["Properties"]))
        # The emulator writes policies with references in them as Python writes them, which nobody can read as JSON.
        for name, policy, document in policies(self.stack.resources()):
            for role in name:
                self.client("iam").put_role_policy(RoleName=role, PolicyName=policy, PolicyDocument=json.dumps(document))

    def rule(self, properties):
        events, name = self.client("events"), f"{self.name}-{properties['EventBusName']}"
        events.put_rule(Name=name, EventBusName=properties["EventBusName"], EventPattern=json.dumps(properties["EventPattern"]), State="ENABLED")
        events.put_targets(Rule=name, EventBusName=properties["EventBusName"], Targets=properties["Targets"])

    def destination(self, properties):
        """Where log groups of other accounts send; and a log group of its name, for the emulator takes any target of logs for one."""
        logs, name = self.client("logs"), properties["DestinationName"]
        logs.put_destination(destinationName=name, targetArn=properties["TargetArn"], roleArn=properties["RoleArn"])
        logs.put_destination_policy(destinationName=name, accessPolicy=properties["DestinationPolicy"])
        logs.create_log_group(logGroupName=name)

    def bucket_policy(self, properties):
        """Puts it and takes it away: the emulator looks at no condition, so that it would refuse whatever is refused without TLS."""
        self.client("s3").put_bucket_policy(Bucket=properties["Bucket"], Policy=json.dumps(properties["PolicyDocument"]))
        self.client("s3").delete_bucket_policy(Bucket=properties["Bucket"])

    def function(self, name):
        """The module that the template puts into a function."""
        if name not in self.functions:
            module = types.ModuleType("index")
            exec(compile(self.template["Resources"][name]["Properties"]["Code"]["ZipFile"], f"{name}/index.py", "exec"), module.__dict__)
            module.boto3 = types.SimpleNamespace(
                client=lambda service, config: self.session.client(service, region_name=self.region, config=config), Session=self.own_session)
            self.functions[name] = module
        return self.functions[name]

    def own_session(self):
        """What a function finds in its environment: keys and region."""
        keys = self.session.get_credentials().get_frozen_credentials()
        return boto3.Session(keys.access_key, keys.secret_key, keys.token, region_name=self.region)

    def order(self, verb, name, expected="SUCCESS", **more):
        """Has a custom resource created, updated or deleted, and keeps its answer."""
        resource = self.template["Resources"][name]
        function = resource["Properties"]["ServiceToken"]["Fn::GetAtt"][0]
        event = {"RequestType": verb, "ResourceType": resource["Type"], "LogicalResourceId": name, "RequestId": os.urandom(8).hex(), "StackId": "stack",
                 "ResponseURL": f"http://127.0.0.1:{self.emulator.answers.server_port}/answer",
                 "ResourceProperties": {**self.stack.value(resource["Properties"])}, **more}  # fmt: skip
        if verb != "Create":
            event["PhysicalResourceId"] = self.made[name]
        self.function(function).handler(event, Context(600))
        answer = Answers.taken.pop()
        assert answer["Status"] == expected, f"{verb} of {name}: {answer}"
        self.made[name] = answer["PhysicalResourceId"]
        self.stack.known[name] = answer["PhysicalResourceId"]
        self.stack.attributes.update({(name, key): value for key, value in answer.get("Data", {}).items()})
        return answer

    def delete(self):
        """Deletes the stack in CloudFormation's order: what depends on the release, the release, and then all that it depends on."""
        first = self.depending_on("Release")
        for name in first:
            self.delete_role(name)
        for name in ["Release", *reversed(CUSTOM[:-1])]:
            if name in self.custom:
                self.order("Delete", name)
        for policy in [one for one in ["DenyPolicy"] if one in self.stack.known]:
            entities = self.client("iam").list_entities_for_policy(PolicyArn=self.stack.known[policy])
            assert not entities["PolicyRoles"] and not entities["PolicyUsers"], "IAM deletes no policy that is attached"
        for name in first:
            # The emulator deletes a stack only if all of it is there. This role is another one, which nobody may take on.
            self.client("iam").create_role(RoleName=self.stack.known[name], AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": []}))
        self.client("cloudformation").delete_stack(StackName=self.name)
        # The emulator's CloudFormation leaves these; IAM refuses one that is attached.
        for policy in [one for one in self.client("iam").list_policies(Scope="Local")["Policies"] if one["Arn"] in self.stack.known.values()]:
            self.client("iam").delete_policy(PolicyArn=policy["Arn"])

    def depending_on(self, name):
        """Returns the resources that name another or wait for it: CloudFormation deletes them before it."""
        resources = self.stack.resources()
        text = {one: json.dumps(self.template["Resources"][one]) for one in resources}
        return [one for one in resources if f'"Ref": "{name}"' in text[one] or f'"Fn::GetAtt": ["{name}"' in text[one] or name in many(
            self.template["Resources"][one].get("DependsOn", []))]

    def delete_role(self, name):
        assert self.template["Resources"][name]["Type"] == "AWS::IAM::Role", name
        iam, role = self.client("iam"), self.stack.known[name]
        for policy in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            iam.delete_role_policy(RoleName=role, PolicyName=policy)
        iam.delete_role(RoleName=role)


class Story:
    def __init__(self, binary, folder):
        self.binary, self.folder, self.calls, self.daemon = os.path.abspath(binary), folder, 0, None
        self.emulator = Emulator(open(folder / "moto.log", "wb"))
        self.cloud = Cloud(self.emulator, {"EnableEnforcement": "true", "AgentRolePath": "agents/", "AlarmEmail": "ops@example.com"})
        # The emulator deletes resources in no particular order, which a network of the stack's own does not survive.
        subnets = self.cloud.client("ec2").describe_subnets()["Subnets"]
        self.cloud.parameters.update(VpcId=subnets[0]["VpcId"], SubnetIds=",".join(subnet["SubnetId"] for subnet in subnets[:2]))
        self.iam = self.cloud.client("iam")

    # ---- the account before the stack ----

    def account(self):
        """An account that logs its calls already, with an agent, a trail and somebody else's subscription."""
        logs = self.cloud.client("logs")
        logs.create_log_group(logGroupName="/bedrock/calls")
        logs.create_log_stream(logGroupName="/bedrock/calls", logStreamName="aws/bedrock/modelinvocations")
        self.logging = {"cloudWatchConfig": {"logGroupName": "/bedrock/calls", "roleArn": f"arn:aws:iam::{ACCOUNT}:role/bedrock"},
                        "textDataDeliveryEnabled": False, "imageDataDeliveryEnabled": False, "embeddingDataDeliveryEnabled": False,
                        "videoDataDeliveryEnabled": False, "audioDataDeliveryEnabled": False}
        self.cloud.client("bedrock").put_model_invocation_logging_configuration(loggingConfig=self.logging)
        for role in ["alpha", "beta"]:
            self.iam.create_role(RoleName=role, Path="/agents/", AssumeRolePolicyDocument=TRUST)
            self.iam.put_role_policy(RoleName=role, PolicyName="bedrock", PolicyDocument=ANY)

    def assume(self, role):
        return self.cloud.client("sts").assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{role}", RoleSessionName="session")["Credentials"]

    # ---- the program on the stack ----

    def configure(self):
        """Writes the very configuration of the stack where the program looks for it."""
        ssm = self.cloud.client("ssm")
        text = ssm.get_parameter(Name=f"/{NAME}/config")["Parameter"]["Value"]
        budgets = ssm.get_parameter(Name=f"/{NAME}/budgets")["Parameter"]["Value"]
        program = pathlib.Path(self.binary).read_bytes()
        self.env = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": self.cloud.url, "SLUICE__LAKE__STATE": str(self.folder / "local.redb"),
                    "SLUICE__CONTROL__SOCKET": str(self.folder / "control.sock"), "SLUICE__LAKE__COMMIT_INTERVAL": "2s", "SLUICE__ENFORCE__RESYNC": "1s",
                    "SLUICE__ENFORCE__SPREAD": "2s", "SLUICE__OPERATE__EMF": str(self.folder / "emf.jsonl"),
                    "SLUICE__ENFORCE__BREACHES_FILE": str(self.folder / "breaches.jsonl"), "STATE_DIRECTORY": str(self.folder),
                    "SLUICE__DIRECTORY__LISTS": "false", "SLUICE_CONFIG": f"ssm:/{NAME}/config"}  # fmt: skip
        takes_role = b"own_role_arn" in program
        self.env.update(self.session("ingest" if takes_role else "enforcer"))
        if not takes_role:
            print("this build takes on no role in its own account: it runs as the enforcer itself")
            text = "\n".join(line for line in text.splitlines() if not line.startswith("own_role_arn"))
            ssm.put_parameter(Name=f"/{NAME}/config", Value=text, Overwrite=True)
        if b"config_refresh" in program:
            self.env["SLUICE__CONTROL__CONFIG_REFRESH"] = "5s"
            return
        print("this build reads its configuration from files alone: the parameters are written into one")
        lines = [line for line in text.splitlines() if not line.startswith("include")]
        (self.folder / "sluice.toml").write_text("\n".join(lines) + "\n" + budgets)
        self.env["SLUICE_CONFIG"] = str(self.folder / "sluice.toml")

    def session(self, role):
        keys = self.assume(f"{NAME}-{role}")
        return {"AWS_ACCESS_KEY_ID": keys["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"], "AWS_SESSION_TOKEN": keys["SessionToken"]}

    def run(self, *words, ok=0):
        done = subprocess.run([self.binary, *words], env=self.env, capture_output=True, text=True)
        assert ok is None or done.returncode == ok, f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def start(self):
        log = open(self.folder / "daemon.log", "ab")
        command = self.cloud.stack.resources()["Task"]["Properties"]["ContainerDefinitions"][0]["Command"]
        self.daemon = subprocess.Popen([self.binary, *command], env=self.env, stdout=log, stderr=log)
        check = self.cloud.stack.resources()["Task"]["Properties"]["ContainerDefinitions"][0]["HealthCheck"]["Command"][2:]
        check[check.index("--socket") + 1] = self.env["SLUICE__CONTROL__SOCKET"]
        # Nothing but the socket is there for it: no configuration, no credentials, no AWS.
        ask = lambda: subprocess.run([self.binary, *check], env={"PATH": os.environ["PATH"]}, capture_output=True).returncode  # noqa: E731
        until("the daemon answers the task's health check", lambda: self.alive() and ask() == 0)
        until("it is ready", lambda: self.alive() and self.run("status", ok=None).returncode == 0)

    def alive(self):
        assert self.daemon.poll() is None, f"the daemon ended with {self.daemon.returncode}"
        return True

    def stop(self):
        self.daemon.terminate()
        assert self.daemon.wait(60) == 0, "the daemon ends by itself"

    # ---- the world ----

    def written(self, role, agent, calls, tokens, account=ACCOUNT, region=REGION):
        """Returns calls as Bedrock writes them into a log group of theirs."""
        self.spent = time.monotonic()
        now = datetime.datetime.now(datetime.timezone.utc)
        events = []
        for _ in range(calls):
            self.calls += 1
            events.append({"timestamp": int(now.timestamp() * 1000), "message": json.dumps({
                "schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "timestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "accountId": account, "region": region, "requestId": f"{self.calls:08x}-0000-4000-8000-{os.getpid():012x}",
                "identity": {"arn": f"arn:aws:sts::{account}:assumed-role/{role}/session"}, "operation": "Converse", "modelId": MODEL,
                "requestMetadata": {"agent_id": agent}, "input": {"inputContentType": "application/json", "inputTokenCount": tokens},
                "output": {"outputContentType": "application/json", "outputTokenCount": 10}})})  # fmt: skip
        return events

    def spend(self, role, agent, calls, tokens=100_000):
        """Bedrock writes calls into the log group."""
        events = self.written(role, agent, calls, tokens)
        self.cloud.client("logs").put_log_events(logGroupName="/bedrock/calls", logStreamName="aws/bedrock/modelinvocations", logEvents=events)

    @staticmethod
    def event(account=ACCOUNT, region=REGION):
        """CloudTrail tells who took on the role of an agent, as EventBridge brings it."""
        return {"version": "0", "id": "e", "detail-type": "AWS API Call via CloudTrail", "source": "aws.sts", "account": account, "region": region,
                 "time": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), "resources": [], "detail": {
                     "eventVersion": "1.11", "eventSource": "sts.amazonaws.com", "eventName": "AssumeRole", "awsRegion": region,
                     "eventTime": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"), "eventID": "5b8a1f5e-0000-4000-8000-000000000001",
                     "requestID": "5b8a1f5e-0000-4000-8000-000000000002", "eventType": "AwsApiCall", "recipientAccountId": account, "readOnly": True,
                     "userIdentity": {"type": "AWSService", "invokedBy": "ecs-tasks.amazonaws.com"},
                     "requestParameters": {"roleArn": f"arn:aws:iam::{account}:role/agents/alpha", "roleSessionName": "session"},
                     "responseElements": {"credentials": {"accessKeyId": "ASIAEXAMPLE"}, "assumedRoleUser": {
                         "arn": f"arn:aws:sts::{account}:assumed-role/alpha/session", "assumedRoleId": "AROAEXAMPLE:session"}}}}  # fmt: skip

    def trail_event(self):
        """The rule would bring an event into the queue. The emulator matches no rule in that state, so it is put there."""
        self.cloud.client("sqs").send_message(QueueUrl=self.cloud.stack.known["Events"], MessageBody=json.dumps(self.event()))
        until("the event of CloudTrail is read and committed", self.queue_is_empty)

    def queue_is_empty(self):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        left = self.cloud.client("sqs").get_queue_attributes(QueueUrl=self.cloud.stack.known["Events"], AttributeNames=names)["Attributes"]
        return all(int(count) == 0 for count in left.values())

    def denied(self, role):
        policy = self.cloud.stack.known["DenyPolicy"]
        return any(one["PolicyArn"] == policy for one in self.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"])

    def may_call(self, keys):
        """Whether the emulator, asked to judge policies, lets an agent call a model. Meanwhile the daemon stands still: outside S3 the
        emulator takes every resource for "*", so that what is granted on some roles alone would not be granted."""
        client = boto3.client("bedrock-runtime", aws_access_key_id=keys["AccessKeyId"], aws_secret_access_key=keys["SecretAccessKey"],
                              aws_session_token=keys["SessionToken"], config=Config(read_timeout=10, retries={"total_max_attempts": 1}))
        self.stand_still()
        self.judge(b"0")
        try:
            client.invoke_model(modelId="nova", body=b"{}", accept="application/json")
            return True
        except ClientError as error:
            assert "not authorized to perform" in str(error), error
            return False
        finally:
            self.judge(b"inf")
            self.let_daemon(signal.SIGCONT)

    def judge(self, after):
        request = urllib.request.Request(f"{self.cloud.url}/moto-api/reset-auth", after, {"Content-Type": "text/plain"})
        urllib.request.urlopen(request, timeout=30).read()

    def stand_still(self):
        """Stops the daemon while no call of it is under way: the emulator answers one after another, and what is sent last is answered last.
        Stopped in the middle of a call it would have the emulator wait for ever, so then the call is let through first."""
        for _ in range(50):
            self.let_daemon(signal.SIGSTOP)
            try:
                urllib.request.urlopen(f"{self.cloud.url}/moto-api/", timeout=3).read()
                return
            except TimeoutError:
                self.let_daemon(signal.SIGCONT)
                time.sleep(0.2)
        raise AssertionError("the emulator does not answer")

    def let_daemon(self, do):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.send_signal(do)

    def listen(self):
        """A queue that hears the breaches, as the output Subscribe would add one."""
        sqs, sns = self.cloud.client("sqs"), self.cloud.client("sns")
        self.heard = sqs.create_queue(QueueName="heard")["QueueUrl"]
        sns.subscribe(TopicArn=self.cloud.stack.known["Breaches"], Protocol="sqs", Endpoint=f"arn:aws:sqs:{REGION}:{ACCOUNT}:heard",
                      Attributes={"RawMessageDelivery": "true"})  # fmt: skip
        self.messages = []

    def hear(self, schema):
        """Returns the messages of a form, each held against its published schema."""
        sqs = self.cloud.client("sqs")
        for message in sqs.receive_message(QueueUrl=self.heard, MaxNumberOfMessages=10).get("Messages", []):
            body = json.loads(message["Body"])
            kind = body["schema"].split(".")[1].split("/")[0]
            jsonschema.validate(body, json.loads((ROOT / f"schemas/json/{kind}.schema.json").read_text()))
            self.messages.append(body)
            sqs.delete_message(QueueUrl=self.heard, ReceiptHandle=message["ReceiptHandle"])
        return [body for body in self.messages if body["schema"].startswith(f"sluice.{schema}/")]

    # ---- the story ----

    def tell(self):
        self.account()
        outputs = self.cloud.create()
        assert "/bedrock/calls" in outputs["Logging"] and "is subscribed to" in outputs["Subscription"], outputs
        found = self.cloud.client("bedrock").get_model_invocation_logging_configuration()["loggingConfig"]
        assert found == self.logging, "a configuration that is there is not changed"
        [filter] = self.cloud.client("logs").describe_subscription_filters(logGroupName="/bedrock/calls")["subscriptionFilters"]
        assert filter["filterName"] == NAME and filter["distribution"] == "ByLogStream", filter
        alarms = self.cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
        wanted = {f"{NAME}-{alarm['name']}" for alarm in json.loads((ROOT / "deploy/cloudformation/alarms.json").read_text())}
        assert {alarm["AlarmName"] for alarm in alarms} == wanted
        seeded = self.cloud.client("ssm").get_parameter(Name=f"/{NAME}/budgets")["Parameter"]["Value"]
        assert 'limit = "25.00 USD"' in seeded and 'mode = "enforce"' in seeded, seeded
        print("the stack is there; what was there before it is as it was")

        self.cloud.client("ssm").put_parameter(Name=f"/{NAME}/budgets", Value=BUDGETS, Overwrite=True)
        self.cloud.order("Update", "FirstBudgets")
        assert self.cloud.client("ssm").get_parameter(Name=f"/{NAME}/budgets")["Parameter"]["Value"] == BUDGETS, "an update leaves the owner's budgets"
        self.configure()
        self.listen()
        self.cloud.function("ReleaseFunction").runs = lambda own: bool(self.daemon) and self.daemon.poll() is None
        self.run("config", "check")
        self.run("lever", "check")
        self.forget_entries()
        self.start()
        until("the Glue Data Catalog knows every table and column again", self.entries_are_whole)
        self.run("approve", "each agent, a minute", "--reason", "read it")
        alpha = self.assume("agents/alpha")
        assert self.may_call(alpha)
        self.trail_event()

        self.spend("alpha", "alpha", 20)
        until("the breach is on the queue", lambda: self.hear("breach"))
        [breach] = [one for one in self.hear("breach") if one["severity"] == "critical"]
        until("the agent is denied", lambda: self.denied("alpha"))
        assert not self.may_call(alpha) and not self.denied("beta")

        self.tell_of_the_period_s_end(alpha, breach)
        self.tell_of_switching_off(alpha)
        self.tell_of_the_end(alpha)

    def tell_of_the_period_s_end(self, alpha, breach):
        """Access comes back, everyone who is told hears so, and spending on takes it again."""

        def others_go_on():
            # The ledger's clock is that of the calls: while none come, it allows for minutes of delay before it ends a period.
            if time.monotonic() - self.spent > 5:
                self.spend("beta", "beta", 1, 100)
            return self.alive() and not self.denied("alpha")

        until("the period ends and the agent has its access back", others_go_on, 180)
        assert self.may_call(alpha)
        until("the release is told", lambda: [one for one in self.hear("hold") if one["state"] == "released" and one["hold_id"] == breach["fire_id"]])

        self.spend("alpha", "alpha", 20)
        until("it is denied again", lambda: self.denied("alpha"))

    def forget_entries(self):
        """The catalogue as an older version of the program left it: one table is unknown, of another the last column."""
        glue, name = self.cloud.client("glue"), self.cloud.stack.known["Database"]
        self.entries = {table["Name"]: table["StorageDescriptor"]["Columns"] for table in glue.get_tables(DatabaseName=name)["TableList"]}
        assert self.entries == {table["Name"]: table["StorageDescriptor"]["Columns"] for table in json.loads((ROOT / "deploy/athena/tables.json").read_text())}
        glue.delete_table(DatabaseName=name, Name="directory")
        table = glue.get_table(DatabaseName=name, Name="calls")["Table"]
        table["StorageDescriptor"]["Columns"].pop()
        keys = ["Name", "Description", "TableType", "Parameters", "PartitionKeys", "StorageDescriptor"]
        glue.update_table(DatabaseName=name, TableInput={key: table[key] for key in keys})

    def entries_are_whole(self):
        tables = self.cloud.client("glue").get_tables(DatabaseName=self.cloud.stack.known["Database"])["TableList"]
        return self.entries == {table["Name"]: table["StorageDescriptor"]["Columns"] for table in tables}

    def tell_of_switching_off(self, alpha):
        """EnableEnforcement from true to false, and back: what is held comes free before the configuration changes."""
        stack = self.cloud.stack
        before = stack.value(self.cloud.template["Resources"]["EnforcementSwitch"]["Properties"])
        self.cloud.order("Update", "EnforcementSwitch", OldResourceProperties=before, ResourceProperties={**before, "Enabled": "false"})
        assert not self.denied("alpha") and self.may_call(alpha)
        print("switched off, the agent has its access back, lifted by the daemon")
        self.run("lever", "start", "--reason", "switched on again")
        self.spend("beta", "beta", 20)
        until("switched on again, the next one is denied", lambda: self.denied("beta"))

    def count_puts(self):
        """Tells how many objects a commit of the lake puts, which docs/running-cost.md reckons with."""
        pages = self.cloud.client("s3").get_paginator("list_objects_v2").paginate(Bucket=self.cloud.stack.known["LakeBucket"], Prefix="lake/")
        keys = [found["Key"] for page in pages for found in page.get("Contents", [])]
        commits = [key for key in keys if key.startswith("lake/calls/_delta_log/") and key.endswith(".json")]
        puts = len(keys) / len(commits)
        print(f"{len(keys)} objects in {len(commits)} commits of the lake: {puts:.1f} each")
        costs = json.loads((ROOT / "deploy/cloudformation/costs.json").read_text())
        assert puts <= costs["measured"]["puts_of_a_commit"]["value"], "docs/running-cost.md reckons with fewer"
        if os.environ.get("SLUICE_STACK_KEYS"):
            print("\n".join(keys))

    def tell_of_the_end(self, alpha):
        """The stack goes: once the daemon lifts, the other time nobody answers."""
        self.cloud.order("Delete", "Release")
        assert not self.denied("beta")
        print("deleted with a hold in force, it is lifted by the daemon")
        self.run("audit", "verify")
        orders = [one for one in json.loads(self.run("audit", "list", "--format", "json").stdout) if one["entry"]["action"] == "command:release_all"]
        assert orders and all("actor" in one["entry"] for one in orders), orders
        self.stop()

        self.iam.attach_role_policy(RoleName="alpha", PolicyArn=self.cloud.stack.known["DenyPolicy"])
        self.count_puts()
        self.cloud.delete()
        assert not self.denied("alpha") and self.may_call(alpha)
        print("deleted while no daemon runs, it is lifted by the handler")
        roles = {role["RoleName"] for role in self.iam.list_roles()["Roles"]}
        assert roles == {"alpha", "beta"}, roles
        for role in ["alpha", "beta"]:
            assert self.iam.list_role_policies(RoleName=role)["PolicyNames"] == ["bedrock"], "what others put was not touched"
        assert self.cloud.stack.known["LakeBucket"] in [bucket["Name"] for bucket in self.cloud.client("s3").list_buckets()["Buckets"]]
        assert self.cloud.client("dynamodb").list_tables()["TableNames"] == [f"{NAME}-shared"]
        assert not self.cloud.client("logs").describe_subscription_filters(logGroupName="/bedrock/calls")["subscriptionFilters"]
        assert self.cloud.client("bedrock").get_model_invocation_logging_configuration()["loggingConfig"] == self.logging
        assert self.cloud.client("ssm").get_parameter(Name=f"/{NAME}/budgets")["Parameter"]["Value"] == BUDGETS, "the owner's budgets stay"
        print("not one deny is left, the roles are gone, the lake and the audit trail stay")

    def play(self, *more):
        """Tells the story, and what the program said where it comes to a bad end."""
        try:
            self.tell()
            for tell in more:
                tell(self)
        except BaseException:
            log = self.folder / "daemon.log"
            sys.stderr.write(log.read_text(encoding="utf-8", errors="replace")[-6000:] if log.exists() else "")
            if self.daemon and self.daemon.poll() is None:
                for words in [("hold", "list"), ("budget", "list"), ("lever", "list"), ("status",)]:
                    sys.stderr.write(self.run(*words, ok=None).stdout)
            raise
        finally:
            self.end()

    def end(self):
        if self.daemon and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGCONT)
            self.daemon.terminate()
            self.daemon.wait(60)
        self.emulator.end()


class Runtime(http.server.BaseHTTPRequestHandler):
    """The runtime API of Lambda, with one event."""

    event: bytes = b""
    answers: list = []

    def do_GET(self):
        while not Runtime.event:
            time.sleep(0.1)
        body, Runtime.event = Runtime.event, b""
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", "1")
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int((time.time() + 60) * 1000)))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.answers.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def tell_of_workers(story):
    """With Workers=lambda: the function's program, in the environment the template gives it, brings a batch of the stream into the relay."""
    properties = Stack(read("sluice.yaml"), {"Workers": "lambda"}, NAME, known={"Relay": "relay"}).resources()["Worker"]["Properties"]
    kinesis = story.cloud.client("kinesis")
    for stream in ["relay", "source"]:
        kinesis.create_stream(StreamName=stream, ShardCount=1)
    source = f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/source"
    story.cloud.client("logs").put_subscription_filter(logGroupName="/bedrock/calls", filterName=NAME, filterPattern="", destinationArn=source,
                                                       roleArn=f"arn:aws:iam::{ACCOUNT}:role/delivery")
    story.spend("beta", "beta", 3)

    def shard(name):
        first = kinesis.get_shard_iterator(StreamName=name, ShardId="shardId-000000000000", ShardIteratorType="TRIM_HORIZON")
        return kinesis.get_records(ShardIterator=first["ShardIterator"])["Records"]

    records = [{"eventSource": "aws:kinesis", "eventVersion": "1.0", "eventName": "aws:kinesis:record", "awsRegion": REGION,
                "eventSourceARN": source, "eventID": f"shardId-000000000000:{one['SequenceNumber']}",
                "kinesis": {"kinesisSchemaVersion": "1.0", "partitionKey": one["PartitionKey"], "sequenceNumber": one["SequenceNumber"],
                            "data": base64.b64encode(one["Data"]).decode(), "approximateArrivalTimestamp": time.time()}} for one in shard("source")]  # fmt: skip
    assert records, "the subscription delivered"
    runtime = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Runtime)
    threading.Thread(target=runtime.serve_forever, daemon=True).start()
    Runtime.event = json.dumps({"Records": records}).encode()
    task = story.folder / "task"
    task.mkdir()
    given = {**KEYS, **properties["Environment"]["Variables"], "AWS_ENDPOINT_URL": story.cloud.url, "AWS_LAMBDA_FUNCTION_NAME": "worker",
             "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{runtime.server_port}", "LAMBDA_TASK_ROOT": str(task), "PATH": os.environ["PATH"]}  # fmt: skip
    with open(story.folder / "worker.log", "wb") as log:
        worker = subprocess.Popen([story.binary], env=given, stdout=log, stderr=log, cwd="/")
    try:
        until("the function answers", lambda: Runtime.answers or worker.poll() is not None)
        assert Runtime.answers, (story.folder / "worker.log").read_text()
        path, answer = Runtime.answers[0]
        assert path.endswith("/invocation/1/response") and json.loads(answer) == {"batchItemFailures": []}, Runtime.answers
        assert shard("relay"), "what it read is in the relay"
    finally:
        worker.kill()
        worker.wait(10)
        runtime.shutdown()
    print("a function with the template's environment brings the stream into the relay")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-stack-") as folder:
        Story(args.bin, pathlib.Path(folder)).play(tell_of_workers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
