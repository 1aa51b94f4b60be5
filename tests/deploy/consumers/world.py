"""A real program that tells of breaches, holds and the breaker to topics and a bus in moto, with queues behind them."""

import contextlib
import json
import os
import pathlib
import subprocess
import time
from datetime import datetime, timedelta, timezone

import boto3

ROOT = pathlib.Path(__file__).resolve().parents[3]
REGION, ACCOUNT, FLAGS = "us-east-1", "123456789012", "sluice-flags"
RUNAWAY = "research _planner_ #1, @here"
PATIENCE = 60

CONFIG = """
[lake]
path = "lake"
commit_interval = "1s"
[files]
paths = ["logs"]
[coverage]
every = "0s"
[enforce]
levers = ["flag"]
region = "us-east-1"
endpoint = "{endpoint}"
resync = "1s"
spread = "1s"
breaker_taken_off = 1
[flags]
table = "sluice-flags"
region = "us-east-1"
endpoint = "{endpoint}"
[[notify]]
kind = "sns"
topic_arn = "{topic}"
[[notify]]
kind = "sns"
topic_arn = "{fifo}"
[[notify]]
kind = "eventbridge"
bus = "default"
region = "us-east-1"
[[budget]]
name = "each agent, daily"
each = ["agent_id"]
limit = "1 USD"
window = "day"
mode = "enforce"
[[budget.threshold]]
at = "50%"
do = ["notify"]
[[budget.threshold]]
at = "100%"
do = ["notify", "hold"]
"""


TRUST = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}
GRANTS = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:DeleteItem"],
     "Resource": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{FLAGS}"},
    {"Effect": "Allow", "Action": ["iam:GetRole", "iam:ListAttachedRolePolicies", "iam:ListRolePolicies", "iam:GetRolePolicy"],
     "Resource": f"arn:aws:iam::{ACCOUNT}:role/sluice"}]}


