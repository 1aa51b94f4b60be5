"""Calls of shared roles with the CloudTrail events that tell their callers apart, and what joining them costs.

Writes log folders (calls in Bedrock's form, CloudTrail files as S3 holds them) once, then replays each with and without the join, in
turns, and prints the ratios of the least wall and CPU times, the peaks of memory, and whether the limits hold; it ends with 1 if
one does not. One folder has calls without bodies, of which the join is the largest part, the other a quarter as many with bodies of
about 8 kB, as the log brings them where text is delivered.
Usage: callers.py --bin BIN --data DIR [--calls N] [--keys N] [--sessions N] [--runs N] [--hours H] [--large]
"""

import argparse
import gzip
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import time
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

# What the logs are like that are written; another number writes them anew.
FORM = 2
# Bytes of the bodies of a call.
BODY = 8_000

# The join may cost three tenths of a replay without it, and a day of a million sessions must fit into a gigabyte.
CPU_RATIO, PEAK_MB = 1.30, 1_000

ACCOUNT, REGION = "111122223333", "us-east-1"
ROLES = 20
START = datetime(2026, 10, 20, tzinfo=timezone.utc)


def utc(second: float) -> str:
    return (START + timedelta(seconds=int(second))).strftime("%Y-%m-%dT%H:%M:%SZ")


def expiry(second: float) -> str:
    return (START + timedelta(seconds=int(second))).strftime("%b %d, %Y, %I:%M:%S %p")


def random_id(kind: int, number: int) -> str:
    """Returns an id of the form that AWS gives requests and events, the same for the same number."""
    return str(uuid.UUID(bytes=hashlib.md5(f"{kind}:{number}".encode(), usedforsecurity=False).digest(), version=4))


def session_arn(key: int) -> str:
    # Four sessions in five share their name with others, so that only the access key of a call tells them apart.
    name = "worker" if key % 5 else f"task-{key}"
    return f"arn:aws:sts::{ACCOUNT}:assumed-role/Shared{key % ROLES}/{name}"


def texts() -> list[str]:
    """Returns sentences that bodies are made of."""
    pick = random.Random(11)
    words = ["".join(pick.choices("abcdefghijklmnopqrstuvwxyz", k=pick.randint(2, 10))) for _ in range(5_000)]
    return [" ".join(pick.choices(words, k=12)) for _ in range(20_000)]


def bodies(number: int, sentences: list[str]) -> tuple[str, str]:
    """Returns the bodies of a request and of its answer."""
    pick = random.Random(number)
    asked, told, size = [], [], 0
    while size < BODY:
        sentence = pick.choice(sentences)
        (told if size > BODY * 3 / 4 else asked).append(sentence)
        size += len(sentence)
    request = {"messages": [{"role": "user", "content": [{"text": "\n".join(asked)}]}], "inferenceConfig": {"maxTokens": 4096}}
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": "\n".join(told)}]}},
        "stopReason": "end_turn",
        "metrics": {"latencyMs": 800 + number % 9_000},
        "usage": {"inputTokens": tokens(number)[0], "outputTokens": tokens(number)[1], "totalTokens": sum(tokens(number))},
    }
    return f'"inputBodyJson":{json.dumps(request)},', f'"outputBodyJson":{json.dumps(answer)},'


def tokens(number: int) -> tuple[int, int]:
    return 500 + number % 1500, 50 + number % 400


def call(number: int, key: int, session: int, at: float, sentences: list[str] | None) -> str:
    metadata = f'"requestMetadata":{{"session_id":"s-{session:07d}"}},'
    asked, told = bodies(number, sentences) if sentences else ("", "")
    return (
        f'{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"{utc(at)}","accountId":"{ACCOUNT}","identity":'
        f'{{"arn":"{session_arn(key)}"}},"region":"{REGION}","requestId":"{random_id(1, number)}","operation":"Converse","modelId":'
        f'"us.anthropic.claude-haiku-4-5-20251001-v1:0",{metadata}"input":{{"inputContentType":"application/json",{asked}"inputTokenCount":'
        f'{tokens(number)[0]}}},"output":{{"outputContentType":"application/json",{told}"outputTokenCount":{tokens(number)[1]}}}}}\n'
    )


def identity(key: int) -> str:
    role = f"Shared{key % ROLES}"
    arn = session_arn(key)
    return (
        f'{{"type":"AssumedRole","principalId":"AROA{key % ROLES:016d}:{arn.rsplit("/", 1)[1]}","arn":"{arn}","accountId":"{ACCOUNT}",'
        f'"accessKeyId":"ASIA{key:016d}","sessionContext":{{"sessionIssuer":{{"type":"Role","principalId":"AROA{key % ROLES:016d}","arn":'
        f'"arn:aws:iam::{ACCOUNT}:role/{role}","accountId":"{ACCOUNT}","userName":"{role}"}},"attributes":{{"creationDate":"{utc(0)}",'
        '"mfaAuthenticated":"false"}}}'
    )


