"""The whole way of a hold against an emulator of IAM: spend over a budget → deny attached → access refused → reason gone → access back.
And orders that are left in a shared table by someone elsewhere.

    enforce.py --bin SLUICE        # a build with --features aws

Runs a daemon on a folder of logs, with moto for STS and IAM; needs boto3 in this Python. Every line of the story is an assertion.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import datetime, timedelta, timezone

import boto3
from botocore.exceptions import ClientError

HERE = pathlib.Path(__file__).resolve().parent
ACCOUNT, REGION = "123456789012", "us-east-1"
DENY = (HERE.parent.parent / "deploy/iam/deny-bedrock.json").read_text()
MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
TRUST = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]})
ANY = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "bedrock:*", "Resource": "*"}]})
PATIENCE = 60


def grants():
    """What the guide gives the enforcer: the lever's calls on agents' roles, and reading its own policies."""
    deny = f"arn:aws:iam::{ACCOUNT}:policy/sluice-deny-bedrock"
    own = [f"arn:aws:iam::{ACCOUNT}:role/sluice-enforcer", f"arn:aws:iam::{ACCOUNT}:policy/*"]
    agents = f"arn:aws:iam::{ACCOUNT}:role/agent-*"
    return json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["iam:AttachRolePolicy", "iam:DetachRolePolicy"], "Resource": agents,
         "Condition": {"ArnEquals": {"iam:PolicyARN": deny}}},
        {"Effect": "Allow", "Action": ["iam:ListAttachedRolePolicies", "iam:GetRole"], "Resource": [agents, own[0]]},
        {"Effect": "Allow", "Action": ["iam:ListRolePolicies", "iam:GetRolePolicy", "iam:GetPolicy", "iam:GetPolicyVersion",
                                       "iam:ListEntitiesForPolicy"], "Resource": own},
    ]})


class Story:
    def __init__(self, binary: str, folder: pathlib.Path):
        self.binary, self.folder, self.daemon, self.calls = os.path.abspath(binary), folder, None, 0
        self.moto = subprocess.Popen([str(HERE / "servers/moto.sh")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.moto.stdout.readline().strip()
        root = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION, "endpoint_url": self.url}
        self.iam, self.sts = boto3.client("iam", **root), boto3.client("sts", **root)
        self.deny = self.iam.create_policy(PolicyName="sluice-deny-bedrock", PolicyDocument=DENY)["Policy"]["Arn"]
        for role in ["sluice", "sluice-enforcer", "agent-alpha", "agent-shared"]:
            self.iam.create_role(RoleName=role, AssumeRolePolicyDocument=TRUST)
        self.iam.put_role_policy(RoleName="sluice-enforcer", PolicyName="enforcer", PolicyDocument=grants())
        for role in ["agent-alpha", "agent-shared"]:
            self.iam.put_role_policy(RoleName=role, PolicyName="bedrock", PolicyDocument=ANY)
        # Whoever reads logs may pull no lever: it takes on the role that may.
        self.keys = self.assume("sluice")
        self.config = folder / "sluice.toml"
        (folder / "logs").mkdir()
        self.write_config("5 USD")

    def assume(self, role: str) -> dict:
        return self.sts.assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/{role}", RoleSessionName="session")["Credentials"]

    def write_config(self, limit: str, more: str = "") -> None:
        self.config.write_text(f"""
