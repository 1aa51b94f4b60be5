"""The call itself: what a real program posts to SNS, with the text for e-mail that no emulator shows, held against docs/sns.md.

    forms.py --bin SLUICE        # a build with --features aws

A server on this machine stands for SNS and keeps the calls.
"""

import argparse
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from datetime import datetime, timezone

ROOT = pathlib.Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/sns.md").read_text(encoding="utf-8")
AGENT = "research_planner @here"
CONFIG = """
[lake]
path = "lake"
commit_interval = "1s"
[files]
paths = ["logs"]
[coverage]
every = "0s"
[enforce]
region = "us-east-1"
endpoint = "{endpoint}"
[[notify]]
kind = "sns"
topic_arn = "arn:aws:sns:us-east-1:123456789012:sluice-breaches"
[[budget]]
name = "every agent, daily"
each = ["agent_id", "team"]
limit = "2 USD"
window = "day"
[[budget.threshold]]
at = "100%"
do = ["notify", "hold"]
"""


class Sns(http.server.ThreadingHTTPServer):
    """Takes PublishBatch and says that every entry was published."""

    def __init__(self):
        self.entries = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        assert form["Action"] == ["PublishBatch"], form
        entries = {}
        for key, [value] in form.items():
            found = re.match(r"PublishBatchRequestEntries\.member\.(\d+)\.(.+)", key)
            if found:
                entries.setdefault(found[1], {})[found[2]] = value
        self.server.entries += entries.values()
        results = "".join(f"<member><Id>{one['Id']}</Id><MessageId>m</MessageId></member>" for one in entries.values())
        body = ('<PublishBatchResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishBatchResult><Failed/><Successful>' + results +
                "</Successful></PublishBatchResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></PublishBatchResponse>").encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def call() -> str:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps({
        "schemaType": "ModelInvocationLog", "schemaVersion": "1.0", "timestamp": now, "accountId": "123456789012", "region": "us-east-1",
        "requestId": "00000001-0000-4000-8000-000000000001", "operation": "Converse", "modelId": "anthropic.claude-sonnet-4-5-20250929-v1:0",
        "identity": {"arn": "arn:aws:sts::123456789012:assumed-role/agents/session"}, "requestMetadata": {"agent_id": AGENT, "team": "checkout"},
        "input": {"inputTokenCount": 800_000}, "output": {"outputTokenCount": 10}})


def tell(binary: str, server: Sns) -> dict:
    """Lets a real program tell of one breach; returns the entry."""
    with tempfile.TemporaryDirectory(prefix="sluice-forms-") as name:
        folder = pathlib.Path(name)
        (folder / "logs").mkdir()
        (folder / "sluice.toml").write_text(CONFIG.format(endpoint=f"http://127.0.0.1:{server.server_port}"), encoding="utf-8")
        (folder / "logs/a.jsonl").write_text(call() + "\n", encoding="utf-8")
        env = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
        daemon = subprocess.Popen([binary, "run", "--config", folder / "sluice.toml"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            end = time.monotonic() + 60
            while not server.entries and daemon.poll() is None and time.monotonic() < end:
                time.sleep(0.1)
        finally:
            daemon.terminate()
            said = daemon.communicate(timeout=60)[1].decode(errors="replace")
    if len(server.entries) != 1:
        raise SystemExit(f"{len(server.entries)} entries were published\n{said[-3000:]}")
    return server.entries[0]


def same(found, expected, what: str) -> None:
    if found != expected:
        raise SystemExit(f"{what}: {found!r}, and the guide says {expected!r}")


def shape(text: str) -> str:
    """A text with everything that differs from breach to breach taken out."""
    text = re.sub(r"agent_id=\S+?( @here)?(,team=\w+)? spent", "TARGET spent", text)
    text = re.sub(r"\d{4}-\d\d-\d\d(T[\d:.]+Z)?", "TIME", text)
    return re.sub(r"[0-9a-f]{32}", "ID", re.sub(r"\$[\d.,]+", "AMOUNT", text))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    args = parser.parse_args()
    server = Sns()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    entry = tell(os.path.abspath(args.bin), server)
    server.shutdown()
    same(entry["MessageStructure"], "json", "MessageStructure")
    forms = json.loads(entry["Message"])
    machine, people = forms["sqs"], forms["email"]
    same({name for name, text in forms.items() if text == machine}, {"sqs", "lambda", "http", "https"}, "protocols that get JSON")
    same({name for name, text in forms.items() if text == people}, {"email", "default"}, "protocols that get text")
    subject, body = re.search(r"```\nSubject: (.+)\n\n((?:.+\n)+)```", GUIDE).groups()
    for shown, text in [(entry["Subject"], people), (subject, body)]:
        same(shown, f"sluice: {text.splitlines()[0]}"[:100].rstrip(), "the subject")
    same(shape(people), shape(body.rstrip("\n")), "the text")
    if not (entry["Subject"].isascii() and len(entry["Subject"]) <= 100 and "\n" not in entry["Subject"]):
        raise SystemExit(f"no subject for a mail: {entry['Subject']!r}")
    named = {entry[key]: entry[key.replace("Name", "Value.StringValue")] for key in entry if re.match(r"MessageAttributes\.entry\.\d+\.Name$", key)}
    wanted = {"kind": "breach", "schema": "sluice.breach/1", "severity": "critical", "budget": "every agent, daily", "agent": AGENT, "team": "checkout"}
    same(named, wanted, "attributes")
    spent = json.loads(machine)["spent_usd"]
    if not re.fullmatch(r"\d+\.\d{12}", spent):
        raise SystemExit(f"no exact amount: {spent}")
    print("sns: forms, subject, text and attributes of a call are those of the guide")
    return 0


if __name__ == "__main__":
    sys.exit(main())