def called(number: int, key: int, at: float) -> str:
    return (
        f'{{"eventVersion":"1.11","userIdentity":{identity(key)},"eventTime":"{utc(at + 1)}","eventSource":"bedrock.amazonaws.com",'
        f'"eventName":"Converse","awsRegion":"{REGION}","sourceIPAddress":"10.0.0.1","userAgent":"Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 '
        'os/linux#6.1 md/arch#x86_64 lang/python#3.12 strands-agents","requestParameters":{"modelId":'
        '"us.anthropic.claude-haiku-4-5-20251001-v1:0"},"responseElements":null,"additionalEventData":{"inferenceRegion":"us-east-2",'
        f'"inputTokens":{tokens(number)[0]},"outputTokens":{tokens(number)[1]}}},"requestID":"{random_id(1, number)}","eventID":'
        f'"{random_id(2, number)}","readOnly":true,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"{ACCOUNT}",'
        '"eventCategory":"Management","tlsDetails":{"tlsVersion":"TLSv1.3","cipherSuite":"TLS_AES_128_GCM_SHA256",'
        f'"clientProvidedHostHeader":"bedrock-runtime.{REGION}.amazonaws.com"}}}}'
    )


def opened(key: int, at: float) -> str:
    role = f"Shared{key % ROLES}"
    arn = session_arn(key)
    return (
        f'{{"eventVersion":"1.11","userIdentity":{{"type":"AssumedRole","arn":"arn:aws:sts::{ACCOUNT}:assumed-role/Broker/b","accountId":'
        f'"{ACCOUNT}","accessKeyId":"ASIABROKER"}},"eventTime":"{utc(at)}","eventSource":"sts.amazonaws.com","eventName":"AssumeRole",'
        f'"awsRegion":"{REGION}","sourceIPAddress":"10.0.0.1","userAgent":"Boto3/1.44.5","requestParameters":{{"roleArn":'
        f'"arn:aws:iam::{ACCOUNT}:role/{role}","roleSessionName":"{arn.rsplit("/", 1)[1]}","tags":[{{"key":"agent_id","value":'
        f'"agent-{key % 120}"}},{{"key":"team","value":"team-{key % 12}"}}],"durationSeconds":3600}},"responseElements":{{"credentials":'
        f'{{"accessKeyId":"ASIA{key:016d}","expiration":"{expiry(at + 3600)}"}},"assumedRoleUser":{{"assumedRoleId":'
        f'"AROA{key % ROLES:016d}:{arn.rsplit("/", 1)[1]}","arn":"{arn}"}}}},"requestID":"{random_id(3, key)}","eventID":"{random_id(4, key)}",'
        f'"readOnly":true,"eventType":"AwsApiCall","managementEvent":true,"recipientAccountId":"{ACCOUNT}","eventCategory":"Management"}}'
    )


