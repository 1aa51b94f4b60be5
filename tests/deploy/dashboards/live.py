"""Every panel and every rule against a real Prometheus that scrapes a real program: each query answers, or says why not.

    live.py --bin SLUICE --prometheus FOLDER

SLUICE is a build with --features aws; needs boto3. Simulated agents write logs to a folder and to a stream in moto, some of them badly.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone

import boto3

import check
import names

sys.path.insert(0, str(names.ROOT / "deploy/dashboards"))
import grafana  # noqa: E402

REGION, STREAM = "us-east-1", "sluice-logs"
PATIENCE = 60
# Panels that only show something when a thing of the title happens, beside those of grafana.NEEDS.
HAPPENS = {"sluice_overshoot_violations_total": "never in a healthy program"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url: str):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


class World:
    """Emulator, program and Prometheus on one machine, ended with the block."""

    def __init__(self, folder: pathlib.Path, binary: str, tools: pathlib.Path, stack: contextlib.ExitStack):
        self.folder, self.binary, self.stack = folder, os.path.abspath(binary), stack
        self.moto = subprocess.Popen([check.SERVERS / "moto.sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.callback(self.moto.wait, 10)
        stack.callback(self.moto.stdin.close)
        self.endpoint = self.moto.stdout.readline().strip()
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": REGION, "endpoint_url": self.endpoint}
        self.kinesis = boto3.client("kinesis", **keys)
        self.kinesis.create_stream(StreamName=STREAM, ShardCount=1)
        (folder / "logs").mkdir()
        self.health, self.port = free_port(), free_port()
        (folder / "sluice.toml").write_text(CONFIG.format(health=self.health, endpoint=self.endpoint), encoding="utf-8")
        (folder / "prometheus.yml").write_text(SCRAPE.format(health=self.health, rules=check.RULES), encoding="utf-8")
        env = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
        self.daemon = self.start("sluice", [self.binary, "run", "--config", "sluice.toml"], env)
        self.start("prometheus", [str(tools / "prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb", "--log.level=warn",
                                  f"--web.listen-address=127.0.0.1:{self.port}"], os.environ)
        self.until("the program is scraped", lambda: self.ask("sluice_ready == 1"))

    def start(self, name: str, words: list[str], env) -> subprocess.Popen:
        log = self.stack.enter_context(open(self.folder / f"{name}.log", "wb"))
        process = subprocess.Popen(words, cwd=self.folder, env=env, stdout=log, stderr=log)
        self.stack.callback(process.wait, 60)
        self.stack.callback(process.terminate)
        return process

    def ask(self, query: str) -> list:
        url = f"http://127.0.0.1:{self.port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
        try:
            return get(url)["data"]["result"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it is starting
                return []
            raise SystemExit(f"Prometheus refuses {query}: {error.read().decode()}") from error
        except OSError:
            return []

    def until(self, what: str, holds) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > end:
                log = (self.folder / "sluice.log").read_text(encoding="utf-8", errors="replace")
                raise SystemExit(f"within {PATIENCE} s it did not come true that {what}\n{log[-3000:]}")
            time.sleep(0.2)

    def traffic(self, seed: int) -> None:
        """Simulated logs of the last hour, two in a hundred of which cannot be read; some calls go through the stream."""
        start = (datetime.now(timezone.utc) - timedelta(minutes=50)).strftime("%Y-%m-%dT%H:%M:%SZ")
        words = ["simulate", f"made-{seed}", "--calls", "2000", "--shape", "meta", "--seed", str(seed), "--start", start, "--span", "45m",
                 "--bad-per-100k", "2000", "--files", "4"]
        subprocess.run([self.binary, *words], cwd=self.folder, stdout=subprocess.DEVNULL, check=True)
        (self.folder / f"made-{seed}").rename(self.folder / "logs" / str(seed))
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        for number in range(20):
            call = {"schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "timestamp": now, "accountId": "111122223333", "region": REGION,
                    "requestId": f"{number:08x}-{seed:04x}-4000-8000-000000000000", "operation": "Converse",
                    "identity": {"arn": "arn:aws:sts::111122223333:assumed-role/streamed/session"}, "requestMetadata": {"agent_id": "streamed"},
                    "modelId": "anthropic.claude-sonnet-4-5-20250929-v1:0", "input": {"inputTokenCount": 100_000}, "output": {"outputTokenCount": 10}}
            self.kinesis.put_record(StreamName=STREAM, PartitionKey=str(number), Data=json.dumps(call).encode())


CONFIG = """
[lake]
path = "lake"
commit_interval = "1s"
[files]
paths = ["logs"]
[operate]
listen = "127.0.0.1:{health}"
[coverage]
every = "0s"
[[source]]
kind = "kinesis"
streams = ["sluice-logs"]
region = "us-east-1"
endpoint = "{endpoint}"
[[budget]]
name = "every agent, hourly"
each = ["agent_id"]
limit = "6 USD"
window = "rolling 1h"
[[budget.threshold]]
at = "50%"
do = ["notify"]
[[budget.threshold]]
at = "100%"
do = ["notify", "hold"]
"""
SCRAPE = """
global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: sluice
    static_configs: [{{ targets: ["127.0.0.1:{health}"] }}]
