"""What the scenarios of chaos.py share: records to produce, a daemon that is killed, and what is asked of its lake."""

import argparse
import collections
import datetime
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "kill"))

import oracle  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from harness import Fault, Sluice, Traffic, Workdir, answers, check_window, kill, wait_until, whole_lines, write_config  # noqa: E402
from kill import AIMS, budgets, shape  # noqa: E402

# How long anything may take that happens by itself: a group that gives up a dead member, a queue that shows a message again.
PATIENCE = 120


class Records:
    """Records in the order in which they are produced; those that hold nothing bad may come again."""

    def __init__(self, dice: random.Random, truth: dict):
        self.dice, self.truth = dice, truth
        self.waiting, self.sound = [], []
        self.produced = self.again = self.garbage = 0

    def add_lines(self, paths: list[str]) -> None:
        """Adds every line of some files as a record."""
        self.waiting.extend(line.rstrip(b"\n") for path in paths for line in whole_lines(path))

    def add_members(self, paths: list[str]) -> None:
        """Adds every gzip member of some files as a record."""
        for path in paths:
            with open(path, "rb") as file:
                rest = file.read()
            while rest:
                inflater = zlib.decompressobj(31)
                inflater.decompress(rest)
                self.waiting.append(rest[: len(rest) - len(inflater.unused_data)])
                rest = inflater.unused_data

    def add_garbage(self, count: int) -> None:
        """Adds records that nobody can read, each of which has to become one row."""
        for number in range(count):
            noise = bytes(self.dice.choices(range(0x80, 0xFF), k=40)) + b"%d" % number
            cut = zlib.compress(noise, wbits=31)[:-9]
            self.waiting.append(self.dice.choice((noise, cut)))
        self.garbage += count

    def shuffle(self) -> None:
        """Mixes them; to be called once all were added."""
        self.dice.shuffle(self.waiting)
        self.total = len(self.waiting)

    def take(self, count: int) -> list[bytes]:
        """Returns the next ones, some earlier ones among them."""
        chunk, self.waiting = self.waiting[:count], self.waiting[count:]
        self.produced += len(chunk)
        self.sound.extend(record for record in chunk if is_sound(record, self.truth))
        if chunk and self.sound and self.dice.random() < 0.4:
            again = self.dice.choices(self.sound, k=self.dice.randrange(1, 8))
            self.again += len(again)
            chunk = chunk + again
            self.dice.shuffle(chunk)
        return chunk


def is_sound(record: bytes, truth: dict) -> bool:
    """Tells whether a record holds calls of the truth and nothing else."""
    try:
        text = zlib.decompress(record, wbits=31) if record.startswith(b"\x1f\x8b") else record
        value = json.loads(text)
        events = [json.loads(event["message"]) for event in value["logEvents"]] if "logEvents" in value else [value]
        return all(event["requestId"] in truth for event in events)
    except (ValueError, TypeError, KeyError, RecursionError, zlib.error):
        return False


