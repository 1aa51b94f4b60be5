#!/usr/bin/env python3
"""Delivers logs again long after their time and asks an oracle whether anything was counted twice.

    backfill.py --bin target/quick/sluice [--seed N] [--workdir DIR]

The calls are forty days old. They come once; then all of them under another path; then record by record in another order, in
files of other names; then again after local state is gone. Each time sums must stay, duplicates must be counted and nothing
may fire anew. Exit code 1 on any fault; the folder is then kept.
"""

import argparse
import datetime
import os
import random
import shutil
import sys

import oracle
from harness import Fault, Sluice, Traffic, Workdir, check_window, whole_lines, write_config
from kill import budgets, shape


class Backfill:
    """The deliveries."""

    def __init__(self, args: argparse.Namespace):
        self.dice = random.Random(args.seed)
        self.seed = args.seed
        self.work = Workdir(args.workdir, "backfill")
        self.sluice = Sluice(args.bin, self.work.at("sluice.log"))
        self.lake, self.config = self.work.at("lake"), self.work.at("sluice.toml")
        self.faults, self.rejected = [], 0

    def prepare(self) -> None:
        """Makes traffic and the configuration."""
        start = datetime.datetime.now(datetime.timezone.utc).replace(minute=0, second=0, microsecond=0) - datetime.timedelta(days=40)
        self.traffic = Traffic(self.sluice, self.work.at("traffic"), start)
        self.traffic.add("plain", self.seed * 10, 1500, "--shape", "meta", "--files", "5", "--shuffle", span="60h")
        self.traffic.add("s3", self.seed * 10 + 1, 500, "--shape", "agent", "--files", "10", "--layout", "s3", "--gzip", span="60h")
        self.traffic.write_agents(self.work.at("agents.toml"))
        self.budgets = budgets(self.traffic.truth)
        write_config(self.config, self.lake, agents=self.work.at("agents.toml"), budgets=self.budgets)
        records = [line for path in self.traffic.files() if "/data/" not in path for line in whole_lines(path)]
        self.records = [line for line in records if line.strip() and not line.startswith(b"Permissions are correctly set")]
        self.good = len(self.records) - self.traffic.bad

    def deliver(self, what: str, facts: int, rejected: int, *paths: str) -> None:
        """Replays paths and checks what was found."""
        summary = self.sluice.json("replay", *paths, "--config", self.config)
        self.rejected += rejected
        expected = {"facts": facts, "duplicates": self.good - facts, "rejected": rejected}
        found = {name: summary[name] for name in expected}
        if found != expected:
            self.faults.append(f"{what}: found {found}, not {expected}")
        print(f"{what}: {found}", flush=True)

    def copy(self, name: str) -> str:
        """Copies the traffic, with the times of files of today."""
        folder = self.work.at(name)
        for path in self.traffic.files():
            target = os.path.join(folder, os.path.relpath(path, self.traffic.folder))
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(path, target)
        return folder

    def scatter(self, name: str) -> str:
        """Writes every record once more, in another order, to files of other names."""
        folder = self.work.at(name)
        os.makedirs(folder)
        self.dice.shuffle(self.records)
        for number in range(7):
            with open(os.path.join(folder, f"again-{number}.jsonl"), "wb") as file:
                file.writelines(line if line.endswith(b"\n") else line + b"\n" for line in self.records[number::7])
        return folder

    def unchanged(self, what: str, before: dict) -> None:
        """Checks that every table holds what it held."""
        after = shape(self.lake)
        for name, state in after.items():
            if name != "rejected" and state != before[name]:
                self.faults.append(f"{what} changed {name}: {before[name]} to {state}")

    def run(self) -> int:
        """Runs all deliveries."""
        try:
            self.prepare()
            calls, bad = len(self.traffic.truth), self.traffic.bad
            sets = [path for path in self.traffic.sets]
            # The later half of the folders first: the earlier one is a backfill already.
            first = self.sluice.json("replay", sets[1], "--config", self.config)
            second = self.sluice.json("replay", sets[0], "--config", self.config)
            self.rejected += bad
            found = {name: first[name] + second[name] for name in ("facts", "duplicates", "rejected")}
            if found != {"facts": calls, "duplicates": self.good - calls, "rejected": bad}:
                self.faults.append(f"first delivery: found {found}, not {calls} calls of {self.good} records and {bad} rejected")
            print(f"first delivery: {found}", flush=True)
            before = shape(self.lake)
            # Beside the first tree: alone it would be taken for that tree, moved, and not be read at all.
            self.deliver("under another path", 0, bad, *self.traffic.sets, self.copy("later"))
            self.unchanged("under another path", before)
            moved = self.sluice.json("replay", self.copy("moved"), "--config", self.config)
            self.rejected += moved["rejected"]
            self.faults += [f"as a tree that has moved: {moved['facts']} calls are new"] if moved["facts"] else []
            self.unchanged("as a tree that has moved", before)
            self.deliver("in another order", 0, bad, self.scatter("scattered"))
            self.unchanged("in another order", before)
            os.remove(os.path.join(self.lake, "_sluice", "local.redb"))
            self.deliver("without local state", 0, bad, self.scatter("scattered-again"))
            self.unchanged("without local state", before)
            report = oracle.examine(self.lake, self.traffic.truth, registered=True, budgets=self.budgets, rejected=self.rejected)
            self.faults += report.faults + check_window(self.lake, oracle.Table(self.lake, "calls").rows())
            print(f"backfill: {calls} calls, five deliveries, seed {self.seed}", flush=True)
        except Fault as fault:
            self.faults.append(str(fault))
        return self.work.close(self.faults + self.sluice.check_log())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--workdir")
    return Backfill(parser.parse_args()).run()


if __name__ == "__main__":
    sys.exit(main())
