"""A lake that has rows for every question: replayed logs, breaches, holds, corrections, calls from CloudTrail alone, bad records.

Made by the program itself, as of now: named queries ask about today and the days before it.
"""

import json
import pathlib
import signal
import subprocess
import time
from datetime import datetime, timedelta, timezone

ACCOUNT, REGION = "111122223333", "eu-central-1"
# A region without invocation logs: its calls are metered from CloudTrail.
DARK = "ap-southeast-2"
MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
PATIENCE = 120

CONFIG = """
[lake]
path = "lake"
commit_interval = "1s"
state = "local.redb"
[files]
paths = ["logs"]
[control]
socket = "control.sock"
[coverage]
every = "0s"
[cloudtrail]
meter_after = "1s"
[[window]]
name = "errors_by_model"
sql = "SELECT date_bin(INTERVAL '1 hour', event_time) AS window_start, model, count(error_code) AS errors, sum(cost_usd) AS cost_usd FROM calls GROUP BY 1, 2"
[[budget]]
name = "every agent"
each = ["agent_id"]
limit = "1.00 USD"
window = "lifetime"
[[budget.threshold]]
at = "50%"
do = ["notify"]
[[budget.threshold]]
at = "100%"
do = ["notify", "hold"]
"""


def moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def request(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def logged(number: int, at: datetime, region: str = REGION) -> str:
    """A record of the invocation log."""
    return json.dumps({
        "schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "timestamp": moment(at), "accountId": ACCOUNT, "region": region,
        "identity": {"arn": f"arn:aws:iam::{ACCOUNT}:user/a"}, "requestId": request(number), "operation": "Converse", "modelId": MODEL,
        "input": {"inputTokenCount": 1000, "cacheReadInputTokenCount": 500}, "output": {"outputTokenCount": 40},
        "requestMetadata": {"agent_id": "late-bot", "team": "checkout", "env": "test"},
    }) + "\n"


def told(number: int, at: datetime, region: str = REGION) -> str:
    """CloudTrail's event of a call."""
    return json.dumps({
        "eventVersion": "1.10", "eventTime": moment(at), "eventSource": "bedrock.amazonaws.com", "eventName": "Converse",
        "userIdentity": {"type": "IAMUser", "arn": f"arn:aws:iam::{ACCOUNT}:user/a", "accountId": ACCOUNT, "accessKeyId": "AKIAEXAMPLE"},
        "awsRegion": region, "requestParameters": {"modelId": MODEL}, "additionalEventData": {"inputTokens": 900, "outputTokens": 40},
        "requestID": request(number), "eventID": f"{number:08x}-0000-4000-8000-0000000000cc", "eventType": "AwsApiCall",
        "recipientAccountId": ACCOUNT,
    }) + "\n"


class Maker:
    """Makes the lake below a folder."""

    def __init__(self, binary: str, folder: pathlib.Path, calls: int):
        self.binary, self.folder, self.calls = binary, folder, calls
        self.config = folder / "sluice.toml"
        self.config.write_text(CONFIG)

    def sluice(self, *args: str) -> str:
        done = subprocess.run([self.binary, *args], cwd=self.folder, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"sluice {' '.join(args)}: {done.stderr}")
        return done.stdout

    def query(self, sql: str) -> list[dict]:
        return json.loads(self.sluice("query", sql, "--format", "json", "--config", str(self.config)))

    def number(self, sql: str) -> int:
        return int(self.query(sql)[0]["n"])

    def make(self) -> None:
        now = datetime.now(timezone.utc)
        self.sluice("simulate", "logs", "--calls", str(self.calls), "--shape", "agent", "--files", "6", "--bad-per-100k", "500",
                    "--start", moment(now - timedelta(hours=60)), "--span", "3590m")
        # Calls of just now, so that today has some at any hour; two of a region without logs, and one that its region's log lacks.
        logs = self.folder / "logs"
        (logs / "now.jsonl").write_text("".join(logged(number, now - timedelta(seconds=5)) for number in range(12)))
        hours_ago = now - timedelta(hours=3)
        (logs / "trail.jsonl").write_text(told(100, hours_ago, DARK) + told(101, hours_ago, DARK) + told(102, hours_ago))
        self.run()
        # All profiles but one get a price, and one of the two logs comes after all.
        profiles = [row["model"] for row in self.query("SELECT DISTINCT model FROM calls WHERE NOT priced AND model LIKE 'arn:%' ORDER BY 1")]
        if len(profiles) < 2:
            raise SystemExit("too few calls of profiles without a price were simulated")
        names = "".join(f'"{profile}" = "{MODEL}"\n' for profile in profiles[1:])
        self.config.write_text(CONFIG + "[enrich.inference_profiles]\n" + names)
        self.sluice("prices", "rerate", "--config", str(self.config))
        late = self.folder / "late"
        late.mkdir()
        (late / "late.jsonl").write_text(logged(100, hours_ago, DARK))
        self.sluice("replay", "late", "--config", str(self.config))

    def run(self) -> None:
        """Has a daemon read the logs and act on what it finds."""
        with open(self.folder / "run.log", "w", encoding="utf-8") as log:
            daemon = subprocess.Popen([self.binary, "run", "--config", str(self.config)], cwd=self.folder, stderr=log)
        try:
            self.wait(daemon, "SELECT count(*) AS n FROM calls", self.calls + 14)
            self.wait(daemon, "SELECT count(*) AS n FROM breaches", 2)
            self.wait(daemon, "SELECT count(*) AS n FROM actions WHERE action = 'hold'", 1)
            daemon.send_signal(signal.SIGTERM)
            if daemon.wait(timeout=PATIENCE) != 0:
                raise SystemExit((self.folder / "run.log").read_text())
        finally:
            if daemon.poll() is None:
                daemon.kill()
                daemon.wait()

    def wait(self, daemon: subprocess.Popen, sql: str, least: int) -> None:
        end = time.monotonic() + PATIENCE
        while not (self.folder / "control.sock").exists() or self.number(sql) < least:
            if daemon.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{sql}: not {least}\n{(self.folder / 'run.log').read_text()}")
            time.sleep(0.5)
