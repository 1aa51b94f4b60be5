"""What the tests of the whole program share: traffic, a configuration, and the program as a process."""

import datetime
import gzip
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import oracle

WINDOW = "calls_by_model"
WINDOW_SQL = (
    "SELECT date_bin(INTERVAL '15 minutes', event_time) AS window_start, model, count(*) AS calls, sum(cost_usd) AS cost_usd, "
    "max(output_tokens) AS longest FROM calls GROUP BY 1, 2"
)


class Fault(Exception):
    """The program did something wrong."""


class Workdir:
    """A folder that is removed when all went well and kept and named when not."""

    def __init__(self, path: str | None, name: str):
        if path:
            os.makedirs(path, exist_ok=True)
            self.path, self.own = os.path.abspath(path), False
            if os.listdir(self.path):
                raise SystemExit(f"{self.path} is not empty")
        else:
            self.path, self.own = tempfile.mkdtemp(prefix=f"sluice-{name}-"), True

    def at(self, *parts: str) -> str:
        """Returns a path in it."""
        return os.path.join(self.path, *parts)

    def close(self, faults: list[str]) -> int:
        """Reports the faults and returns the exit code."""
        for fault in faults:
            print(f"FAULT {fault}", flush=True)
        if faults:
            print(f"kept: {self.path}", flush=True)
            return 1
        if self.own:
            shutil.rmtree(self.path)
        return 0


class Sluice:
    """The program."""

    def __init__(self, binary: str, log: str):
        self.binary, self.log = os.path.abspath(binary), log

    def start(self, *args: str, out=subprocess.DEVNULL, **environment: str) -> subprocess.Popen:
        """Starts it; what it says goes to the log."""
        with open(self.log, "ab") as log:
            log.write(f"\n$ sluice {' '.join(args)}\n".encode())
            log.flush()
            return subprocess.Popen([self.binary, *args], stdin=subprocess.DEVNULL, stdout=out, stderr=log, env={**os.environ, **environment})

    def call(self, *args: str, timeout: float = 240, **environment: str) -> tuple[int, str, str]:
        """Runs it to its end and returns exit code, standard output and standard error."""
        done = subprocess.run(
            [self.binary, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, env={**os.environ, **environment}, check=False
        )
        out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        with open(self.log, "a", encoding="utf-8") as log:
            log.write(f"\n$ sluice {' '.join(args)}\n{err}[{done.returncode}]\n")
        return done.returncode, out, err

    def must(self, *args: str, **environment: str) -> str:
        """Runs it to its end, which must be a good one, and returns its standard output."""
        code, out, err = self.call(*args, **environment)
        if code != 0:
            raise Fault(f"sluice {' '.join(args)} ended with {code}: {err.strip()[-2000:]}")
        return out

    def json(self, *args: str, **environment: str):
        """Runs it and reads its standard output as JSON."""
        return json.loads(self.must(*args, "--format", "json", **environment))

    def check_log(self) -> list[str]:
        """Looks for what a sound program never says."""
        with open(self.log, encoding="utf-8", errors="replace") as lines:
            return [f"says: {line.strip()[:300]}" for line in lines if "panicked at" in line or "invariant C" in line]


class Traffic:
    """Simulated traffic of several kinds in one folder, and the truth of all of it."""

    def __init__(self, sluice: Sluice, folder: str, start: datetime.datetime):
        self.sluice, self.folder, self.start = sluice, folder, start
        self.truth, self.bad, self.agents, self.sets = {}, 0, {}, []

    def add(self, name: str, seed: int, calls: int, *options: str, span: str = "29h") -> str:
        """Simulates one set and returns its folder."""
        out, truth = os.path.join(self.folder, name), os.path.join(self.folder, f"{name}.truth")
        stamp = self.start.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.sluice.must(
            "simulate", out, "--calls", str(calls), "--seed", str(seed), "--start", stamp, "--span", span, "--duplicates-permille", "50",
            "--bad-per-100k", "1000", "--agents", "12", "--sessions", "60", "--truth", truth, *options,
        )  # fmt: skip
        before = len(self.truth)
        self.truth.update(oracle.read_truth(truth))
        if len(self.truth) - before != calls:
            raise Fault(f"simulate wrote {len(self.truth) - before} calls, not {calls}")
        with open(f"{truth}.summary.json", encoding="utf-8") as file:
            summary = json.load(file)
        self.bad += sum(summary["bad"].values())
        self.agents.update({agent["agent_id"]: agent for agent in summary["agents"]})
        self.sets.append(out)
        return out

    def files(self) -> list[str]:
        """Returns every log file."""
        return sorted(os.path.join(folder, name) for out in self.sets for folder, _, names in os.walk(out) for name in names)

    def write_agents(self, path: str) -> None:
        """Registers every agent but nobody's on its principal."""
        lines = []
        for agent in self.agents.values():
            if agent["identity"] != "nobody":
                quoted = {key: json.dumps(agent[key]) for key in ("agent_id", "principal", "team")}
                lines.append(f"[[agent]]\nid = {quoted['agent_id']}\nprincipals = [{quoted['principal']}]\nteam = {quoted['team']}\n")
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines))


