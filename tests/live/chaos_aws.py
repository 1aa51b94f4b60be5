"""S3, SQS and DynamoDB under chaos.py: objects in any order with a lake in S3, and two ledgers that take over from each other."""

import datetime
import gzip
import json
import os
import shutil
import signal
import subprocess
import time
import urllib.parse

import boto3
import oracle
from botocore.config import Config
from chaos_base import HERE, Scenario
from fault_proxy import FaultProxy
from harness import Fault, Sluice, Traffic, kill, wait_until, whole_lines
from kill import shape

REGION = "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": REGION}
LAKES, LOGS = "lakes", "logs"
FENCED = 75


class Moto:
    """An emulator of AWS and clients of it."""

    def __init__(self):
        script = os.path.join(HERE, "servers", "moto.sh")
        # It ends when the pipe to it is closed.
        self.process = subprocess.Popen([script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.url = self.process.stdout.readline().decode().strip()
        if not self.url.startswith("http://127.0.0.1:"):
            raise Fault(f"no moto: {self.process.stderr.read().decode('utf-8', 'replace')[-1000:]}")
        client = lambda name: boto3.client(
            name, endpoint_url=self.url, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
        )  # fmt: skip
        self.s3, self.sqs, self.dynamo = client("s3"), client("sqs"), client("dynamodb")
        for bucket in (LAKES, LOGS):
            self.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        self.queue = self.sqs.create_queue(QueueName="notifications")["QueueUrl"]

    def environment(self, state: str, url: str) -> dict:
        """Returns what the program finds it by, and where it keeps what is not in the lake."""
        return {**CREDENTIALS, "AWS_ENDPOINT_URL": url, "STATE_DIRECTORY": state}

    def put(self, key: str, body: bytes) -> dict:
        """Puts a log object and returns its notification."""
        answer = self.s3.put_object(Bucket=LOGS, Key=key, Body=body)
        return notification(key, len(body), answer["ETag"].strip('"'))

    def tell(self, records: list[dict]) -> None:
        """Sends one message with some notifications."""
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=json.dumps({"Records": records}))

    def left(self) -> int:
        """Returns how many messages the queue still has."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return sum(int(value) for value in self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)["Attributes"].values())

    def keys(self, prefix: str) -> list[str]:
        """Lists a part of the bucket of lakes."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=LAKES, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def items(self) -> list[dict]:
        """Returns what the shared store holds."""
        return [item for page in self.dynamo.get_paginator("scan").paginate(TableName="sluice") for item in page["Items"]]

    def mirror(self, prefix: str, folder: str) -> None:
        """Copies a lake into a folder."""
        for key in self.keys(prefix):
            path = os.path.join(folder, os.path.relpath(key, prefix))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(self.s3.get_object(Bucket=LAKES, Key=key)["Body"].read())

    def stop(self) -> None:
        """Ends it."""
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(30)


def notification(key: str, size: int, tag: str) -> dict:
    """Returns the notification of an object, as S3 writes it."""
    return {
        "eventVersion": "2.1", "eventSource": "aws:s3", "awsRegion": REGION, "eventName": "ObjectCreated:Put",
        "eventTime": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "s3": {
            "s3SchemaVersion": "1.0", "bucket": {"name": LOGS, "arn": f"arn:aws:s3:::{LOGS}"},
            "object": {"key": urllib.parse.quote(key), "size": size, "eTag": tag, "sequencer": f"{time.time_ns():016X}"},
        },
    }  # fmt: skip


class Objects:
    """Log objects in the order in which they are put."""

    def __init__(self, dice, truth: dict):
        self.dice, self.truth, self.waiting, self.told, self.lines = dice, truth, [], [], []
        self.produced = self.again = self.gone = self.garbage = 0

    def add(self, traffic: Traffic) -> None:
        """Adds every file."""
        for path in traffic.files():
            with open(path, "rb") as file:
                self.waiting.append((f"in/{os.path.relpath(path, traffic.folder)}", file.read()))
            if path.endswith(".jsonl"):
                self.lines.extend(line for line in whole_lines(path) if self.is_good(line))
        # Calls that come a second time in objects of their own, and objects that are gone when they are looked for.
        for number in range(6):
            self.waiting.append((f"in/again/{number}.jsonl.gz", gzip.compress(b"".join(self.dice.sample(self.lines, 20)))))
        for number in range(4):
            self.waiting.append((f"in/gone/{number}.jsonl", b"".join(self.dice.sample(self.lines, 5))))
        # Messages that are no notifications: one row each, whoever of those that read them lives to delete them.
        for number in range(6):
            self.waiting.append((None, f'{{"Records": {number}'.encode()))
        self.gone, self.garbage = 4, 6
        self.dice.shuffle(self.waiting)
        self.total = len(self.waiting)

    def is_good(self, line: bytes) -> bool:
        """Tells whether a line is a record of the truth."""
        try:
            return json.loads(line)["requestId"] in self.truth
        except (ValueError, TypeError, KeyError, RecursionError):
            return False

    def take(self, count: int) -> list:
        """Returns the next ones."""
        chunk, self.waiting = self.waiting[:count], self.waiting[count:]
        self.produced += len(chunk)
        return chunk


class S3(Scenario):
    """Objects with notifications; the lake in S3, the shared store in DynamoDB; a network that fails between them and the program."""

    name = "s3"
    calls = 1000
    # Each fire, and each hour and window of a lake that is in no memory, takes several calls of an emulator that answers one at a time.
    hours = 7
    patience = 300
    without = ("agents by day", "sessions")
    look = 1

    def prepare(self) -> None:
        self.moto, self.prefix, self.wiped = Moto(), "chaos/lake", 0
        self.proxy = FaultProxy(self.moto.url, f"{self.name} {self.args.seed}")
        super().prepare()
        self.move_to("first")

    def move_to(self, machine: str) -> None:
        """Has the next process run on some machine: nothing is shared but lake, table and queue, and what is told to the world."""
        self.state_folder, self.socket = self.work.at(machine), self.work.at(f"{machine}.s")
        os.makedirs(self.state_folder, exist_ok=True)
        self.state = os.path.join(self.state_folder, f"{LAKES}_chaos_lake", "local.redb")
        # The path of the file is part of the action's name, so it has to be the same everywhere.
        self.environment = {
            **self.moto.environment(self.state_folder, self.proxy.url), "SLUICE__CONTROL__SOCKET": self.socket,
            "SLUICE__ENFORCE__BREACHES_FILE": self.work.at("breaches.jsonl"),
        }  # fmt: skip

    def interval(self) -> str:
        return self.dice.choice(("200ms", "1s", "2s"))

    def add_traffic(self, traffic: Traffic, seed: int, part: int) -> None:
        traffic.add("plain", seed, 2 * part, "--shape", "meta", "--files", "16", "--shuffle", span="6h")
        traffic.add("s3", seed + 1, part, "--shape", "agent", "--files", "1", "--layout", "s3", "--gzip", "--shuffle", span="5h")
        traffic.add("watch", seed + 2, part, "--shape", "meta", "--files", "12", "--cloudwatch", "--gzip", span="6h")
        self.records = Objects(self.dice, traffic.truth)
        self.records.add(traffic)

    def expect_more_bad(self) -> int:
        return self.records.gone + self.records.garbage

    def write_config(self, path: str, lake: str, socket_path: str, more: str) -> None:
        super().write_config(path, f"s3://{LAKES}/{self.prefix}", socket_path, more)

    def sources(self) -> str:
        return (
            f'[shared]\ntable = "sluice"\nregion = "{REGION}"\n[[source]]\nkind = "s3"\nregion = "{REGION}"\npaths = ["s3://{LOGS}/in"]\n'
            f'queues = ["{self.moto.queue}"]\nqueue_wait = "0s"\nqueue_visibility = "3s"\n'
        )

    def serve(self) -> None:
        self.sluice.must("config", "create-table", "--config", self.config, **self.moto.environment(self.state_folder, self.moto.url))

    def produce(self, records: list) -> None:
        told = []
        for key, body in records:
            if key is None:
                self.moto.sqs.send_message(QueueUrl=self.moto.queue, MessageBody=body.decode())
                continue
            record = self.moto.put(key, body)
            if "/gone/" in key:
                self.moto.s3.delete_object(Bucket=LOGS, Key=key)
            else:
                self.records.told.append(record)
            told.append(record)
        if told and self.records.told and self.dice.random() < 0.4:
            again = self.dice.choices(self.records.told, k=self.dice.randrange(1, 4))
            self.records.again += len(again)
            told += again
        while told:
            count = self.dice.randrange(1, 5)
            self.moto.tell(told[:count])
            told = told[count:]

    def entries(self, aim: str | None) -> int:
        return len(self.moto.keys(f"{self.prefix}/{aim}/")) if aim else 0

    def harm(self) -> None:
        """Takes away the state file, or as on another machine, all that is not in the lake or the table."""
        if self.dice.random() < 0.15 and os.path.isdir(self.state_folder):
            shutil.rmtree(self.state_folder)
            os.makedirs(self.state_folder)
            self.wiped += 1
        super().harm()

    def is_complete(self, lake: str | None = None) -> bool:
        """The queue is empty once the lake holds what its messages told of."""
        return not self.moto.left()

    def finish(self) -> None:
        super().finish()
        self.copy()

    def copy(self) -> None:
        """Copies the lake, for the oracle to look at, and beside it what was acted on."""
        shutil.rmtree(self.lake, ignore_errors=True)
        self.moto.mirror(self.prefix, self.lake)
        if os.path.exists(self.work.at("breaches.jsonl")):
            shutil.copy(self.work.at("breaches.jsonl"), os.path.join(self.lake, "_sluice", "breaches.jsonl"))
        with open(self.work.at("shared.json"), "w", encoding="utf-8") as file:
            json.dump(self.moto.items(), file, indent=1, default=str)

    def again(self) -> list[str]:
        """Starts once more, with every object told of again: no table may change."""
        if self.notes:
            return []
        before = shape(self.lake)
        process = self.start()
        for at in range(0, len(self.records.told), 10):
            self.moto.tell(self.records.told[at : at + 10])
        self.ready(process)
        wait_until("an empty queue", self.is_complete, self.patience, self.look)
        self.stop(process)
        self.copy()
        return [f"a run with nothing new changed {name}" for name, state in shape(self.lake).items() if before[name] != state]

    def count(self, name: str, lake: str | None = None) -> int:
        self.copy()
        return super().count(name, lake)

    def end(self) -> None:
        if hasattr(self, "moto"):
            self.proxy.stop()
            self.moto.stop()

    def story(self) -> str:
        faults = f"faults of the network: {self.proxy.story()}, " if hasattr(self, "proxy") else ""
        return faults + f"objects {self.records.produced}, gone {self.records.gone}, told again {self.records.again}, other machines {self.wiped}, "


class Takeover(S3):
    """Two ledgers on one lake: the second takes over while the first is stopped in the middle of something."""

    name = "takeover"
    calls = 800

    def __init__(self, args):
        self.rounds, self.late, self.sleeper, self.logs = 0, 0, None, []
        super().__init__(args)

    def trouble(self) -> None:
        """Has machines take turns."""
        old = self.start()
        self.ready(old)
        for number in range(max(2, min(self.args.kills // 3, 20))):
            old = self.one_round(old, f"machine-{number}")
        self.stop(old) if self.dice.random() < 0.5 else kill(old)
        if old.returncode not in (0, -signal.SIGKILL):
            raise Fault(f"the last ledger ended with {old.returncode}: {self.tail()}")

    def one_round(self, old: subprocess.Popen, machine: str) -> subprocess.Popen:
        """Stops one process, has another take over, wakes the first, which has to end; returns the other."""
        quota = len(self.records.waiting) // 3
        self.produce(self.records.take(quota // 2))
        time.sleep(self.dice.uniform(0.05, 1.5))
        old.send_signal(signal.SIGSTOP)
        self.sleeper, log, acted = old, self.sluice.log, self.acted(self.sluice.log)
        self.move_to(machine)
        if self.dice.random() < 0.5:
            # One dies while it takes over, and its machine may be gone with it.
            self.start()
            time.sleep(self.dice.uniform(0.02, 2))
            self.kills += kill(self.daemon)
            if self.dice.random() < 0.5:
                self.move_to(f"{machine}-again")
        new = self.start()
        self.ready(new)
        before = self.entries("calls/_delta_log")
        self.produce(self.records.take(quota - quota // 2))
        if self.dice.random() < 0.5:
            has_committed = lambda: self.entries("calls/_delta_log") > before or new.poll() is not None
            wait_until("a commit of the new ledger", has_committed, self.patience, self.look)
        old.send_signal(signal.SIGCONT)
        try:
            old.wait(self.patience)
        except subprocess.TimeoutExpired:
            raise Fault(f"the old ledger went on for {self.patience} s") from None
        self.rounds += 1
        if old.returncode != FENCED:
            with open(log, encoding="utf-8", errors="replace") as said:
                raise Fault(f"the old ledger ended with {old.returncode}, not {FENCED}: {said.read()[-300:].strip()}")
        late = self.acted(log) - acted
        self.late += late
        if late > 1:
            # One may have been under way: its claim was checked before the stop.
            raise Fault(f"the old ledger acted {late} times after it woke")
        if new.poll() is not None:
            raise Fault(f"the new ledger ended with {new.returncode}: {self.tail()}")
        return new

    def move_to(self, machine: str) -> None:
        super().move_to(machine)
        self.sluice = Sluice(self.args.bin, self.work.at(f"{machine}.log"))
        self.logs.append(self.sluice)

    def acted(self, log: str) -> int:
        """Returns how many breaches a process has told its log of."""
        with open(log, encoding="utf-8", errors="replace") as lines:
            return sum("budget threshold crossed" in line for line in lines)

    def check(self, report: oracle.Report) -> None:
        report.check("log", [fault for sluice in self.logs for fault in sluice.check_log()])

    def processes(self) -> list[subprocess.Popen]:
        return super().processes() + [process for process in [self.sleeper] if process and process.poll() is None]

    def story(self) -> str:
        return super().story() + f"takeovers {self.rounds}, actions under way ended late {self.late}, "