class Scenario:
    """One service, one daemon that is killed while the service is fed, and the checks."""

    name = "?"
    calls = 1600
    # Budgets that would fire more often than the service can stand.
    without = ()
    # Hours of traffic, up to about now.
    hours = 30
    # How long the service may take for what happens by itself.
    patience = PATIENCE
    # Seconds between two looks at whether it is done.
    look = 0.2

    def __init__(self, args: argparse.Namespace):
        self.args = args
        self.dice = random.Random(f"{self.name} {args.seed}")
        self.work = Workdir(os.path.join(args.workdir, self.name) if args.workdir else None, f"chaos-{self.name}")
        self.sluice = Sluice(args.bin, self.work.at("sluice.log"))
        self.lake, self.config, self.socket = self.work.at("lake"), self.work.at("sluice.toml"), self.work.at("s")
        self.state = os.path.join(self.lake, "_sluice", "local.redb")
        self.kills = self.deleted = 0
        self.notes, self.environment, self.footers = [], {}, {}
        self.daemon = None

    # What a scenario says of its own.

    def serve(self) -> None:
        """Starts the service."""
        raise NotImplementedError

    def sources(self) -> str:
        """Returns the sections of the configuration that name the service."""
        raise NotImplementedError

    def produce(self, records: list[bytes]) -> None:
        """Puts records into the service."""
        raise NotImplementedError

    def happen(self) -> None:
        """Is called before each start: the service has troubles of its own."""

    def end(self) -> None:
        """Stops the service and whatever else runs."""

    def check(self, report: oracle.Report) -> None:
        """Checks what only this scenario knows of."""

    # What they share.

    def prepare(self) -> None:
        """Makes the traffic and the configuration."""
        now = datetime.datetime.now(datetime.timezone.utc)
        start = (now - datetime.timedelta(hours=self.hours)).replace(minute=0, second=0, microsecond=0)
        self.traffic = traffic = Traffic(self.sluice, self.work.at("traffic"), start)
        seed, part = self.args.seed * 10, self.calls // 4
        self.add_traffic(traffic, seed, part)
        traffic.write_agents(self.work.at("agents.toml"))
        self.truth, self.bad = traffic.truth, traffic.bad + self.expect_more_bad()
        self.budgets = [budget for budget in budgets(self.truth) if budget["name"] not in self.without]
        self.write_config(self.config, self.lake, self.socket, self.sources())

    def add_traffic(self, traffic: Traffic, seed: int, part: int) -> None:
        """Makes lines and compressed envelopes, to be produced as records."""
        plain = traffic.add("plain", seed, 2 * part, "--shape", "meta", "--files", "4", "--shuffle")
        bodies = traffic.add("bodies", seed + 1, part // 2, "--shape", "agent", "--files", "2")
        watch = traffic.add("watch", seed + 2, part * 3 // 2, "--shape", "meta", "--files", "12", "--cloudwatch", "--gzip", "--shuffle")
        self.records = Records(self.dice, traffic.truth)
        self.records.add_lines([path for path in traffic.files() if path.startswith((plain, bodies)) and path.endswith(".jsonl")])
        self.records.add_members([path for path in traffic.files() if path.startswith(watch) and path.endswith(".gz")])
        self.records.add_garbage(12)
        self.records.shuffle()

    def expect_more_bad(self) -> int:
        """Returns how many unreadable records there are beside the simulated ones."""
        return self.records.garbage

    def write_config(self, path: str, lake: str, socket_path: str, more: str) -> None:
        """Writes a configuration with all budgets."""
        write_config(path, lake, agents=self.work.at("agents.toml"), budgets=self.budgets, commit="1s", socket_path=socket_path)
        with open(path, "a", encoding="utf-8") as file:
            file.write(more)

    def start(self) -> subprocess.Popen:
        """Starts the daemon with some commit interval."""
        environment = {**self.environment, "SLUICE__LAKE__COMMIT_INTERVAL": self.interval()}
        self.daemon = self.sluice.start("run", "--config", self.config, **environment)
        return self.daemon

    def interval(self) -> str:
        """Returns the time between commits of the next process."""
        return self.dice.choice(("50ms", "200ms", "1s"))

    def ready(self, process: subprocess.Popen) -> None:
        """Waits until a daemon answers."""
        wait_until("the daemon's socket", lambda: answers(self.socket) or process.poll() is not None, PATIENCE)
        if process.poll() is not None:
            raise Fault(f"the daemon ended by itself with {process.returncode}: {self.tail()}")

    def approve(self) -> None:
        """Runs the daemon without traffic and approves every budget."""
        process = self.start()
        self.ready(process)
        for budget in self.budgets:
            self.sluice.must("approve", budget["name"], "--config", self.config, "--reason", "test", **self.environment)
        self.stop(process)

    def stop(self, process: subprocess.Popen) -> None:
        """Ends a process as an operator does; it has to drain."""
        process.terminate()
        try:
            code = process.wait(self.patience)
        except subprocess.TimeoutExpired:
            kill(process)
            raise Fault(f"did not end within {self.patience} s of SIGTERM: {self.tail()}") from None
        if code != 0:
            raise Fault(f"ended with {code} on SIGTERM: {self.tail()}")

    def tail(self) -> str:
        """Returns the end of what the program said."""
        with open(self.sluice.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-800:].strip()

    def entries(self, aim: str | None) -> int:
        """Returns how many files there are in a folder of the lake."""
        folder = os.path.join(self.lake, aim or "")
        return len(os.listdir(folder)) if aim and os.path.isdir(folder) else 0

    def life(self) -> float:
        """Returns how long the next process lives: sometimes too short to have begun, sometimes past its work."""
        kind = self.dice.random()
        if kind < 0.15:
            return self.dice.uniform(0.005, 0.1)
        return self.dice.uniform(0.2, 1.5) if kind < 0.75 else self.dice.uniform(1.5, 3.5)

    def one(self) -> None:
        """Starts the daemon, feeds the service, kills the daemon."""
        aim = self.dice.choice(AIMS) if self.dice.random() < 0.35 else None
        life, begun = self.life() + 2 * bool(aim), time.monotonic()
        quota = 1.5 * len(self.records.waiting) / max(self.args.kills - self.kills, 1)
        seen, fed = self.entries(aim), 0
        process = self.start()
        while time.monotonic() - begun < life and process.poll() is None:
            if aim and self.entries(aim) != seen:
                time.sleep(self.dice.random() * 0.004)
                break
            if fed < quota and self.dice.random() < 0.3:
                chunk = self.records.take(self.dice.randrange(1, 60))
                self.produce(chunk)
                fed += len(chunk)
            time.sleep(0.001 if aim and fed >= quota else 0.01)
        if not kill(process):
            raise Fault(f"the daemon ended by itself with {process.returncode}: {self.tail()}")
        self.kills += 1

    def harm(self) -> None:
        """Takes local state away now and then."""
        if self.dice.random() < 0.2 and os.path.exists(self.state):
            os.remove(self.state)
            self.deleted += 1

    def count(self, name: str, lake: str | None = None) -> int:
        """Returns how many rows a table of a lake has, from the footers of its files."""
        table = oracle.Table(lake or self.lake, name)
        total = 0
        for path in table.versions()[-1].files if table.exists() else ():
            whole = os.path.join(table.path, path)
            if whole not in self.footers:
                self.footers[whole] = pq.read_metadata(whole).num_rows
            total += self.footers[whole]
        return total

    def is_complete(self, lake: str | None = None) -> bool:
        """Tells whether a lake has all there is."""
        try:
            return self.count("calls", lake) >= len(self.truth) and self.count("rejected", lake) >= self.bad
        except (FileNotFoundError, IndexError):
            return False

    def finish(self) -> None:
        """Feeds the rest, lets the daemon take all of it and ends it well."""
        process = self.start()
        while self.records.waiting:
            self.produce(self.records.take(200))
        self.ready(process)
        try:
            wait_until("all of it in the lake", lambda: self.is_complete() or process.poll() is not None, self.patience, self.look)
        except Fault as fault:
            # The oracle tells what is missing.
            self.notes.append(f"{fault}: {self.count('calls')} of {len(self.truth)} calls, {self.count('rejected')} of {self.bad} rejected")
        if process.poll() is None:
            self.check_sources()
            wait_until("the actions of breaches", lambda: not self.is_acting() or process.poll() is not None, self.patience, self.look)
        self.stop(process)

    def is_acting(self) -> bool:
        """Tells whether actions are under way."""
        # Its exit code tells whether the daemon is ready.
        _, out, _ = self.sluice.call("status", "--config", self.config, "--format", "json", **self.environment)
        return bool(out) and json.loads(out)["outbox_open"] > 0

    def check_sources(self) -> None:
        """Asks the daemon for its shards, which have to be at their ends."""
        shards, deadline = [], time.monotonic() + 20
        while time.monotonic() < deadline:
            shards = self.sluice.json("source", "list", "--config", self.config, **self.environment)
            if self.are_sane(shards):
                return
            time.sleep(0.3)
        self.notes.append(f"source list: {json.dumps(shards)}")

    def are_sane(self, shards: list[dict]) -> bool:
        """Tells whether the shards look as they should when everything was read."""
        names = [shard["shard"] for shard in shards]
        return len(names) == len(set(names)) and all(not shard["behind_records"] for shard in shards)

    def again(self) -> list[str]:
        """Starts once more with nothing to do: no table may change."""
        before = shape(self.lake)
        process = self.start()
        self.ready(process)
        time.sleep(1)
        self.stop(process)
        return [f"a run with nothing to do changed {name}" for name, state in shape(self.lake).items() if before[name] != state]

    def examine(self) -> oracle.Report:
        """Asks the oracle."""
        report = oracle.examine(self.lake, self.truth, registered=True, budgets=self.budgets, acted=True)
        rows = oracle.Table(self.lake, "rejected").rows()
        places = collections.Counter((row["source"], row["sequence"], row["offset"], row["sha256"]) for row in rows)
        faults = [] if len(rows) == self.bad else [f"{len(rows)} rows, not {self.bad}"]
        faults += [f"{place} {times} times" for place, times in places.items() if times > 1]
        report.check("rejected", faults, rejected=len(rows))
        report.check("window", check_window(self.lake, oracle.Table(self.lake, "calls").rows()))
        self.check(report)
        return report

    def trouble(self) -> None:
        """Kills, as often as was asked for."""
        while self.kills < self.args.kills:
            self.happen()
            self.one()
            self.harm()

    def run(self) -> int:
        """Runs it all and returns an exit code."""
        begun, report, faults = time.monotonic(), None, []
        try:
            self.prepare()
            self.serve()
            self.approve()
            self.trouble()
            self.finish()
            faults += self.again()
            report = self.examine()
            faults += report.faults
        except Fault as fault:
            faults.append(str(fault))
        finally:
            for process in self.processes():
                process.send_signal(signal.SIGCONT)
                kill(process)
            self.end()
        faults += self.notes + self.sluice.check_log()
        self.summary(report.numbers if report else {}, time.monotonic() - begun, faults)
        return self.work.close([f"{self.name}: {fault}" for fault in faults])

    def processes(self) -> list[subprocess.Popen]:
        """Returns the processes that may still run."""
        return [self.daemon] if self.daemon and self.daemon.poll() is None else []

    def summary(self, numbers: dict, seconds: float, faults: list[str]) -> None:
        """Prints one line."""
        known = ("calls", "lost", "double", "rejected", "fired", "fired_twice", "difference", "versions")
        told = ", ".join(f"{name.replace('_', ' ')} {numbers.get(name, '?')}" for name in known)
        print(
            f"{self.name}: {'FAILED' if faults else 'good'}: seed {self.args.seed}, kills {self.kills}, {told}, {self.story()}"
            f"state deleted {self.deleted}, {seconds:.0f} s",
            flush=True,
        )

    def story(self) -> str:
        """Returns what else happened, for the summary."""
        return f"records {self.records.produced}, redelivered {self.records.again}, "


def free_port(count: int = 1) -> int:
    """Returns the first of some free ports in a row."""
    dice = random.SystemRandom()
    for _ in range(200):
        first = dice.randrange(20_000, 32_000)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise Fault("no free ports")