"""


def panels(world: World) -> None:
    answered, silent = 0, []
    for title, expression in check.queries():
        used = set(re.findall(r"\b(?:sluice|process)_\w+", re.sub(r'"[^"]*"', "", expression)))
        if world.ask(expression.replace("$instance", ".*")):
            answered += 1
            continue
        why = [f"needs {grafana.NEEDS[name]}" for name in used if name in grafana.NEEDS] + [HAPPENS[name] for name in used if name in HAPPENS]
        why += ["a later version" for name in used - set(names.prometheus())]
        check.check(why, f"panel {title} shows nothing: {expression}")
        silent.append(f"{title}: {'; '.join(sorted(set(why)))}")
    for line in silent:
        print(f"  without data here: {line}")
    print(f"{answered} of {len(check.queries())} panel queries answer")
    check.check(world.ask("count(sluice_live)")[0]["value"][1] == "1", "one instance")


def rules(world: World) -> None:
    url = f"http://127.0.0.1:{world.port}/api/v1/rules"
    loaded = {rule["name"]: rule for group in get(url)["data"]["groups"] for rule in group["rules"]}
    check.check(set(loaded) == {alert for alert, _, _ in check.rules()}, "not every rule was loaded")
    check.check(all(rule["health"] == "ok" for rule in loaded.values()), f"rules that fail: {[r for r in loaded.values() if r['health'] != 'ok']}")
    expressions = {alert: expression for alert, expression, _ in check.rules()}
    for alert in ["records-rejected", "unpriced-calls"]:
        check.check(world.ask(expressions[alert]), f"{alert} should be raised")
    quiet = set(expressions) - {"records-rejected", "unpriced-calls"}
    raised = [alert for alert in quiet if world.ask(expressions[alert])]
    check.check(not raised, f"raised without a reason: {raised}")
    world.daemon.terminate()
    world.until("a program that is gone is noticed", lambda: world.ask(expressions["ledger-silent"]))
    print(f"{len(loaded)} rules are loaded; those that should be raised are, and no other")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--prometheus", required=True, type=pathlib.Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-dashboards-") as folder, contextlib.ExitStack() as stack:
        world = World(pathlib.Path(folder), args.bin, args.prometheus, stack)
        for seed in [1, 2, 3]:
            world.traffic(seed)
            calls = 2020 * seed
            world.until(f"{calls} calls are scraped", lambda: world.ask(f'sluice_records_total{{outcome="call"}} >= {calls}'))
            time.sleep(2)
        world.until("the lake is committed", lambda: world.ask("sluice_lake_waiting_seconds == 0 and sluice_lake_epoch > 0"))
        panels(world)
        rules(world)
    return 0


if __name__ == "__main__":
    sys.exit(main())