[lake]
path = "lake"
commit_interval = "2s"
[files]
paths = ["logs"]
[enforce]
levers = ["deny-policy"]
deny_policy_arn = "{self.deny}"
own_role_arn = "arn:aws:iam::{ACCOUNT}:role/sluice-enforcer"
region = "{REGION}"
endpoint = "{self.url}"
resync = "1s"
spread = "2s"
[[notify]]
kind = "file"
path = "notices.jsonl"
{more}
[[budget]]
name = "each agent"
each = ["agent_id"]
limit = "{limit}"
window = "lifetime"
mode = "enforce"
[[budget.threshold]]
at = "100%"
do = ["notify", "hold"]
""")

    def env(self) -> dict:
        keys = self.keys
        return {**os.environ, "AWS_ACCESS_KEY_ID": keys["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
                "AWS_SESSION_TOKEN": keys["SessionToken"], "AWS_EC2_METADATA_DISABLED": "true"}

    def start(self) -> None:
        log = open(self.folder / "daemon.log", "ab")
        self.daemon = subprocess.Popen([self.binary, "run", "--config", str(self.config)], env=self.env(), stdout=log, stderr=log)
        self.until("the daemon is ready", lambda: self.run("status", ok=None).returncode == 0)

    def stop(self) -> None:
        self.daemon.terminate()
        assert self.daemon.wait(60) == 0, "the daemon ends by itself"

    def run(self, *words: str, ok: int | None = 0) -> subprocess.CompletedProcess:
        done = subprocess.run([self.binary, *words, "--config", str(self.config)], env=self.env(), capture_output=True, text=True)
        assert ok is None or done.returncode == ok, f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done

    def json(self, *words: str):
        return json.loads(self.run(*words, "--format", "json").stdout)

    def spend(self, role: str, agent: str, calls: int, tokens: int = 100_000) -> None:
        now = datetime.now(timezone.utc) - timedelta(seconds=1)
        lines = []
        for _ in range(calls):
            self.calls += 1
            lines.append(json.dumps({
                "schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "timestamp": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "accountId": ACCOUNT, "region": REGION, "requestId": f"{self.calls:08x}-0000-4000-8000-{os.getpid():012x}",
                "identity": {"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/session"}, "operation": "Converse", "modelId": MODEL,
                "requestMetadata": {"agent_id": agent},
                "input": {"inputContentType": "application/json", "inputTokenCount": tokens},
                "output": {"outputContentType": "application/json", "outputTokenCount": 10}}))
        with open(self.folder / "logs" / f"{self.calls:06}.jsonl", "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def denied(self, role: str) -> bool:
        attached = self.iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]
        return any(policy["PolicyArn"] == self.deny for policy in attached)

    def until(self, what: str, holds) -> float:
        begun = time.monotonic()
        while not holds():
            if time.monotonic() - begun > PATIENCE:
                raise AssertionError(f"within {PATIENCE} s it did not come true that {what}")
            if self.daemon and self.daemon.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.daemon.returncode}")
            time.sleep(0.05)
        seconds = time.monotonic() - begun
        print(f"{seconds:6.2f} s  {what}", flush=True)
        return seconds

    def holds(self, agent: str) -> list[dict]:
        return [hold for hold in self.json("hold", "list") if hold["target"] == f"agent_id={agent}" and hold["state"] != "released"]

    def notices(self, schema: str, state: str) -> list[dict]:
        """What receivers were told, by schema and state."""
        told = self.folder / "notices.jsonl"
        lines = [json.loads(line) for line in told.read_text(encoding="utf-8").splitlines()] if told.exists() else []
        return [line for line in lines if line["schema"] == f"sluice.{schema}/1" and line.get("state") == state]

    def ask_who_calls(self, does: bool) -> None:
        request = urllib.request.Request(f"{self.url}/moto-api/reset-auth", b"0" if does else b"inf", {"Content-Type": "text/plain"})
        urllib.request.urlopen(request).read()

    def may_call(self, keys: dict) -> bool:
        """Whether the emulator, asked to judge policies, lets the agent call a model."""
        client = boto3.client("bedrock-runtime", region_name=REGION, endpoint_url=self.url, aws_access_key_id=keys["AccessKeyId"],
                              aws_secret_access_key=keys["SecretAccessKey"], aws_session_token=keys["SessionToken"])
        # The emulator takes every resource for "*", so while it judges, what is granted on some roles alone is not granted.
        self.let_daemon(signal.SIGSTOP)
        self.ask_who_calls(True)
        try:
            # Without a colon: the emulator reckons the signature of an escaped one wrongly.
            client.invoke_model(modelId="nova", body=b"{}", accept="application/json")
            return True
        except ClientError as error:
            assert "not authorized to perform" in str(error), error
            return False
        finally:
            self.ask_who_calls(False)
            self.let_daemon(signal.SIGCONT)

    def let_daemon(self, do: signal.Signals) -> None:
        if self.daemon and self.daemon.poll() is None:
            self.daemon.send_signal(do)

    def tell(self) -> None:
        alpha = self.assume("agent-alpha")
        self.run("lever", "check")
        self.start()
        assert "nothing would be pulled" in self.run("lever", "rehearse", "alpha", ok=None).stdout
        self.run("approve", "each agent", "--reason", "read it")
        assert self.may_call(alpha)

        self.spend("agent-alpha", "alpha", 20)
        self.until("the agent over its budget is denied", lambda: self.denied("agent-alpha"))
        assert not self.may_call(alpha), "the emulator refuses the agent's calls"
        assert not self.denied("agent-shared")
        [hold] = self.holds("alpha")
        rehearsed = self.run("lever", "rehearse", "alpha").stdout
        assert "stands already" in rehearsed and "nobody else" in rehearsed, rehearsed
        self.until("the stop is verified", lambda: self.json("lever", "list")["levers"][0]["stage"] == "stands")
        shown = self.run("hold", "show", hold["id"]).stdout
        assert "agent-alpha" in shown and "nobody else" in shown, shown

        self.stop()
        assert self.denied("agent-alpha"), "a stop outlives its process"
        self.start()
        self.write_config("500 USD")
        self.run("config", "reload")
        self.until("a raised limit gives access back", lambda: not self.denied("agent-alpha"))
        assert self.may_call(alpha)
        self.write_config("5 USD")
        self.run("config", "reload")
        self.run("approve", "each agent")
        self.until("the old limit takes it again", lambda: self.denied("agent-alpha"))

        self.run("budget", "override", "add", "each agent", "--target", "agent_id=alpha", "--for", "1h", "--reason", "month end")
        self.until("an exemption gives access back", lambda: not self.denied("agent-alpha"))
        [exemption] = self.json("budget", "override", "list")
        self.run("budget", "override", "revoke", exemption["id"])
        self.until("its end takes it again", lambda: self.denied("agent-alpha"))
        self.run("hold", "release", hold["id"], "--reason", "looked at it")
        self.until("a person's release gives access back", lambda: not self.denied("agent-alpha"))

        # Twelve cents of another agent on the same role are enough to ask a person first.
        self.spend("agent-shared", "beta", 5, 10_000)
        self.spend("agent-shared", "gamma", 20)
        self.until("a shared role waits for a person", lambda: self.holds("gamma"))
        [waiting] = self.holds("gamma")
        assert waiting["state"] == "pending_approval" and "beta" in waiting["note"], waiting
        assert not self.denied("agent-shared")
        self.until("whoever is told is asked", lambda: self.notices("hold", "awaiting_approval"))
        [question] = self.notices("hold", "awaiting_approval")
        assert question["hold_id"] == waiting["id"] and "beta" in question["reason"], question
        assert question["approve"] == f"sluice approve {waiting['id']} --config {self.config}", question
        # However often the process starts, it is one question.
        for _ in range(2):
            self.stop()
            self.start()
            time.sleep(2)
        assert len(self.notices("hold", "awaiting_approval")) == 1
        rehearsed = self.run("lever", "rehearse", "gamma").stdout
        assert "would call iam:AttachRolePolicy" in rehearsed and "a person would be asked" in rehearsed, rehearsed
        self.run("lever", "stop", "--reason", "drill")
        self.run("approve", waiting["id"], "--for", "1h", "--reason", "beta can wait")
        time.sleep(3)
        assert not self.denied("agent-shared"), "the kill switch is thrown"
        self.run("lever", "start")
        self.until("approved, it is denied", lambda: self.denied("agent-shared"))

        # Whoever takes a stop off has their reasons.
        self.iam.detach_role_policy(RoleName="agent-shared", PolicyArn=self.deny)
        self.until("a stop that a person took off stays off", lambda: self.json("lever", "list")["levers"][0]["stage"] == "taken_off")
        assert not self.denied("agent-shared")

        self.run("pause", "agent_id=alpha", "--reason", "drill")
        self.until("a paused agent is denied", lambda: self.denied("agent-alpha"))
        self.run("audit", "verify")
        assert "not one stop is left" in self.run("teardown", "--reason", "the end").stdout
        assert not self.denied("agent-alpha") and not self.denied("agent-shared")
        self.stop()
        for role in ["agent-alpha", "agent-shared"]:
            policies = self.iam.list_role_policies(RoleName=role)["PolicyNames"]
            assert policies == ["bedrock"], "what others put was not touched"

        self.iam.put_role_policy(RoleName="sluice-enforcer", PolicyName="enforcer", PolicyDocument=ANY.replace("bedrock:*", "*"))
        refused = self.run("lever", "check", ok=2).stderr
        assert "may do more than its levers need" in refused, refused
        print("an enforcer that could raise itself is refused")

    def tell_of_orders(self) -> None:
        """Someone on another machine orders through the shared table; the ledger answers, once for each order."""
        table = f"""
