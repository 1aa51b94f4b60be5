#!/usr/bin/env python3
"""Kills the program at random moments while its folder is being fed, and asks an oracle what became of the money.

    kill.py --bin target/quick/sluice [--kills 50] [--seed N] [--workdir DIR]

Most moments are random; a quarter is aimed at the edges of a lake commit, just after a manifest or a log entry has appeared.
Lines are appended to growing files (some cut in the middle of a record), whole files are moved in, earlier records are delivered
again. `sluice run` and `sluice replay` take turns; local state is deleted or damaged now and then. In the end a replay finishes, a
second one must change nothing, and the oracle compares the lake with the truth. Exit code 1 on any fault; the folder is then kept.
"""

import argparse
import datetime
import json
import os
import random
import shutil
import statistics
import sys
import time

import oracle
from harness import Fault, Sluice, Traffic, Workdir, answers, check_window, damage, kill, wait_until, whole_lines, write_config


# Folders in which a commit of the lake shows, in its order.
AIMS = ("_sluice", "calls/_delta_log", "calls/_delta_log", "spend_minute/_delta_log", "breaches/_delta_log")


class Feeder:
    """Puts traffic into the followed folder, a little at a time."""

    def __init__(self, folder: str, dice: random.Random, truth: dict):
        self.folder, self.dice, self.truth = folder, dice, truth
        self.steps, self.good, self.torn, self.again = [], [], {}, 0
        os.makedirs(folder)

    def plan_growing(self, path: str, name: str) -> None:
        """Feeds a plain file by appending."""
        lines, at = whole_lines(path), 0
        while at < len(lines):
            count = self.dice.randrange(5, 60)
            self.steps.append(("append", name, b"".join(lines[at : at + count])))
            at += count

    def plan_move(self, path: str, name: str) -> None:
        """Feeds a whole file by moving it in."""
        self.steps.append(("move", name, path))

    def shuffle(self) -> None:
        """Mixes the files, the pieces of each in order."""
        queues = {}
        for step in self.steps:
            queues.setdefault(step[1], []).append(step)
        names = [step[1] for step in self.steps]
        self.dice.shuffle(names)
        self.steps = [queues[name].pop(0) for name in names]

    def complete(self) -> None:
        """Ends every record that was cut."""
        for name, rest in list(self.torn.items()):
            self.write(name, rest)
        self.torn.clear()

    def write(self, name: str, content: bytes) -> None:
        """Appends to a file."""
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "ab") as file:
            file.write(content)

    def step(self, tear: bool) -> None:
        """Feeds one piece; `tear` allows it to end within a record."""
        kind, name, content = self.steps.pop(0)
        if kind == "move":
            path = os.path.join(self.folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            os.rename(content, path)
            return
        content = self.torn.pop(name, b"") + content
        self.good.extend(line for line in content.splitlines(keepends=True) if self.readable(line))
        if self.good and self.dice.random() < 0.3:
            again = self.dice.choices(self.good, k=self.dice.randrange(1, 8))
            content += b"".join(again)
            self.again += len(again)
        if tear and self.dice.random() < 0.4:
            cut = len(content) - self.dice.randrange(1, 300)
            content, self.torn[name] = content[: max(cut, 0)], content[max(cut, 0) :]
        self.write(name, content)

    def readable(self, line: bytes) -> bool:
        """Tells whether a line is a record of the truth."""
        try:
            return json.loads(line)["requestId"] in self.truth
        except (ValueError, TypeError, KeyError, RecursionError):
            return False


class Loop:
    """The phases of a run."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.dice = args, random.Random(args.seed)
        self.work = Workdir(args.workdir, "kill")
        self.sluice = Sluice(args.bin, self.work.at("sluice.log"))
        self.lake, self.config, self.inbox = self.work.at("lake"), self.work.at("sluice.toml"), self.work.at("inbox")
        self.state, self.socket = os.path.join(self.lake, "_sluice", "local.redb"), self.work.at("s")
        self.kills = self.ended = self.deleted = self.damaged = self.refused = 0
        self.recovery, self.budgets = [], []
        start = args.start or datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=30)
        self.start = start.replace(minute=0, second=0, microsecond=0)

    def prepare(self) -> None:
        """Makes traffic, agents, budgets and the configuration."""
        traffic = Traffic(self.sluice, self.work.at("traffic"), self.start)
        seed = self.args.seed * 10
        plain = traffic.add("plain", seed, 2600, "--shape", "meta", "--files", "6", "--shuffle")
        traffic.add("s3", seed + 1, 900, "--shape", "agent", "--files", "12", "--layout", "s3", "--gzip", "--shuffle")
        traffic.add("watch", seed + 2, 900, "--shape", "meta", "--files", "8", "--cloudwatch", "--gzip")
        bodies = traffic.add("bodies", seed + 3, 600, "--shape", "agent", "--files", "3")
        self.truth, self.bad = traffic.truth, traffic.bad
        self.feeder = Feeder(self.inbox, self.dice, self.truth)
        for path in traffic.files():
            name = os.path.relpath(path, traffic.folder)
            grows = path.startswith((plain, bodies)) and path.endswith(".jsonl")
            self.feeder.plan_growing(path, name) if grows else self.feeder.plan_move(path, name)
        self.feeder.shuffle()
        self.pieces = len(self.feeder.steps)
        traffic.write_agents(self.work.at("agents.toml"))
        self.budgets = budgets(self.truth)
        write_config(
            self.config, self.lake, paths=[self.inbox], agents=self.work.at("agents.toml"), budgets=self.budgets, commit="1s",
            socket_path=self.socket,
        )  # fmt: skip
        print(f"traffic: {len(self.truth)} calls, {self.bad} bad records, {self.pieces} pieces, from {self.start.isoformat()}", flush=True)

    def approve(self) -> None:
        """Starts once without traffic and approves every budget."""
        process = self.sluice.start("run", "--config", self.config)
        wait_until("the daemon's socket", lambda: answers(self.socket) or process.poll() is not None)
        for budget in self.budgets:
            self.sluice.call("approve", budget["name"], "--config", self.config, "--reason", "test")
        process.terminate()
        if process.wait(60) != 0:
            raise Fault(f"the first run ended with {process.returncode} on SIGTERM")

    def one(self, number: int) -> None:
        """Starts the program, feeds it, kills it."""
        follow = number % 3 != 2
        # A cut record may outlive a kill, but no minute: then it would rightly be refused. A replay takes files as they are.
        if not follow or self.dice.random() < 0.5:
            self.feeder.complete()
        command = ("run",) if follow else ("replay", self.inbox, "--act")
        environment = {"SLUICE__LAKE__COMMIT_INTERVAL": self.dice.choice(("50ms", "200ms", "1s"))}
        delay = self.delay()
        quota = 2 * len(self.feeder.steps) / max(self.args.kills - self.kills, 1)
        begun = time.monotonic()
        aim = self.dice.choice(AIMS) if self.dice.random() < 0.25 else None
        seen = self.entries(aim)
        process = self.sluice.start(*command, "--config", self.config, **environment)
        ready, fed = None, 0
        while time.monotonic() - begun < delay + 2 * bool(aim) and process.poll() is None:
            if aim and self.entries(aim) != seen:
                time.sleep(self.dice.random() * 0.004)
                break
            if follow and ready is None and answers(self.socket):
                ready = time.monotonic() - begun
                self.recovery.append(ready)
            if fed < quota and self.feeder.steps and self.dice.random() < (0.03 if aim else 0.5):
                self.feeder.step(follow)
                fed += 1
            time.sleep(0.0005 if aim else min(0.01, max(delay - (time.monotonic() - begun), 0)))
        if kill(process):
            self.kills += 1
        elif process.returncode == 0 and not follow:
            self.ended += 1
        elif self.is_refusal():
            self.refused += 1
            os.remove(self.state)
        else:
            raise Fault(f"{' '.join(command)} ended by itself with {process.returncode}: {self.tail()}")

    def entries(self, aim: str | None) -> int:
        """Returns how many files there are in a folder of the lake."""
        folder = os.path.join(self.lake, aim or "")
        return len(os.listdir(folder)) if aim and os.path.isdir(folder) else 0

    def delay(self) -> float:
        """Returns how long the next process lives: often too short to have begun, sometimes past its work."""
        kind = self.dice.random()
        if kind < 0.2:
            return self.dice.uniform(0.005, 0.05)
        return self.dice.uniform(0.05, 1.0) if kind < 0.8 else self.dice.uniform(1.0, 3.0)

    def is_refusal(self) -> bool:
        """Tells whether the program just said that its damaged state file has to go."""
        return self.damaged > self.refused and "local.redb" in self.tail()

    def tail(self) -> str:
        with open(self.sluice.log, encoding="utf-8", errors="replace") as log:
            return log.read()[-600:].strip()

    def harm(self, number: int) -> None:
        """Takes local state away, or spoils it."""
        if not os.path.exists(self.state):
            return
        if number % 6 == 5:
            os.remove(self.state)
            self.deleted += 1
        elif number % 10 == 7:
            damage(self.state, self.dice)
            self.damaged += 1

    def finish(self) -> list[str]:
        """Lets a replay finish, and a second one change nothing."""
        self.feeder.complete()
        while self.feeder.steps:
            self.feeder.step(False)
        self.sluice.must("replay", self.inbox, "--act", "--config", self.config)
        before = shape(self.lake)
        summary = self.sluice.json("replay", self.inbox, "--act", "--config", self.config)
        faults = [f"a second replay found {summary[name]} {name}" for name in ("facts", "rejected") if summary[name]]
        faults += [f"a second replay changed {name}" for name, state in shape(self.lake).items() if before[name] != state]
        return faults

    def run(self) -> int:
        """Runs all phases and prints what came of them."""
        begun = time.monotonic()
        print(f"seed {self.args.seed}", flush=True)
        faults, report = [], None
        try:
            self.prepare()
            self.approve()
            number = 0
            while self.kills < self.args.kills:
                self.one(number)
                self.harm(number)
                number += 1
                if number % 10 == 0:
                    print(f"{self.kills} kills, {self.pieces - len(self.feeder.steps)} of {self.pieces} pieces fed", flush=True)
            faults += self.finish()
            print("replayed to the end, twice", flush=True)
            report = oracle.examine(
                self.lake, self.truth, registered=True, budgets=self.budgets, rejected=self.bad, acted=True
            )
            faults += report.faults + check_window(self.lake, oracle.Table(self.lake, "calls").rows()) + self.check_holds()
        except Fault as fault:
            faults.append(str(fault))
        faults += self.sluice.check_log()
        if report:
            self.summary(report.numbers, time.monotonic() - begun)
        return self.work.close(faults)

    def check_holds(self) -> list[str]:
        """Checks that a hold has its breach, and only one."""
        holds = self.sluice.json("hold", "list", "--config", self.config)
        ids = [hold["id"] for hold in holds]
        rows = {row["fire_id"]: row for row in oracle.Table(self.lake, "breaches").rows()}
        faults = [f"hold {name} has no breach" for name in ids if name not in rows]
        faults += [f"hold {name} rests on a threshold that asks for none" for name in ids if name in rows and "hold" not in rows[name]["actions"]]
        return faults + [f"hold {name} twice" for name in set(ids) if ids.count(name) > 1]

    def summary(self, numbers: dict, seconds: float) -> None:
        difference = numbers["difference"]
        recovery = sorted(self.recovery) or [0.0]
        print(
            f"kills {self.kills}, seed {self.args.seed}, calls {numbers['calls']}, lost {numbers['lost']}, double {numbers['double']}, "
            f"fired {numbers['fired']}, fired twice {numbers['fired_twice']}, sum difference ${difference // 10**12}.{difference % 10**12:012d}, "
            f"versions {numbers['versions']} from {numbers['first_version']}, redelivered {self.feeder.again}, state deleted {self.deleted}, damaged {self.damaged} (refused "
            f"{self.refused}), recovery p50 {statistics.median(recovery) * 1000:.0f} ms max {recovery[-1] * 1000:.0f} ms, {seconds:.0f} s",
            flush=True,
        )


def shape(lake: str) -> dict:
    """Returns what every table holds: files may be merged, sums may not change."""
    sums, shapes = oracle.FileSums(lake), {}
    for name in ("calls", *oracle.SPEND):
        table = oracle.Table(lake, name)
        shapes[name] = sums.of(table, table.versions()[-1].files) if table.exists() else None
    for name in ("rejected", "breaches", "actions"):
        table = oracle.Table(lake, name)
        shapes[name] = len(table.rows()) if table.exists() else 0
    return shapes


def budgets(truth: dict) -> list[dict]:
    """Returns budgets of every kind, with limits that some targets reach and some do not."""
    book = oracle.prices.PriceBook(oracle.PRICES)
    by_agent, total = {}, 0
    for call in truth.values():
        cost = book.quote(call).cost
        by_agent[call["agent_id"]] = by_agent.get(call["agent_id"], 0) + cost
        total += cost
    middle = statistics.median_low(by_agent.values())
    both = [{"at": "50%", "do": ["notify"]}, {"at": "100%", "do": ["notify", "hold"]}]
    dollars = lambda pico: f"{pico // 10**12}.{pico % 10**12:012d} USD"
    return [
        {"name": "agents by day", "each": ["agent_id"], "limit": dollars(middle // 2), "window": "day", "threshold": both},
        {"name": "all by month", "limit": dollars(total * 9 // 10), "window": "month", "threshold": both},
        {"name": "berlin days", "each": ["team"], "limit": dollars(middle // 2), "window": "day", "timezone": "Europe/Berlin", "threshold": both},
        {"name": "sessions", "limit": dollars(middle // 20), "window": "session", "threshold": [{"at": "80%", "do": ["notify", "hold"]}]},
        {"name": "models for ever", "each": ["model"], "limit": dollars(total // 12), "window": "lifetime", "threshold": both},
        {"name": "one team", "where": "team = 'platform'", "limit": dollars(middle), "window": "week", "threshold": both},
        {"name": "rolling", "each": ["agent_id"], "limit": dollars(middle // 8), "window": "rolling 1h", "threshold": [{"at": "100%", "do": ["notify"]}]},
    ]  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--workdir", help="an empty or new folder, kept (default: a temporary one, kept after a fault)")
    parser.add_argument("--start", type=datetime.datetime.fromisoformat, help="first event time, to repeat a run")
    args = parser.parse_args()
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1, 1_000_000)
    if shutil.disk_usage("/tmp").free < 2 << 30:
        raise SystemExit("less than 2 GiB free in /tmp")
    return Loop(args).run()


if __name__ == "__main__":
    sys.exit(main())
