"""The ready-made checks of deploy/flags against a table in moto: both languages say the same, and what docs/flags.md says.

    flags.py --bin SLUICE        # a build with --features aws

Needs node and npm for the TypeScript check; boto3 in this Python. Without node that half is left out by name; with CI=true that is a failure.
"""

import argparse
import copy
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import boto3
from botocore.config import Config

HERE = pathlib.Path(__file__).resolve().parent
FLAGS = HERE.parent.parent / "deploy" / "flags"
CACHE = pathlib.Path(os.environ.get("SLUICE_SERVERS", pathlib.Path.home() / ".cache/sluice/servers")) / "flags"
TABLE = "sluice-flags"
TTL = 0.5

sys.path.insert(0, str(FLAGS))
import check  # noqa: E402


class Python:
    name = "python"

    def __init__(self):
        self.known = {}

    def ask(self, endpoint, table, fail_open, agent, session):
        key = (endpoint, table, fail_open)
        if key not in self.known:
            quick = Config(connect_timeout=1, read_timeout=1, retries={"total_max_attempts": 1})
            client = boto3.client("dynamodb", endpoint_url=endpoint, config=quick)
            self.known[key] = check.Flags(table, ttl=TTL, fail_open=fail_open, client=client)
        return self.known[key].check(agent, session)


class Node:
    name = "node"

    def __init__(self):
        CACHE.mkdir(parents=True, exist_ok=True)
        for file in [HERE / "flags/package.json", HERE / "flags/tsconfig.json", HERE / "flags/ask.mjs", FLAGS / "check.ts"]:
            shutil.copy(file, CACHE)
        stamp = CACHE / ".installed"
        wanted = (CACHE / "package.json").read_text()
        if not stamp.exists() or stamp.read_text() != wanted:
            subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=CACHE, check=True)
            stamp.write_text(wanted)
        subprocess.run(["npx", "--no-install", "tsc"], cwd=CACHE, check=True)
        self.process = subprocess.Popen(["node", "ask.mjs"], cwd=CACHE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, endpoint, table, fail_open, agent, session):
        order = {"endpoint": endpoint, "table": table, "ttl": TTL * 1000, "failOpen": fail_open, "agent": agent, "session": session}
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def row(**changed):
    """The published row, with changes; it ends an hour from now."""
    made = copy.deepcopy(json.loads((FLAGS / "row.json").read_text()))
    made["until"] = {"S": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))}
    for name, value in changed.items():
        if value is None:
            made.pop(name)
        else:
            made[name] = {"S": value}
    return made


def expect(asked, said, what):
    if bool(said) != asked:
        raise SystemExit(f"{what}: expected {'held' if asked else 'allowed'}, got {said}")


def run(language, dynamo, endpoint):
    def held(agent, session=None, table=TABLE, fail_open=True, at=endpoint):
        return language.ask(at, table, fail_open, agent, session)

    past = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 5))
    cases = [
        (row(), "a,b", None, True),
        (row(), "a", None, False),
        (row(until=None), "a,b", "s", True),
        (row(until=past), "a,b", None, False),
        (row(state="released"), "a,b", None, False),
        (row(pk="session_id=s%3D1"), "x", "s=1", True),
        (row(pk="session_id=s%3D1"), "x", None, False),
        (row(pk="agent_id=x,session_id=s"), "x", "s", True),
        (row(pk="session_id=s,agent_id=x"), "x", "s", True),
        (row(pk="agent_id=x,session_id=s"), "x", "t", False),
        (row(pk="*"), "anyone", None, True),
        (row(pk="agent_id=\u00e9%0A%C2%85%25"), "\u00e9\n\u0085%", None, True),
    ]
    for item, agent, session, is_held in cases:
        dynamo.put_item(TableName=TABLE, Item=item)
        said = held(agent, session)
        expect(is_held, said, f"{item['pk']['S']} for {agent!r} {session!r}")
        if is_held and (said["target"] != item["pk"]["S"] or "daily" not in said["reason"]):
            raise SystemExit(f"not what the row says: {said}")
        dynamo.delete_item(TableName=TABLE, Key={"pk": item["pk"]})
        # Answers are kept, for as long as was asked.
        expect(is_held, held(agent, session), "within the time an answer is kept")
        time.sleep(TTL + 0.1)
        expect(False, held(agent, session), "after it")
        time.sleep(TTL + 0.1)
    for table, at in [("no-such-table", endpoint), (TABLE, "http://127.0.0.1:9")]:
        expect(False, held("a", table=table, at=at, fail_open=True), f"open, {table} at {at}")
        expect(True, held("a", table=table, at=at, fail_open=False), f"closed, {table} at {at}")
    print(f"{language.name}: {len(cases)} rows and 4 failures, as documented")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    args = parser.parse_args()
    os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_REGION="eu-central-1", AWS_DEFAULT_REGION="eu-central-1")
    moto = subprocess.Popen([HERE / "servers/moto.sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        endpoint = moto.stdout.readline().strip()
        dynamo = boto3.client("dynamodb", endpoint_url=endpoint)
        with tempfile.TemporaryDirectory() as folder:
            config = pathlib.Path(folder) / "sluice.toml"
            config.write_text(f'[lake]\npath = "lake"\n[flags]\ntable = "{TABLE}"\nendpoint = "{endpoint}"\n')
            for said in ["made", "was there already"]:
                out = subprocess.run([args.bin, "flag", "create-table", "--config", config], capture_output=True, text=True, check=False)
                if out.returncode != 0 or said not in out.stdout:
                    raise SystemExit(f"sluice flag create-table: {out.stdout}{out.stderr}")
        found = dynamo.describe_table(TableName=TABLE)["Table"]
        expiry = dynamo.describe_time_to_live(TableName=TABLE)["TimeToLiveDescription"]
        assert found["KeySchema"] == [{"AttributeName": "pk", "KeyType": "HASH"}], found
        assert expiry == {"TimeToLiveStatus": "ENABLED", "AttributeName": "expires"}, expiry
        run(Python(), dynamo, endpoint)
        if shutil.which("node") and shutil.which("npm"):
            run(Node(), dynamo, endpoint)
        elif os.environ.get("CI") == "true":
            raise SystemExit("no node or npm found (Debian: apt-get install nodejs npm)")
        else:
            print("left out: the TypeScript check, no node or npm found (Debian: apt-get install nodejs npm)")
    finally:
        moto.terminate()
        moto.wait()


main()