def write_config(path: str, lake: str, *, paths=(), agents=None, budgets=(), window=True, commit="200ms", socket_path=None) -> None:
    """Writes a configuration."""
    text = [f"[lake]\npath = {json.dumps(lake)}\ncommit_interval = {json.dumps(commit)}\n[files]\npaths = {json.dumps(list(paths))}\npoll_interval = '20ms'\n"]
    # Nobody outside of this machine is asked.
    text.append("[coverage]\ncloudwatch = false\n")
    if agents:
        text.append(f"[enrich]\nagents_file = {json.dumps(agents)}\n")
    if socket_path:
        text.append(f"[control]\nsocket = {json.dumps(socket_path)}\n")
    if window:
        text.append(f"[[window]]\nname = {json.dumps(WINDOW)}\nsql = {json.dumps(WINDOW_SQL)}\n")
    for budget in budgets:
        text.append("[[budget]]\n")
        text.extend(f"{key} = {json.dumps(value)}\n" for key, value in budget.items() if key != "threshold")
        for threshold in budget["threshold"]:
            text.append("[[budget.threshold]]\n")
            text.extend(f"{key} = {json.dumps(value)}\n" for key, value in threshold.items())
    with open(path, "w", encoding="utf-8") as file:
        file.write("".join(text))


def kill(process: subprocess.Popen) -> bool:
    """Kills a process as the system would; tells whether it was still alive."""
    alive = process.poll() is None
    if alive:
        process.send_signal(signal.SIGKILL)
    process.wait()
    return alive


def answers(path: str) -> bool:
    """Tells whether a daemon listens at a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(path)
        except OSError:
            return False
    return True


def wait_until(what: str, condition, seconds: float = 60, every: float = 0.02) -> float:
    """Waits until a condition holds and returns for how long."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > seconds:
            raise Fault(f"waited {seconds:.0f} s for {what}")
        time.sleep(every)
    return time.monotonic() - begun


def damage(path: str, dice: random.Random) -> str:
    """Damages a file as a broken disk or a stray tool would, so that it can be seen, and says how."""
    size = os.path.getsize(path)
    kind = dice.choice(("cut", "overwritten", "emptied"))
    with open(path, "r+b") as file:
        if kind == "overwritten":
            file.write(dice.randbytes(512))
        else:
            file.truncate(dice.randrange(1, max(size, 2)) if kind == "cut" else 0)
    return kind


def whole_lines(path: str) -> list[bytes]:
    """Returns the lines of a log file with their ends."""
    opened = gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")
    with opened as file:
        return file.read().splitlines(keepends=True)


def window_rows(calls: list[dict]) -> dict:
    """Computes the declared window from calls."""
    rows = {}
    for call in calls:
        stamp = int(call["event_time"].timestamp())
        key = (stamp - stamp % 900, call["model"])
        count, cost, longest = rows.get(key, (0, 0, 0))
        rows[key] = (count + 1, cost + oracle.pico(call["cost_usd"]), max(longest, call["output_tokens"]))
    return rows


def check_window(root: str, calls: list[dict]) -> list[str]:
    """Checks the declared window: the newest version of each window's rows."""
    rows = oracle.Table(root, WINDOW).rows()
    newest = {}
    for row in rows:
        newest[row["window_start"]] = max(newest.get(row["window_start"], row["version"]), row["version"])
    found, faults = {}, []
    for row in rows:
        if row["version"] == newest[row["window_start"]] and row["final"] is not None:
            key = (int(row["window_start"].timestamp()), row["model"])
            if key in found:
                faults.append(f"window: {key} twice")
            found[key] = (row["calls"], oracle.pico(row["cost_usd"]), row["longest"])
    expected = window_rows(calls)
    faults += [f"window {key}: {found.get(key)}, not {expected.get(key)}" for key in expected.keys() | found.keys() if found.get(key) != expected.get(key)]
    return faults[:5]
