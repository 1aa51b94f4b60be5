"""How soon budgets follow evidence that comes after its calls, in a stream that does not rest.

A daemon follows a folder in which calls of one shared session name keep coming; the CloudTrail event that tells whose a call is comes some
seconds after it. Prints the time from writing an event to seeing the call under its agent in `sluice budget list`, which is asked in a loop,
so one turn of that command is part of every figure.
Usage: late.py --bin BIN --data DIR [--seconds N] [--calls-a-second N] [--late SECONDS]
"""

import argparse
import json
import shutil
import statistics
import subprocess
import time
from collections import deque
from datetime import datetime, timezone
from pathlib import Path

ACCOUNT = "111122223333"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/Shared/worker"
CONFIG = """[lake]
path = "lake"
[files]
paths = ["logs"]
[[budget]]
name = "agents"
each = ["agent_id"]
limit = "1000 USD"
window = "lifetime"
"""


def moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, timezone.utc)


def utc(at: float) -> str:
    return moment(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def call(number: int, at: float) -> dict:
    return {
        "schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "timestamp": utc(at), "accountId": ACCOUNT,
        "identity": {"arn": SESSION}, "region": "us-east-1", "requestId": f"{number:08x}-0000-4000-8000-000000000001",
        "operation": "Converse", "modelId": "amazon.nova-lite-v1:0", "input": {"inputTokenCount": 1000}, "output": {"outputTokenCount": 10},
    }  # fmt: skip


def event(number: int, kind: int, at: float, name: str, source: str, **more: object) -> dict:
    return {
        "eventVersion": "1.11", "eventTime": utc(at), "eventSource": source, "eventName": name, "awsRegion": "us-east-1",
        "requestID": f"{number:08x}-0000-4000-8000-{kind:012x}", "eventID": f"{number:08x}-0000-4000-9000-{kind:012x}",
        "eventType": "AwsApiCall", "recipientAccountId": ACCOUNT, **more,
    }  # fmt: skip


def opened(agent: int, at: float) -> dict:
    until = moment(at + 7200).strftime("%b %d, %Y, %I:%M:%S %p")
    asked = {"roleArn": f"arn:aws:iam::{ACCOUNT}:role/Shared", "roleSessionName": "worker", "tags": [{"key": "agent_id", "value": f"agent-{agent}"}]}
    given = {"credentials": {"accessKeyId": f"ASIA{agent}", "expiration": until}, "assumedRoleUser": {"assumedRoleId": "AROA:worker", "arn": SESSION}}
    return event(agent, 2, at, "AssumeRole", "sts.amazonaws.com", requestParameters=asked, responseElements=given)


def called(number: int, at: float) -> dict:
    who = {"type": "AssumedRole", "principalId": "AROA:worker", "arn": SESSION, "accountId": ACCOUNT, "accessKeyId": f"ASIA{number % 2}"}
    return event(number, 1, at, "Converse", "bedrock.amazonaws.com", userIdentity=who, requestParameters={"modelId": "amazon.nova-lite-v1:0"})


def counted(args: argparse.Namespace, root: Path) -> int:
    """Returns how many calls are under their agents, as the daemon tells."""
    out = subprocess.run([args.bin, "budget", "list", "--format", "json"], cwd=root, stdout=subprocess.PIPE, check=True).stdout
    return sum(row["calls"] for row in json.loads(out) if row["target"].startswith("agent_id=agent-"))


def follow(args: argparse.Namespace, root: Path) -> list[float]:
    """Writes calls and, later, their events; returns the seconds from each step of events to its calls being counted right."""
    begun, number, told = time.time(), 0, 0
    late: deque[tuple[float, int]] = deque()
    waiting: deque[tuple[int, float]] = deque()
    took = []
    with open(root / "logs/calls.jsonl", "w") as calls, open(root / "logs/trail.jsonl", "w") as trail:
        trail.write("".join(json.dumps(opened(agent, begun - 60)) + "\n" for agent in range(2)))
        while time.time() < begun + args.seconds or waiting:
            now = time.time()
            while number < (min(now, begun + args.seconds) - begun) * args.calls_a_second:
                calls.write(json.dumps(call(number, now)) + "\n")
                late.append((now + args.late, number))
                number += 1
            calls.flush()
            before = told
            while late and late[0][0] <= now:
                trail.write(json.dumps(called(late.popleft()[1], now)) + "\n")
                told += 1
            trail.flush()
            if told > before:
                waiting.append((told, time.time()))
            seen = counted(args, root)
            while waiting and waiting[0][0] <= seen:
                took.append(time.time() - waiting.popleft()[1])
    print(f"{number} calls, {args.calls_a_second} a second, their events {args.late} s after them")
    return took


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=int, default=75)
    parser.add_argument("--calls-a-second", type=int, default=200)
    parser.add_argument("--late", type=int, default=6)
    args = parser.parse_args()
    args.bin = args.bin.resolve()
    root = args.data / "late"
    shutil.rmtree(root, ignore_errors=True)
    (root / "logs").mkdir(parents=True)
    (root / "sluice.toml").write_text(CONFIG)
    with open(root / "log", "w") as log:
        daemon = subprocess.Popen([args.bin, "run"], cwd=root, stdout=subprocess.DEVNULL, stderr=log)
        try:
            while not (root / "lake/_sluice/control.sock").exists():
                time.sleep(0.05)
            took = sorted(follow(args, root))
        finally:
            daemon.terminate()
            daemon.wait()
    p99 = took[int(len(took) * 0.99)]
    print(f"  from an event to its call being counted under its agent: p50 {statistics.median(took):.2f} s, p99 {p99:.2f} s, most {took[-1]:.2f} s")


if __name__ == "__main__":
    main()