[shared]
table = "sluice"
region = "{REGION}"
endpoint = "{self.url}"
"""
        self.config = self.folder / "ledger.toml"
        self.write_config("5 USD", table)
        # A trail of its own: the lake of the story before belongs to another store.
        self.config.write_text(self.config.read_text().replace('path = "lake"', 'path = "lake-of-orders"'))
        elsewhere = self.folder / "elsewhere.toml"
        elsewhere.write_text(self.config.read_text() + f'\n[control]\nsocket = "{self.folder}/elsewhere.sock"\n')
        self.iam.put_role_policy(RoleName="sluice-enforcer", PolicyName="enforcer", PolicyDocument=grants())
        self.run("config", "create-table")
        self.start()
        here, self.config = self.config, elsewhere
        self.run("pause", "omega", "--reason", "drill", "--for", "1h")
        [hold] = self.holds("omega")
        assert hold["cause"]["actor"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/sluice/session", hold
        refused = self.run("budget", "override", "add", "no such budget", "--for", "1h", ok=2).stderr
        assert "there is no budget" in refused, refused
        self.run("resume", "omega")
        # The same order again within a minute is the same order: it is answered, not carried out anew.
        self.run("resume", "omega")
        assert not self.holds("omega")
        refused = self.run("source", "resume", "shardId-7", ok=2).stderr
        assert "no source has a stopped shard 'shardId-7'" in refused, refused
        self.run("source", "list")
        self.forge()
        self.switch_off_as_the_stack_does()
        self.config = here
        self.run("audit", "verify")
        entries = [line["entry"] for line in self.json("audit", "list")]
        forged = [entry for entry in entries if entry["state"] == "refused"]
        assert [entry["actor"] for entry in forged] == ["unproven"] and "command:release_all" == forged[0]["action"], forged
        lines = [entry["action"] for entry in entries]
        assert lines.count("command:resume") == 1 and lines.count("release") == 1, lines
        self.stop()
        print("orders in the shared table are carried out once, in the name of who gave them")

    def forge(self) -> None:
        """Someone who may write order items says to be another: it is refused, kept with the reason, and nothing is released."""
        self.run("pause", "omega", "--reason", "against forgers", "--for", "1h")
        root = f"arn:aws:iam::{ACCOUNT}:root"
        request = json.dumps({"verb": "release_all", "actor": root, "reason": "let go"})
        order = {"id": "release_all-forged", "actor": root, "at": "2026-10-01T00:00:00Z", "verb": "release_all", "arguments": {"request": request}}
        dynamo = boto3.client("dynamodb", region_name=REGION, endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test")
        item = {"sk": {"S": order["id"]}, "body": {"S": json.dumps(order)}, "rev": {"N": "1"}, "w": {"S": "x"}, "made": {"S": "x"}}
        for kind in ["command", "command-open"]:
            dynamo.put_item(TableName="sluice", Item={"pk": {"S": kind}, **item})

        def outcome() -> str:
            key = {"pk": {"S": "command"}, "sk": {"S": order["id"]}}
            return json.loads(dynamo.get_item(TableName="sluice", Key=key, ConsistentRead=True)["Item"]["body"]["S"]).get("outcome") or ""

        self.until("an order without proof is refused", lambda: "carries no proof of its giver" in outcome())
        assert self.holds("omega"), "nothing was released"

    def switch_off_as_the_stack_does(self) -> None:
        """The order that the stack leaves when it is deleted is proven like a person's."""
        keys = {"AWS_ENDPOINT_URL": self.url, "AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION, **{name: self.env()[name] for name in
                ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]}}
        code = "import sys, release; print(release.hand_in({'Table': 'sluice', 'Stack': 's', 'RequestId': 'r'}, 'set_stopped', stopped=True))"
        handlers = HERE.parent.parent / "deploy/cloudformation/handlers"
        done = subprocess.run([sys.executable, "-c", code], cwd=handlers, env={**os.environ, **keys}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        self.until("the order of a stack is carried out", lambda: self.json("lever", "list")["stopped"])

    def end(self) -> None:
        if self.daemon and self.daemon.poll() is None:
            self.daemon.terminate()
            self.daemon.wait(60)
        self.moto.stdin.close()
        self.moto.wait(10)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-enforce-") as folder:
        story = Story(args.bin, pathlib.Path(folder))
        try:
            story.tell()
            story.tell_of_orders()
        except BaseException:
            log = pathlib.Path(folder) / "daemon.log"
            sys.stderr.write(log.read_text(encoding="utf-8", errors="replace")[-6000:] if log.exists() else "")
            sys.stderr.write(story.run("lever", "list", "--format", "json", ok=None).stdout)
            raise
        finally:
            story.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