class World:
    def __init__(self, folder: pathlib.Path, binary: str, stack: contextlib.ExitStack):
        self.folder, self.binary, self.stack, self.queues, self.received, self.rows = folder, os.path.abspath(binary), stack, {}, {}, []
        self.moto = subprocess.Popen([ROOT / "tests/live/servers/moto.sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(self.moto.wait, 10)
        stack.callback(self.moto.stdin.close)
        self.endpoint = self.moto.stdout.readline().strip()
        self.sns, self.sqs, self.events, self.dynamo = (self.client(name) for name in ["sns", "sqs", "events", "dynamodb"])
        self.topic = self.sns.create_topic(Name="sluice-breaches")["TopicArn"]
        self.fifo = self.sns.create_topic(Name="sluice-breaches.fifo", Attributes={"FifoTopic": "true"})["TopicArn"]
        self.subscribe("raw", self.topic, {"RawMessageDelivery": "true"})
        self.subscribe("wrapped", self.topic, {})
        policy = {"severity": ["critical"], "kind": [{"prefix": "hold_"}]}
        self.subscribe("filtered", self.topic, {"RawMessageDelivery": "true", "FilterPolicy": json.dumps(policy)})
        self.subscribe("fifo", self.fifo, {"RawMessageDelivery": "true"})
        self.queue("events")
        self.events.put_rule(Name="all", EventPattern=json.dumps({"source": ["sluice"]}))
        self.events.put_targets(Rule="all", Targets=[{"Id": "q", "Arn": self.arn("events")}])
        self.claims = "claims"
        key = {"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}], "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}]}
        self.dynamo.create_table(TableName=self.claims, BillingMode="PAY_PER_REQUEST", **key)
        self.env = {**os.environ, "AWS_EC2_METADATA_DISABLED": "true", **self.role()}
        (folder / "logs").mkdir()
        self.config = folder / "sluice.toml"
        self.config.write_text(CONFIG.format(endpoint=self.endpoint, topic=self.topic, fifo=self.fifo), encoding="utf-8")

    def role(self) -> dict:
        """Keys of the role that the program acts as; it looks at its own policies and refuses to act with more than it needs."""
        iam, sts = self.client("iam"), self.client("sts")
        iam.create_role(RoleName="sluice", AssumeRolePolicyDocument=json.dumps(TRUST))
        iam.put_role_policy(RoleName="sluice", PolicyName="sluice", PolicyDocument=json.dumps(GRANTS))
        keys = sts.assume_role(RoleArn=f"arn:aws:iam::{ACCOUNT}:role/sluice", RoleSessionName="test")["Credentials"]
        return {"AWS_ACCESS_KEY_ID": keys["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"], "AWS_SESSION_TOKEN": keys["SessionToken"]}

    def client(self, name: str):
        return boto3.client(name, endpoint_url=self.endpoint, region_name=REGION)

    def queue(self, name: str, dead_letter: bool = False) -> str:
        attributes = {"VisibilityTimeout": "300"}
        if name == "fifo":
            attributes["FifoQueue"] = "true"
        if dead_letter:
            self.queue(f"{name}-dead")
            attributes["RedrivePolicy"] = json.dumps({"deadLetterTargetArn": self.arn(f"{name}-dead"), "maxReceiveCount": 2})
        self.queues[name] = self.sqs.create_queue(QueueName=f"{name}.fifo" if name == "fifo" else name, Attributes=attributes)["QueueUrl"]
        return self.queues[name]

    def arn(self, name: str) -> str:
        return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}" + (".fifo" if name == "fifo" else "")

    def subscribe(self, name: str, topic: str, attributes: dict) -> None:
        self.queue(name)
        self.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=self.arn(name), Attributes=attributes)

    def drain(self, name: str, wait: int = 0) -> list[dict]:
        """Takes all that is in a queue."""
        found = []
        while batch := self.sqs.receive_message(QueueUrl=self.queues[name], MaxNumberOfMessages=10, WaitTimeSeconds=wait,
                                                MessageSystemAttributeNames=["All"]).get("Messages"):
            found += batch
            for one in batch:
                self.sqs.delete_message(QueueUrl=self.queues[name], ReceiptHandle=one["ReceiptHandle"])
        return found

    def run(self, *words: str) -> str:
        done = subprocess.run([self.binary, *words, "--config", self.config], env=self.env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{words} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def until(self, what: str, holds) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > end or self.daemon.poll() is not None:
                log = (self.folder / "daemon.log").read_text(encoding="utf-8", errors="replace")
                raise SystemExit(f"within {PATIENCE} s it did not come true that {what}\n{log[-4000:]}")
            time.sleep(0.1)

    def spend(self, agent: str, calls: int) -> None:
        now = (datetime.now(timezone.utc) - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines = [json.dumps({
            "schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "timestamp": now, "accountId": ACCOUNT, "region": REGION,
            "requestId": f"{number:08x}-0000-4000-8000-{abs(hash(agent)) % 16**12:012x}", "operation": "Converse",
            "identity": {"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/agents/session"}, "requestMetadata": {"agent_id": agent},
            "modelId": "anthropic.claude-sonnet-4-5-20250929-v1:0", "input": {"inputTokenCount": 50_000}, "output": {"outputTokenCount": 10},
        }) for number in range(calls)]
        (self.folder / "logs" / f"{abs(hash(agent))}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def stages(self) -> list[str]:
        return [lever["stage"] for lever in json.loads(self.run("lever", "list", "--format", "json"))["levers"]]

    def heard(self, least: int) -> bool:
        """Whether the queues that get all have the same number of messages, and no fewer than so many."""
        asked = {"AttributeNames": ["ApproximateNumberOfMessages"]}
        counts = (self.sqs.get_queue_attributes(QueueUrl=self.queues[name], **asked) for name in ["raw", "wrapped", "fifo", "events"])
        found = {int(one["Attributes"]["ApproximateNumberOfMessages"]) for one in counts}
        return len(found) == 1 and min(found) >= least

    def flagged(self) -> list[dict]:
        return self.dynamo.scan(TableName=FLAGS)["Items"]

    def tell(self) -> None:
        """Budgets crossed, holds put and let go; what came of it lies in `received` and `rows`."""
        self.run("flag", "create-table")
        log = self.stack.enter_context(open(self.folder / "daemon.log", "wb"))
        self.daemon = subprocess.Popen([self.binary, "run", "--config", self.config], env=self.env, stdout=log, stderr=log)
        self.stack.callback(self.daemon.wait, 60)
        self.stack.callback(self.daemon.terminate)
        ready = [self.binary, "status", "--config", self.config]
        self.until("it is ready", lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0)
        self.run("approve", "each agent, daily", "--reason", "test")
        for agent, calls in [(RUNAWAY, 20), ("triage", 5)]:
            self.spend(agent, calls)
        self.run("pause", "by-hand", "--for", "1h", "--reason", "test")
        self.until("two targets are flagged", lambda: len(self.flagged()) == 2)
        self.rows = self.flagged()
        self.until("both are seen to be", lambda: self.stages() == ["stands", "stands"])
        # Three thresholds were crossed; two holds were put, and seen to work.
        self.until("everybody heard of it", lambda: self.heard(7))
        # A person takes one stop off: that is respected, and here enough for the breaker.
        self.dynamo.delete_item(TableName=FLAGS, Key={"pk": self.rows[0]["pk"]})
        self.until("everybody heard of that and of the breaker", lambda: self.heard(9))
        self.run("lever", "close-breaker", "--reason", "looked at it")
        self.until("everybody heard that it is closed", lambda: self.heard(10))
        self.run("teardown", "--reason", "the end")
        self.until("no target is flagged", lambda: not self.flagged())
        self.until("everybody heard of that, too", lambda: self.heard(11))
        self.daemon.terminate()
        self.daemon.wait(60)
        self.received = {name: self.drain(name) for name in self.queues}