def write(root: Path, args: argparse.Namespace, with_bodies: bool) -> None:
    """Writes calls in time order, an hour a file; of CloudTrail five minutes a file, as it delivers.

    A session begins with the newest access key, keeps it and lasts twenty minutes; a call is of any session that is under way.
    """
    shutil.rmtree(root, ignore_errors=True)
    logs = root / f"AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/{REGION}"
    trail = root / f"AWSLogs/{ACCOUNT}/CloudTrail/{REGION}"
    pick = random.Random(7)
    span, sentences = args.hours * 3600, texts() if with_bodies else None
    hours: list[list[str]] = [[] for _ in range(args.hours)]
    fives: list[list[str]] = [[] for _ in range(args.hours * 12)]
    for key in range(args.keys):
        at = key * span / args.keys
        fives[int(at // 300)].append(opened(key, at))
    for number in range(args.calls):
        at = number * span / args.calls
        session = pick.randint(int(max(0, at - 1200) * args.sessions / span), int(at * args.sessions / span))
        key = int(session / args.sessions * args.keys)
        hours[int(at // 3600)].append(call(number, key, session, at, sentences))
        fives[int(at // 300)].append(called(number, key, at))
    for hour, records in enumerate(hours):
        folder = logs / (START + timedelta(hours=hour)).strftime("%Y/%m/%d/%H")
        folder.mkdir(parents=True, exist_ok=True)
        with gzip.open(folder / "calls.json.gz", "wt", compresslevel=1) as out:
            out.writelines(records)
    for five, events in enumerate(fives):
        stamp = START + timedelta(minutes=5 * five)
        folder = trail / stamp.strftime("%Y/%m/%d")
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{ACCOUNT}_CloudTrail_{REGION}_{stamp.strftime('%Y%m%dT%H%MZ')}_abcdefghijklmnop.json.gz"
        with gzip.open(folder / name, "wt", compresslevel=1) as out:
            out.write('{"Records":[' + ",".join(events) + "]}")


class Run(NamedTuple):
    """What one replay took."""

    wall: float
    user: float
    system: float
    peak: int  # KiB

    @property
    def cpu(self) -> float:
        return self.user + self.system


def replay(args: argparse.Namespace, logs: Path, join: bool) -> Run:
    lake = args.data / "lake"
    shutil.rmtree(lake, ignore_errors=True)
    env = dict(os.environ, SLUICE__CLOUDTRAIL__JOIN="true" if join else "false")
    begun = time.monotonic()
    process = subprocess.Popen([args.bin, "replay", logs, "--lake", lake, "--format", "json"], stdout=subprocess.PIPE, env=env)
    process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    took = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"replay ended with {process.returncode}")
    return Run(took, usage.ru_utime, usage.ru_stime, usage.ru_maxrss)


def told_apart(args: argparse.Namespace) -> tuple[int, int]:
    """Returns calls, and those that the join named an agent for, in the lake of the last replay."""
    sql = "SELECT count(*) AS calls, count(*) FILTER (WHERE agent_id LIKE 'agent-%') AS named FROM calls"
    out = subprocess.run([args.bin, "query", sql, "--lake", args.data / "lake", "--format", "json"], stdout=subprocess.PIPE, check=True)
    row = json.loads(out.stdout)[0]
    return int(row["calls"]), int(row["named"])


def measure(args: argparse.Namespace, calls: int, keys: int, sessions: int, with_bodies: bool, limits: dict[str, float]) -> bool:
    """Compares replays of one traffic with and without the join; tells whether the limits hold."""
    args.calls, args.keys, args.sessions = calls, keys, sessions
    logs = args.data / f"callers-{calls}-{keys}-{sessions}-{args.hours}{'-bodies' if with_bodies else ''}-{FORM}"
    done = logs.with_suffix(".done")
    if not done.exists():
        # On its own: what a process had in memory before it became another program counts as that one's peak.
        writer = multiprocessing.Process(target=write, args=(logs, args, with_bodies))
        writer.start()
        writer.join()
        if writer.exitcode:
            raise SystemExit("the logs could not be written")
        done.touch()
    runs: dict[bool, list[Run]] = {True: [], False: []}
    for left in reversed(range(args.runs)):
        # Whoever comes after the smaller one finds less memory that is ready for use: each comes after each. The last one joins.
        for join in (False, True) if left % 2 == 0 else (True, False):
            runs[join].append(replay(args, logs, join))
    found, named = told_apart(args)
    # Whatever else a machine does, finding memory for it among others, only adds: the least tells what the program takes. That of the
    # kernel's share is found apart, for on a machine of a hypervisor the same pages cost it a tenth of a second or a whole one.
    least = {join: Run(*(min(of) for of in zip(*runs[join]))) for join in runs}
    without, joined = least[False], least[True]
    peak = max(run.peak for run in runs[True]) * 1024 / 1e6
    what = "calls with bodies" if with_bodies else "calls"
    print(f"{found} {what}, {keys} access keys, {sessions} sessions, as many events of CloudTrail; {named} calls named by the join")
    print(f"  wall without the join {without.wall:.2f} s, with it {joined.wall:.2f} s: {joined.wall / without.wall:.2f} times")
    print(f"  CPU  without the join {without.cpu:.2f} s, with it {joined.cpu:.2f} s: {joined.cpu / without.cpu:.2f} times")
    print(f"  peak without the join {max(run.peak for run in runs[False]) * 1024 / 1e6:.0f} MB, with it {peak:.0f} MB")
    measured = {"cpu": joined.cpu / without.cpu, "peak": peak}
    words = {"cpu": "times the CPU", "peak": "MB at the peak"}
    holds = True
    for what, limit in limits.items():
        kept = measured[what] <= limit
        holds &= kept
        print(f"  {'holds' if kept else 'DOES NOT HOLD'}: at most {limit:g} {words[what]}")
    return holds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--calls", type=int, default=200_000)
    parser.add_argument("--keys", type=int, default=2_000)
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--large", action="store_true", help="a million calls of as many sessions and 100,000 access keys instead")
    args = parser.parse_args()
    # On two shared cores the wall clock tells of other programs too, so the limit is one of CPU time.
    limits = {"cpu": CPU_RATIO, "peak": PEAK_MB}
    if args.large:
        holds = measure(args, 1_000_000, 100_000, 1_000_000, False, limits)
    else:
        few = [args.calls // 4, args.keys // 4, args.sessions // 4]
        sizes = [(args.calls, args.keys, args.sessions, False), (*few, True)]
        holds = all([measure(args, *size, limits) for size in sizes])
    raise SystemExit(0 if holds else 1)


if __name__ == "__main__":
    main()
