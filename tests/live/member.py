"""A member account against an emulator of AWS: two accounts, two regions, three stacks, from their creation to their deletion.

    member.py --bin SLUICE        # a build with --features aws; needs boto3, jsonschema and PyYAML in this Python

The central stack stands in one region of the central account, member.yaml in another region of that account (where it makes the destination of
logs) and in that region of the member account. Then the main job across accounts: log events of the member account → central stream → breach
on the central queue → deny attached in the member account → access refused → the period ends → access back; and the end of the member stack with a
hold in force, while the central daemon goes on.

Between the program and the emulator stands a gate that does what the emulator does not: it lets a role be taken on only as its trust policy
says, external id and principal included, and refuses keys of a role that is gone. What the emulator passes over is done here, from what the
stacks say: a subscription to the destination of another account is delivered, events go from rule to bus to rule to queue, and who may
send where is held against the policies of destination and bus.
"""

import argparse
import fnmatch
import gzip
import json
import pathlib
import re
import sys
import tempfile
import time
import urllib.parse

import boto3
import fault_proxy
from botocore.exceptions import ClientError
from stack import ACCOUNT, ANY, BUDGETS, NAME, REGION, TRUST, Cloud, Story, many, until

MEMBER, THERE = "222222222222", "eu-central-1"
STREAM = "aws/bedrock/modelinvocations"
EXTERNAL_ID = f"sluice-{ACCOUNT}-{NAME}"


