"""A daemon under steady load.

spend     A writer appends calls to a followed file at a steady rate; the latency of a call is from the end of its write until a
          snapshot over the control socket counts it.
sessions  A backlog of calls of very many sessions, each with a budget counter of its own, is followed as fast as the daemon can.
"""

import argparse
import bisect
import http.client
import json
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

BUDGETS = {
    "spend": """
[[budget]]
name = "every agent, hourly"
each = ["agent_id"]
limit = "1000000 USD"
window = "rolling 1h"
[[budget.threshold]]
at = "100%"
do = ["notify"]
""",
    "sessions": """
[[budget]]
name = "every session"
each = ["session_id"]
limit = "1000000 USD"
window = "session"
[[budget.threshold]]
at = "100%"
do = ["notify"]
""",
}


class Daemon:
    def __init__(self, binary, folder, mode):
        self.folder = folder
        self.logs = folder / "logs"
        self.logs.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = folder / "sluice.toml"
        config.write_text(
            f'[lake]\npath = "lake"\n[files]\npaths = ["logs"]\n[control]\nsocket = "control.sock"\n'
            f'[coverage]\nevery = "0s"\n[operate]\nlisten = "127.0.0.1:{self.port}"\n{BUDGETS[mode]}'
        )
        self.log = open(folder / "log", "w")
        self.process = subprocess.Popen([binary, "run", "--config", config], stderr=self.log)
        deadline = time.monotonic() + 60
        while not self.ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit(f"the daemon does not start: {(folder / 'log').read_text()}")
            time.sleep(0.05)
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(str(folder / "control.sock"))
        self.answers = self.connection.makefile("rb")

    def get(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()

    def ready(self):
        try:
            return self.get("/ready")[0] == 200
        except OSError:
            return False

    def metric(self, name):
        _, page = self.get("/metrics")
        return next((float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name + " ")), 0.0)

    def records(self):
        self.connection.sendall(b'{"verb":"snapshot"}\n')
        return json.loads(self.answers.readline())["ok"]["totals"]["records"]

    def cpu(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mib(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        if code != 0:
            sys.exit(f"the daemon ended with {code}: {(self.folder / 'log').read_text()}")


def simulate(binary, out, calls, more):
    start = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    command = [binary, "simulate", out, "--calls", str(calls), "--start", start, "--duplicates-permille", "0", "--bad-per-100k", "0"]
    subprocess.run([*command, *more], check=True, stdout=subprocess.DEVNULL)


def write(lines, path, rate, written):
    """Appends at a steady rate, a hundred times a second; notes when each write had ended and how many calls were in the file."""
    begun = time.monotonic()
    marks = []
    with open(path, "ab", buffering=0) as out:
        at = 0
        while at < len(lines):
            due = min(len(lines), int((time.monotonic() - begun) * rate))
            if due > at:
                out.write(b"".join(lines[at:due]))
                at = due
                marks.append((time.monotonic(), at))
            time.sleep(0.01)
    written.send(marks)


def quantile(values, share):
    return values[min(len(values) - 1, int(len(values) * share))]


def spend(args, folder):
    daemon = Daemon(args.bin, folder, "spend")
    calls = args.rate * args.seconds
    simulate(args.bin, folder / "made", calls, ["--files", "1", "--shape", args.shape, "--span", f"{args.seconds}s"])
    lines = next((folder / "made").iterdir()).read_bytes().splitlines(keepends=True)
    size = sum(map(len, lines)) / len(lines)
    written, sender = multiprocessing.Pipe(duplex=False)
    writer = multiprocessing.Process(target=write, args=(lines, daemon.logs / "calls.jsonl", args.rate, sender))
    cpu, begun = daemon.cpu(), time.monotonic()
    writer.start()
    seen, rss = [], 0.0
    deadline = begun + args.seconds + 60
    while not seen or seen[-1][1] < len(lines):
        records = daemon.records()
        seen.append((time.monotonic(), records))
        if time.monotonic() > deadline:
            sys.exit(f"only {records} of {len(lines)} calls were seen")
        time.sleep(0.01)
    seconds, cpu = time.monotonic() - begun, daemon.cpu() - cpu
    marks = written.recv()
    writer.join()
    counts = [count for _, count in seen]
    latencies, before = [], 0
    for at, count in marks:
        # Every call of a write is as late as the first snapshot that counts the last of them.
        latency = seen[bisect.bisect_left(counts, count)][0] - at
        latencies.extend([latency * 1000] * (count - before))
        before = count
    latencies.sort()
    rate = len(lines) / (marks[-1][0] - marks[0][0])
    time.sleep(1.5)
    inside = f"{daemon.metric('sluice_apply_latency_seconds_sum') / daemon.metric('sluice_apply_latency_seconds_count') * 1000:.1f}"
    rss = daemon.peak_mib()
    daemon.stop()
    print(f"spend: {len(lines)} calls of {size:.0f} bytes ({args.shape}) at {rate:.0f}/s")
    print(f"  from the write to visible spend: p50 {quantile(latencies, 0.5):.0f} ms, p99 {quantile(latencies, 0.99):.0f} ms, max {latencies[-1]:.0f} ms")
    print(f"  from the read to counted, mean {inside} ms; CPU {cpu / seconds * 100:.0f} % of one core; peak memory {rss:.0f} MiB")


def sessions(args, folder):
    daemon = Daemon(args.bin, folder, "sessions")
    more = ["--files", "8", "--shape", "meta", "--sessions", str(args.sessions), "--agents", "200", "--span", "1m"]
    simulate(args.bin, folder / "made", args.calls, more)
    before = daemon.metric("process_resident_memory_bytes") / 2**20
    cpu, begun = daemon.cpu(), time.monotonic()
    for file in sorted((folder / "made").iterdir()):
        file.rename(daemon.logs / file.name)
    deadline = begun + 600
    while (facts := daemon.metric('sluice_records_total{outcome="call"}')) < args.calls:
        if time.monotonic() > deadline or daemon.process.poll() is not None:
            sys.exit(f"only {facts:.0f} of {args.calls} calls were counted")
        time.sleep(0.1)
    seconds, cpu = time.monotonic() - begun, daemon.cpu() - cpu
    live, counters = daemon.metric("sluice_sessions"), daemon.metric('sluice_budget_counters{place="memory"}')
    rss, peak = daemon.metric("process_resident_memory_bytes") / 2**20, daemon.peak_mib()
    commits = [daemon.metric(f"sluice_local_commit_duration_seconds_{what}") for what in ("count", "sum")]
    snapshots = []
    for _ in range(9):
        asked = time.monotonic()
        daemon.records()
        snapshots.append((time.monotonic() - asked) * 1000)
    daemon.stop()
    print(f"sessions: {args.calls} calls of {live:.0f} live sessions, {counters:.0f} budget counters, in {seconds:.1f} s")
    print(f"  sustained {args.calls / seconds:.0f} calls/s; CPU {cpu / seconds * 100:.0f} % of one core")
    print(f"  {commits[0]:.0f} local commits took {commits[1]:.1f} s of it")
    print(f"  memory {before:.0f} MiB before, {rss:.0f} MiB after, {peak:.0f} MiB at its peak; a snapshot takes {statistics.median(snapshots):.0f} ms")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--rate", type=int, default=2_000, help="calls a second")
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--shape", default="agent", help="meta, agent or long")
    parser.add_argument("--sessions", type=int, default=124_000, help="some of them have no name")
    parser.add_argument("--calls", type=int, default=400_000, help="of the backlog")
    parser.add_argument("mode", choices=["spend", "sessions"])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-live-") as folder:
        {"spend": spend, "sessions": sessions}[args.mode](args, Path(folder))


if __name__ == "__main__":
    main()
