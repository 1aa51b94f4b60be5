"""How long a crossing takes to become a call of IAM: from the record in a followed folder to AttachRolePolicy leaving the process.

    enforce.py --bin SLUICE [--rate 2000] [--crossings 60] [--gap 1.0]     # a build with --features aws

A daemon follows a folder that a steady number of calls a second is written to. Every second one agent more goes over its budget, each on a
role of its own; a shorter gap makes it a storm, in which calls wait for one another. A server in this process answers for STS and IAM and notes when it is asked to attach. Standard library alone.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

ACCOUNT, MODEL = "123456789012", "anthropic.claude-sonnet-4-5-20250929-v1:0"
DENY = f"arn:aws:iam::{ACCOUNT}:policy/sluice-deny-bedrock"
DOCUMENT = (pathlib.Path(__file__).parent.parent / "deploy/iam/deny-bedrock.json").read_text()
GOAL = 1.0


class Iam(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    attached: dict[str, float] = {}

    def do_POST(self):  # noqa: N802
        form = {key: values[0] for key, values in parse_qs(self.rfile.read(int(self.headers["content-length"])).decode()).items()}
        action, role = form["Action"], form.get("RoleName", "")
        if action == "AttachRolePolicy":
            self.attached.setdefault(role, time.monotonic())
        body = f"<{action}Response><{action}Result>{self.result(action, role)}</{action}Result></{action}Response>".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def result(self, action: str, role: str) -> str:
        from urllib.parse import quote
        if action == "GetCallerIdentity":
            return f"<Arn>arn:aws:sts::{ACCOUNT}:assumed-role/sluice-enforcer/s</Arn><Account>{ACCOUNT}</Account>"
        if action == "GetRole":
            return (f"<Role><Path>/</Path><RoleName>{role}</RoleName><RoleId>AROA{role.upper()}</RoleId>"
                    f"<Arn>arn:aws:iam::{ACCOUNT}:role/{role}</Arn></Role>")
        if action == "ListAttachedRolePolicies":
            member = f"<member><PolicyName>d</PolicyName><PolicyArn>{DENY}</PolicyArn></member>" if role in self.attached else ""
            return f"<AttachedPolicies>{member}</AttachedPolicies><IsTruncated>false</IsTruncated>"
        if action == "ListRolePolicies":
            return "<PolicyNames/><IsTruncated>false</IsTruncated>"
        if action == "GetPolicy":
            return f"<Policy><Arn>{DENY}</Arn><DefaultVersionId>v1</DefaultVersionId></Policy>"
        if action == "GetPolicyVersion":
            return f"<PolicyVersion><Document>{quote(DOCUMENT)}</Document><VersionId>v1</VersionId></PolicyVersion>"
        return ""

    def log_message(self, *_):
        pass


def line(number: int, agent: str, role: str, tokens: int, at: str) -> str:
    return (f'{{"schemaType":"ModelInvocationLog","schemaVersion":"1.0","timestamp":"{at}","accountId":"{ACCOUNT}","identity":{{"arn":'
            f'"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/s"}},"region":"us-east-1","requestId":"{number:08x}-0000-4000-8000-000000000001",'
            f'"operation":"Converse","modelId":"{MODEL}","requestMetadata":{{"agent_id":"{agent}"}},"input":{{"inputContentType":'
            f'"application/json","inputTokenCount":{tokens}}},"output":{{"outputContentType":"application/json","outputTokenCount":10}}}}\n')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--crossings", type=int, default=60)
    parser.add_argument("--gap", type=float, default=1.0)
    args = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Iam)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="sluice-enforce-") as name:
        folder = pathlib.Path(name)
        (folder / "logs").mkdir()
        config = folder / "sluice.toml"
        config.write_text(f"""
[lake]
path = "lake"
[files]
paths = ["logs"]
[enforce]
levers = ["deny-policy"]
deny_policy_arn = "{DENY}"
region = "us-east-1"
endpoint = "http://127.0.0.1:{server.server_port}"
most_per_minute = 100000
most_per_hour = 100000
most_percent = 100
writes_per_second = 200
reads_per_second = 400
[[budget]]
name = "each"
each = ["agent_id"]
limit = "1 USD"
window = "day"
mode = "enforce"
[[budget.threshold]]
at = "100%"
do = ["hold"]
""")
        env = {**os.environ, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
        log = open(folder / "log", "wb")
        binary = os.path.abspath(args.bin)
        daemon = subprocess.Popen([binary, "run", "--config", str(config)], env=env, stdout=log, stderr=log)
        try:
            while subprocess.run([binary, "status", "--config", str(config)], env=env, capture_output=True).returncode:
                time.sleep(0.1)
                assert daemon.poll() is None, (folder / "log").read_text()
            subprocess.run([binary, "approve", "each", "--config", str(config)], env=env, check=True, capture_output=True)
            written: dict[str, float] = {}
            number, step = 0, 0.05
            every = max(1, round(args.gap / step))
            begun = time.monotonic()
            with open(folder / "logs" / "calls.jsonl", "a", encoding="utf-8") as file:
                for tick in range(40 + args.crossings * every):
                    at = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
                    text = []
                    for _ in range(int(args.rate * step)):
                        number += 1
                        text.append(line(number, f"steady-{number % 500}", f"steady-{number % 500}", 10, at))
                    crossing = None
                    if tick >= 40 and (tick - 40) % every == 0:
                        number += 1
                        crossing = f"runaway-{tick}"
                        text.append(line(number, crossing, crossing, 400_000, at))
                    file.write("".join(text))
                    file.flush()
                    if crossing:
                        written[crossing] = time.monotonic()
                    time.sleep(max(0.0, begun + (tick + 1) * step - time.monotonic()))
            deadline = time.monotonic() + 30
            while len(Iam.attached) < len(written) and time.monotonic() < deadline:
                time.sleep(0.05)
            took = sorted(Iam.attached[role] - at for role, at in written.items() if role in Iam.attached)
            rate = number / (time.monotonic() - begun)
        finally:
            daemon.terminate()
            daemon.wait(60)
    missing = len(written) - len(took)
    at = lambda share: took[min(len(took) - 1, int(len(took) * share))]  # noqa: E731
    print(f"{len(took)} of {len(written)} crossings among {number} calls ({rate:.0f} a second): record to AttachRolePolicy "
          f"p50 {at(0.5):.3f} s, p90 {at(0.9):.3f} s, p99 {at(0.99):.3f} s, longest {took[-1]:.3f} s; goal p99 {GOAL} s")
    return 1 if missing or at(0.99) > GOAL else 0


if __name__ == "__main__":
    sys.exit(main())