def session(account):
    """Returns a session with keys of an account: the emulator makes one of any account whose role is taken on."""
    if account == ACCOUNT:
        return boto3.Session()
    keys = boto3.client("sts").assume_role(RoleArn=f"arn:aws:iam::{account}:role/whoever", RoleSessionName="test")["Credentials"]
    return boto3.Session(keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"])


def trusts(document, principal, account, external_id):
    """Tells whether a trust policy lets a role of an account take its role on; a condition that is not known here lets nobody."""
    def holds(statement):
        known = {"aws:PrincipalArn": principal, "sts:ExternalId": external_id}
        for operator, pairs in statement.get("Condition", {}).items():
            for key, wanted in pairs.items():
                alike = {"StringEquals": str.__eq__, "ArnEquals": fnmatch.fnmatchcase}.get(operator)
                if key not in known or alike is None or not known[key] or not any(alike(known[key], one) for one in many(wanted)):
                    return False
        who = many(statement["Principal"].get("AWS", []))
        return statement["Effect"] == "Allow" and any(one in ("*", principal, f"arn:aws:iam::{account}:root") for one in who)

    return any(holds(statement) for statement in document["Statement"])


def matches(pattern, event):
    """Tells whether a pattern of EventBridge takes an event, as far as the templates' patterns go."""
    if isinstance(pattern, dict):
        return all(key in event and matches(inner, event[key]) for key, inner in pattern.items())
    return any(event.startswith(one["prefix"]) if isinstance(one, dict) else event == one for one in pattern)


class Gate(fault_proxy.FaultProxy):
    """Stands before the emulator: roles are taken on as their trust policies say, and keys end with their role."""

    def __init__(self, upstream):
        super().__init__(upstream, "gate")
        self.keys, self.taken, self.refused, self.iam = {}, [], [], {}

    def role(self, arn):
        """Returns a role as IAM has it; nothing if it is gone."""
        account, name = arn.split(":")[4], arn.rsplit("/", 1)[1]
        with self.lock:
            if account not in self.iam:
                self.iam[account] = session(account).client("iam")
        try:
            return self.iam[account].get_role(RoleName=name)["Role"]
        except ClientError:
            return None

    def serve(self, reader, writer):
        request = fault_proxy.read(reader, writer)
        if request is not None:
            writer.write(self.judge(request))

    def judge(self, request):
        signed = next((value for name, value in request.headers if name.lower() == "authorization"), "")
        key = (re.findall(r"Credential=([^/]+)/", signed) or [""])[0]
        wanted, made = self.keys.get(key, (None, None))
        if wanted and (self.role(wanted) or {}).get("RoleId") != made:
            return self.refuse("InvalidClientTokenId", "The security token included in the request is invalid")
        form = dict(urllib.parse.parse_qsl(request.body.decode("latin-1"))) if b"Action=AssumeRole" in request.body else {}
        if form.get("Action") != "AssumeRole":
            return self.forward(request)
        caller = wanted or f"arn:aws:iam::{ACCOUNT}:role/{NAME}-ingest"
        wanted, external_id = form["RoleArn"], form.get("ExternalId")
        role = self.role(wanted)
        if role is None or not trusts(role["AssumeRolePolicyDocument"], caller, caller.split(":")[4], external_id):
            self.refused.append((wanted, external_id))
            return self.refuse("AccessDenied", f"User: {caller} is not authorized to perform: sts:AssumeRole on resource: {wanted}")
        answer = self.forward(request)
        self.keys[re.search(rb"<AccessKeyId>([^<]+)<", answer)[1].decode()] = wanted, role["RoleId"]
        self.taken.append((wanted, external_id))
        return answer

    @staticmethod
    def refuse(code, message):
        body = (f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>{code}</Code>'
                f"<Message>{message}</Message></Error><RequestId>gate</RequestId></ErrorResponse>")  # fmt: skip
        return f"HTTP/1.1 403 Forbidden\r\ncontent-type: text/xml\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n{body}".encode()


class Members(Story):
    """The story of two accounts."""

    def __init__(self, binary, folder):
        super().__init__(binary, folder)
        self.cloud.parameters["MemberAccounts"] = f"{MEMBER},{ACCOUNT}"
        self.gate = Gate(self.emulator.url)
        self.there = session(MEMBER)
        own = {"CentralAccountId": ACCOUNT, "CentralRegion": REGION, "Installation": NAME, "RolesRegion": THERE}
        self.beside = Cloud(self.emulator, {**own, "MemberAccounts": f"{MEMBER},{ACCOUNT}"}, "member.yaml", "sluice-member", ACCOUNT, THERE)
        self.member = Cloud(self.emulator, {**own, "EnableEnforcement": "true", "AgentRolePath": "agents/"}, "member.yaml", "sluice-member", MEMBER, THERE,
                            self.there)  # fmt: skip
        self.central_iam, self.iam = self.iam, self.member.client("iam")

    def account(self):
        """Each account and region logs its calls already; agents live in the member account, and one of the same name in the central one."""
        for cloud in [self.cloud, self.beside, self.member]:
            logs = cloud.client("logs")
            logs.create_log_group(logGroupName="/bedrock/calls")
            logs.create_log_stream(logGroupName="/bedrock/calls", logStreamName=STREAM)
            cloud.client("bedrock").put_model_invocation_logging_configuration(loggingConfig={
                "cloudWatchConfig": {"logGroupName": "/bedrock/calls", "roleArn": f"arn:aws:iam::{cloud.account}:role/bedrock"},
                "textDataDeliveryEnabled": False, "imageDataDeliveryEnabled": False, "embeddingDataDeliveryEnabled": False,
                "videoDataDeliveryEnabled": False, "audioDataDeliveryEnabled": False})  # fmt: skip
        for iam in [self.central_iam, self.iam]:
            for role in ["alpha", "beta"]:
                iam.create_role(RoleName=role, Path="/agents/", AssumeRolePolicyDocument=TRUST)
                iam.put_role_policy(RoleName=role, PolicyName="bedrock", PolicyDocument=ANY)

    def assume(self, role):
        account = ACCOUNT if role.startswith(NAME) else MEMBER
        return self.cloud.client("sts").assume_role(RoleArn=f"arn:aws:iam::{account}:role/{role}", RoleSessionName="session")["Credentials"]

    def configure(self):
        super().configure()
        # It stands where the endpoints of AWS would: what the program asks goes through it, what the test asks does not.
        self.env["AWS_ENDPOINT_URL"] = self.gate.url

    def denied(self, role):
        policy = f"arn:aws:iam::{MEMBER}:policy/{NAME}-deny-bedrock"
        return any(one["PolicyArn"] == policy for one in self.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"])

    def spend(self, role, agent, calls, tokens=100_000):
        """Bedrock writes calls of the member account into its log group, and CloudWatch Logs delivers them as its filter says."""
        [filter] = self.member.client("logs").describe_subscription_filters(logGroupName="/bedrock/calls")["subscriptionFilters"]
        events = self.written(role, agent, calls, tokens, MEMBER, THERE)
        envelope = {"messageType": "DATA_MESSAGE", "owner": MEMBER, "logGroup": "/bedrock/calls", "logStream": STREAM,
                    "subscriptionFilters": [filter["filterName"]],
                    "logEvents": [{"id": f"{self.calls:030d}{number:026d}", **event} for number, event in enumerate(events)]}  # fmt: skip
        self.destination_of(filter, MEMBER)
        self.cloud.client("kinesis").put_record(StreamName=f"{NAME}-logs", PartitionKey=STREAM, Data=gzip.compress(json.dumps(envelope).encode()))

    def destination_of(self, filter, account):
        """Holds a filter against the destination it names: it is there, in the filter's region, takes the account, and leads to the stream."""
        _, _, _, region, owner, _, name = filter["destinationArn"].split(":")
        assert (region, owner) == (THERE, ACCOUNT), filter
        [destination] = [one for one in self.beside.client("logs").describe_destinations()["destinations"] if one["destinationName"] == name]
        [statement] = json.loads(destination["accessPolicy"])["Statement"]
        assert account in statement["Principal"]["AWS"] and statement["Action"] == "logs:PutSubscriptionFilter", statement
        assert statement["Resource"] == filter["destinationArn"] == destination["arn"], (statement, destination)
        assert destination["targetArn"] == self.cloud.stack.attributes["Stream", "Arn"]
        role = destination["roleArn"].rsplit("/", 1)[1]
        assert self.central_iam.get_role(RoleName=role), "CloudWatch Logs has a role to put records with"

    def forward(self, event):
        """Brings an event of the member account from its rule to the central bus, and from the rule there into the queue."""
        events = self.member.client("events")
        rules = [rule for rule in events.list_rules()["Rules"] if matches(json.loads(rule["EventPattern"]), event)]
        [target] = [target for rule in rules for target in events.list_targets_by_rule(Rule=rule["Name"])["Targets"]]
        bus = self.cloud.stack.value(self.cloud.template["Resources"]["MemberBus"]["Properties"])
        assert target["Arn"] == f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{bus['Name']}", target
        [statement] = bus["Policy"]["Statement"]
        assert MEMBER in statement["Principal"]["AWS"] and statement["Resource"] == target["Arn"], statement
        assert target["RoleArn"] == self.member.stack.attributes["ForwardRole", "Arn"], target
        [forwarder] = self.member.stack.resources()["ForwardRole"]["Properties"]["Policies"]
        assert forwarder["PolicyDocument"]["Statement"] == [{"Effect": "Allow", "Action": "events:PutEvents", "Resource": target["Arn"]}], forwarder
        central = self.cloud.client("events")
        [rule] = [rule for rule in central.list_rules(EventBusName=bus["Name"])["Rules"] if matches(json.loads(rule["EventPattern"]), event)]
        [target] = central.list_targets_by_rule(Rule=rule["Name"], EventBusName=bus["Name"])["Targets"]
        assert target["Arn"] == self.cloud.stack.attributes["Events", "Arn"], target
        self.cloud.client("sqs").send_message(QueueUrl=self.cloud.stack.known["Events"], MessageBody=json.dumps(event))

    # ---- the story ----

    def tell(self):
        self.account()
        outputs = self.cloud.create()
        wanted = dict(word.split("=") for word in outputs["MembersUse"].split())
        assert all(self.member.parameters[key] == value for key, value in wanted.items()), outputs["MembersUse"]
        self.beside.create()
        outputs = self.member.create()
        assert "is subscribed to" in outputs["Subscription"] and "/bedrock/calls" in outputs["Logging"], outputs
        assert not {"ReaderRole", "EnforcerRole", "DenyPolicy"} & set(self.beside.stack.there()), "the central account has its roles from its own stack"
        print("three stacks are there, in two accounts and two regions")
        self.trusted()

        self.cloud.client("ssm").put_parameter(Name=f"/{NAME}/budgets", Value=BUDGETS, Overwrite=True)
        self.configure()
        self.listen()
        self.cloud.function("ReleaseFunction").runs = lambda own: bool(self.daemon) and self.daemon.poll() is None
        self.run("config", "check")
        self.run("lever", "check")
        self.start()
        self.run("approve", "each agent, a minute", "--reason", "read it")
        alpha = self.assume("alpha")
        assert self.may_call(alpha)
        event = self.event(MEMBER, THERE)
        self.forward(event)
        until("the member's event of CloudTrail is read and committed", self.queue_is_empty)

        self.spend("alpha", "alpha", 20)
        until("the breach is on the central queue", lambda: self.hear("breach"))
        [breach] = [one for one in self.hear("breach") if one["severity"] == "critical"]
        until("the agent is denied in its own account", lambda: self.denied("alpha"))
        assert not self.may_call(alpha) and not self.denied("beta")
        own = self.central_iam.list_attached_role_policies(RoleName="alpha")["AttachedPolicies"]
        assert not own, "the role of that name in the central account is another"
        assert (f"arn:aws:iam::{MEMBER}:role/{NAME}-enforcer", EXTERNAL_ID) in self.gate.taken, self.gate.taken
        assert not [one for one in self.gate.refused if one[0].endswith("enforcer")], self.gate.refused

        self.tell_of_the_period_s_end(alpha, breach)
        self.tell_of_a_narrower_path()
        self.tell_of_the_member_s_end(alpha)
        self.tell_of_the_rest()

    def trusted(self):
        """The trust policies of the member's roles, as they were made: the central task alone, the enforcer with its external id alone."""
        task, other = (f"arn:aws:iam::{ACCOUNT}:role/{name}" for name in (f"{NAME}-ingest", "other"))
        for name, external_id in [("enforcer", EXTERNAL_ID), ("reader", None)]:
            document = self.iam.get_role(RoleName=f"{NAME}-{name}")["Role"]["AssumeRolePolicyDocument"]
            assert trusts(document, task, ACCOUNT, external_id)
            assert not trusts(document, other, ACCOUNT, external_id), "of the central account the task alone"
            assert not trusts(document, task, MEMBER, external_id) and not trusts(document, task.replace(ACCOUNT, "999999999999"), "999999999999", external_id)
            if external_id:
                assert not trusts(document, task, ACCOUNT, None) and not trusts(document, task, ACCOUNT, f"{external_id}2"), "and with its external id"
        print("the member's roles trust the central task alone, the enforcer with its external id alone")

    def tell_of_a_narrower_path(self):
        """An update that would leave somebody held whom the enforcer could not reach any more is refused, and one that does not is none of its business."""
        before = self.member.stack.value(self.member.template["Resources"]["Release"]["Properties"])
        answer = self.member.order("Update", "Release", "FAILED", OldResourceProperties=before, ResourceProperties={**before, "Agents": "robots/"})
        assert "role alpha" in answer["Reason"], answer
        self.member.order("Update", "Release", OldResourceProperties=before, ResourceProperties={**before, "Agents": "agents/al"})
        assert self.denied("alpha")
        print("a narrower path that leaves someone held behind is refused")

    def tell_of_the_member_s_end(self, alpha):
        """The member stack goes with a hold in force: its own function lifts, though the enforcer's role is gone and the daemon goes on."""
        assert self.member.depending_on("Release") == ["EnforcerRole"], "it goes before the release, and nothing else does"
        self.member.delete()
        assert not self.denied("alpha") and self.may_call(alpha)
        roles = {role["RoleName"] for role in self.iam.list_roles()["Roles"]}
        assert roles == {"alpha", "beta"}, roles
        assert not self.member.client("logs").describe_subscription_filters(logGroupName="/bedrock/calls")["subscriptionFilters"]
        print("the member stack is deleted with a hold in force: the agent has its access back, and nothing is left there")
        for _ in range(5):
            time.sleep(1)
            assert self.alive() and not self.denied("alpha"), "nobody can deny it any more"
        levers = json.loads(self.run("lever", "list", "--format", "json").stdout)["levers"]
        [lever] = [one for one in levers if one["lever"] == "deny-policy"]
        assert lever["stage"] == "refused" and "InvalidClientTokenId" in lever["trouble"], lever
        print("the daemon tells that it cannot look there any more")

    def tell_of_the_rest(self):
        """The region of the central account, and the central stack last."""
        self.beside.delete()
        self.cloud.order("Delete", "Release")
        print("the central release is done although the member account is gone")
        self.stop()
        self.cloud.delete()
        assert {role["RoleName"] for role in self.central_iam.list_roles()["Roles"]} == {"alpha", "beta"}
        print("nothing but what was there before is left in the central account")

    def end(self):
        super().end()
        self.gate.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-member-") as folder:
        Members(args.bin, pathlib.Path(folder)).play()
    return 0


if __name__ == "__main__":
    sys.exit(main())
