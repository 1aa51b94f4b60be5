"""As much of CloudFormation as the two embedded stacks of the Terraform module need, in front of moto: custom resources run for real.

moto accepts such stacks and runs nothing. Here a function's inline code is started in a Python of its own, with the events that
CloudFormation sends, against moto. Only the types below are known, and any other is a failure.

    Server(moto_url, python).start()   ->  .url, .log (what was done, in order), .stop()
"""

import copy
import http.server
import json
import os
import pathlib
import re
import subprocess
import tempfile
import threading
import urllib.parse
import uuid
from xml.sax.saxutils import escape

ACCOUNT, REGION = "123456789012", "us-east-1"
RUNNER = """
import json, sys, time
sys.path.insert(0, sys.argv[1])
import index
class Context:
    end = time.monotonic() + 120
    def get_remaining_time_in_millis(self):
        return int(max(0, self.end - time.monotonic()) * 1000)
print("\\n" + json.dumps(index.handler(json.load(sys.stdin), Context())))
"""


class Refused(Exception):
    """What a resource answered instead of being made, changed or deleted."""


def tags(form):
    """Returns the tags of a call, as an answer tells them."""
    numbers = sorted(int(key.split(".")[2]) for key in form if re.fullmatch(r"Tags\.member\.\d+\.Key", key))
    return [f"<member><Key>{escape(form[f'Tags.member.{n}.Key'])}</Key><Value>{escape(form[f'Tags.member.{n}.Value'])}</Value></member>" for n in numbers]


class Stack:
    """One stack: its template, its resources as they are, its outputs."""

    def __init__(self, server, name):
        self.server, self.name, self.id = server, name, f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/{uuid.uuid4()}"
        self.template, self.text, self.made, self.outputs = {"Resources": {}}, "{}", {}, {}
        self.status, self.reason, self.tags = "CREATE_IN_PROGRESS", "", []

    def value(self, value):
        """Carries out the functions in a value."""
        if isinstance(value, list):
            return [self.value(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(name, inner)] = value.items()
            if name == "Ref":
                return self.made[inner]["id"]
            if name == "Fn::GetAtt":
                return self.made[inner[0]]["attributes"][inner[1]]
            if name == "Fn::Join":
                return inner[0].join(self.value(inner[1]))
            if name == "Fn::Sub":
                return re.sub(r"\$\{(\w+)\}", lambda found: self.made[found.group(1)]["id"], inner)
        return {key: self.value(inner) for key, inner in value.items()}

    def order(self):
        """Returns the resources so that each comes after what it refers to."""
        resources, done = self.template["Resources"], []

        def visit(name):
            if name in done:
                return
            text = json.dumps(resources[name])
            for other in resources:
                if other != name and (re.search(rf'"Ref": "{other}"|"Fn::GetAtt": \["{other}"|\${{{other}}}', text)
                                      or other in resources[name].get("DependsOn", [])):
                    visit(other)
            done.append(name)

        for name in resources:
            visit(name)
        return done

    def apply(self, text):
        """Makes or changes the stack into what a template says; what it no longer names goes at the end."""
        before = copy.deepcopy(self.made)
        self.template, self.text = json.loads(text), text
        for name in self.order():
            about = self.template["Resources"][name]
            properties = self.value(about["Properties"])
            known = self.made.get(name)
            if known is None:
                self.made[name] = self.server.resource(self, name, about["Type"], "Create", properties, None)
            elif known["properties"] != properties:
                self.made[name] = self.server.resource(self, name, about["Type"], "Update", properties, known)
            self.made[name]["policy"] = about.get("DeletionPolicy", "Delete")
        for name in reversed([name for name in before if name not in self.template["Resources"]]):
            self.remove(name)
        self.outputs = {key: self.value(output["Value"]) for key, output in self.template.get("Outputs", {}).items()}

    def remove(self, name):
        """Deletes a resource, unless it is to be kept."""
        known = self.made[name]
        if known["policy"] != "Retain":
            self.server.resource(self, name, known["type"], "Delete", known["properties"], known)
        del self.made[name]

    def delete(self):
        """Deletes every resource, last made first."""
        for name in reversed(self.order()):
            if name in self.made:
                self.remove(name)


class Server:
    """Answers the calls that Terraform makes of CloudFormation."""

    def __init__(self, moto, python, client):
        """`client` makes a boto3 client of a service at moto; `python` has boto3."""
        self.moto, self.python, self.client = moto, python, client
        self.stacks, self.log, self.watch = {}, [], lambda what: None
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                form = dict(urllib.parse.parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode(), keep_blank_values=True))
                try:
                    status, body = 200, server.answer(form)
                except KeyError as missing:
                    status, body = 400, f"<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code><Message>Stack with id {missing} does not exist</Message></Error></ErrorResponse>"
                data = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_args):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def start(self):
        """Begins to listen."""
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def stop(self):
        """Ends it."""
        self.http.shutdown()
        self.http.server_close()

    def find(self, name):
        """Returns a stack by name or id; one that is gone by its id alone."""
        for stack in self.stacks.values():
            if name == stack.id or name == stack.name and stack.status != "DELETE_COMPLETE":
                return stack
        raise KeyError(name)

    def carry_out(self, stack, kind, work):
        """Does what changes a stack, and sets its status."""
        try:
            work()
            stack.status, stack.reason = f"{kind}_COMPLETE", ""
        except Refused as error:
            stack.status = {"CREATE": "ROLLBACK_COMPLETE", "UPDATE": "UPDATE_ROLLBACK_COMPLETE", "DELETE": "DELETE_FAILED"}[kind]
            stack.reason = str(error)
            self.log.append(f"{stack.name} {kind} failed: {error}")

    def answer(self, form):
        """Answers one call."""
        action, name = form["Action"], form.get("StackName", "")
        inner = ""
        if action == "CreateStack":
            stack = self.stacks[name] = Stack(self, name)
            stack.tags = tags(form)
            self.carry_out(stack, "CREATE", lambda: stack.apply(form["TemplateBody"]))
            inner = f"<StackId>{stack.id}</StackId>"
        elif action == "UpdateStack":
            stack = self.find(name)
            stack.tags = tags(form)
            self.carry_out(stack, "UPDATE", lambda: stack.apply(form["TemplateBody"]))
            inner = f"<StackId>{stack.id}</StackId>"
        elif action == "DeleteStack":
            stack = self.find(name)
            self.carry_out(stack, "DELETE", stack.delete)
        elif action == "DescribeStacks":
            inner = f"<Stacks>{self.find(name) and self.describe(self.find(name))}</Stacks>"
        elif action == "GetTemplate":
            inner = f"<TemplateBody>{escape(self.find(name).text)}</TemplateBody>"
        elif action == "DescribeStackEvents":
            stack = self.find(name)
            inner = (f"<StackEvents><member><EventId>1</EventId><StackId>{stack.id}</StackId><StackName>{stack.name}</StackName><LogicalResourceId>"
                     f"{stack.name}</LogicalResourceId><ResourceType>AWS::CloudFormation::Stack</ResourceType><ResourceStatus>DELETE_FAILED</ResourceStatus>"
                     f"<ResourceStatusReason>{escape(stack.reason)}</ResourceStatusReason><Timestamp>2030-01-01T00:00:00Z</Timestamp></member></StackEvents>")
        else:
            raise KeyError(f"call {action}")
        return f"<{action}Response><{action}Result>{inner}</{action}Result></{action}Response>"

    def describe(self, stack):
        """Returns a stack as DescribeStacks tells of it."""
        outputs = "".join(f"<member><OutputKey>{key}</OutputKey><OutputValue>{escape(str(value))}</OutputValue></member>" for key, value in stack.outputs.items())
        return (f"<member><StackId>{stack.id}</StackId><StackName>{stack.name}</StackName><CreationTime>2026-01-01T00:00:00Z</CreationTime>"
                f"<StackStatus>{stack.status}</StackStatus><StackStatusReason>{escape(stack.reason)}</StackStatusReason><DisableRollback>false</DisableRollback>"
                f"<Outputs>{outputs}</Outputs><Tags>{''.join(stack.tags)}</Tags></member>")

    def resource(self, stack, name, kind, request, properties, known):
        """Makes, changes or deletes one resource."""
        self.log.append(f"{stack.name} {request} {name}")
        self.watch(f"{request} {name}")
        made = {"type": kind, "properties": properties, "id": known["id"] if known else f"{stack.name}-{name}-{uuid.uuid4().hex[:8]}", "attributes": {}}
        if kind.startswith("Custom::"):
            made["id"], made["attributes"] = self.invoke(stack, name, kind, request, properties, known)
        elif kind == "AWS::Lambda::Function":
            made["attributes"]["Arn"] = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{made['id']}"
        elif kind == "AWS::Logs::LogGroup":
            logs = self.client("logs")
            if request != "Update":
                getattr(logs, f"{request.lower()}_log_group")(logGroupName=made["id"])
        elif kind == "AWS::IAM::Role":
            self.role(made, request, properties)
        elif kind == "AWS::IAM::Policy":
            self.policy(made, request, properties)
        else:
            raise Refused(f"{kind} is not known here")
        return made

    def role(self, made, request, properties):
        """A role with policies of its own."""
        iam = self.client("iam")
        made["attributes"]["Arn"] = f"arn:aws:iam::{ACCOUNT}:role/{made['id']}"
        if request == "Create":
            iam.create_role(RoleName=made["id"], AssumeRolePolicyDocument=json.dumps(properties["AssumeRolePolicyDocument"]))
        for one in properties.get("Policies", []):
            if request == "Delete":
                iam.delete_role_policy(RoleName=made["id"], PolicyName=one["PolicyName"])
            else:
                iam.put_role_policy(RoleName=made["id"], PolicyName=one["PolicyName"], PolicyDocument=json.dumps(one["PolicyDocument"]))
        if request == "Delete":
            iam.delete_role(RoleName=made["id"])

    def policy(self, made, request, properties):
        """A policy in roles."""
        iam = self.client("iam")
        for role in properties["Roles"]:
            if request == "Delete":
                iam.delete_role_policy(RoleName=role, PolicyName=properties["PolicyName"])
            else:
                iam.put_role_policy(RoleName=role, PolicyName=properties["PolicyName"], PolicyDocument=json.dumps(properties["PolicyDocument"]))

    def invoke(self, stack, name, kind, request, properties, known):
        """Runs the function that a custom resource names, as CloudFormation would; returns its physical id and its attributes."""
        arn = properties["ServiceToken"]
        code = next(one["properties"]["Code"]["ZipFile"] for other in self.stacks.values() for one in other.made.values() if one["attributes"].get("Arn") == arn)
        event = {"RequestType": request, "ResourceType": kind, "LogicalResourceId": name, "StackId": stack.id, "RequestId": uuid.uuid4().hex,
                 "ResourceProperties": properties}
        if known:
            event["PhysicalResourceId"] = known["id"]
            if request == "Update":
                event["OldResourceProperties"] = known["properties"]
        with tempfile.TemporaryDirectory() as work:
            pathlib.Path(work, "index.py").write_text(code)
            done = subprocess.run([self.python, "-c", RUNNER, work], input=json.dumps(event), capture_output=True, text=True, timeout=150,
                                  env={"PATH": os.environ["PATH"], "AWS_ENDPOINT_URL": self.moto, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
                                       "AWS_DEFAULT_REGION": REGION})
        self.log.extend(f"  {line}" for line in done.stdout.strip().splitlines()[:-1])
        if done.returncode:
            raise Refused(done.stderr.strip().splitlines()[-1])
        body = json.loads(done.stdout.strip().splitlines()[-1])
        return body["PhysicalResourceId"], {key: value for key, value in (body.get("Data") or {}).items()}
