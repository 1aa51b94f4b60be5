"""Reads a lake without the program that wrote it: its Delta logs entry by entry, from a checkpoint where they begin with one, its
Parquet files with pyarrow.

The log is replayed here so that every version can be looked at; of the newest one delta-rs must name the same files.
"""

import decimal
import json
import os
import urllib.parse
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

decimal.getcontext().prec = 60
decimal.getcontext().traps[decimal.Inexact] = True
PICO = Decimal(10) ** 12

MEASURES = (
    "calls", "errors", "unpriced_calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens",
    "cache_write_1h_tokens", "cost_usd", "cost_max_usd",
)  # fmt: skip
TOKENS = MEASURES[3:8]


def pico(amount: Decimal | None) -> int:
    """Returns an amount in pico-dollars, exactly."""
    if amount is None:
        return 0
    scaled = amount * PICO
    whole = int(scaled)
    if whole != scaled:
        raise ValueError(f"{amount} has more than 12 places")
    return whole


class Version:
    """One version of a table."""

    def __init__(self, number: int, epoch: int, files: frozenset[str]):
        self.number, self.epoch, self.files = number, epoch, files


class State:
    """What a table's log comes to, action by action."""

    def __init__(self, table: "Table"):
        self.table, self.files, self.epoch = table, set(), -1

    def apply(self, number: int, action: dict) -> None:
        """Takes one action of a version."""
        name = f"{self.table.name} version {number}"
        if "add" in action:
            path = urllib.parse.unquote(action["add"]["path"])
            if path in self.files:
                raise ValueError(f"{name} adds {path} again")
            self.files.add(path)
            self.table.partitions[path] = action["add"]["partitionValues"]["dt"]
        elif "remove" in action:
            path = urllib.parse.unquote(action["remove"]["path"])
            if path not in self.files:
                raise ValueError(f"{name} removes {path}, which it does not have")
            self.files.remove(path)
        elif "txn" in action and action["txn"]["appId"] == "sluice":
            if action["txn"]["version"] < self.epoch:
                raise ValueError(f"{name}: epoch {action['txn']['version']} after {self.epoch}")
            self.epoch = action["txn"]["version"]

    def version(self, number: int) -> Version:
        """Returns it as of a version."""
        return Version(number, self.epoch, frozenset(self.files))


class Table:
    """One Delta table."""

    def __init__(self, root: str, name: str):
        self.name, self.path = name, os.path.join(root, name)
        self.partitions: dict[str, str] = {}

    def exists(self) -> bool:
        """Tells whether the table was begun."""
        return os.path.isdir(os.path.join(self.path, "_delta_log"))

    def versions(self) -> list[Version]:
        """Replays the log; the epoch of a version is the last `sluice` transaction up to it.

        The log of a long run begins at a checkpoint: what lies far enough behind one is deleted. Every checkpoint on the way has to hold
        what the entries up to it come to.
        """
        log = os.path.join(self.path, "_delta_log")
        names = os.listdir(log)
        entries = sorted(int(name[:20]) for name in names if name.endswith(".json") and len(name) == 25)
        checkpoints = sorted(int(name[:20]) for name in names if name.endswith(".checkpoint.parquet") and len(name) == 39)
        found, begin = [], next((number for number in checkpoints if number + 1 >= entries[0]), None) if entries[0] else None
        if entries[0] and begin is None:
            raise ValueError(f"{self.name}: the log begins with entry {entries[0]}, and no checkpoint says what came before")
        state = State(self)
        if begin is not None:
            state = self.checkpoint(begin)
            found.append(state.version(begin))
        for number in range(begin + 1 if begin is not None else 0, entries[-1] + 1):
            path = os.path.join(log, f"{number:020}.json")
            if not os.path.exists(path):
                raise ValueError(f"{self.name}: log entry {number} is missing")
            with open(path, encoding="utf-8") as lines:
                for line in lines:
                    state.apply(number, json.loads(line))
            found.append(state.version(number))
            if number in checkpoints:
                stored = self.checkpoint(number)
                if (stored.files, stored.epoch) != (state.files, state.epoch):
                    differing = sorted(stored.files ^ state.files)[:3]
                    raise ValueError(f"{self.name}: checkpoint {number} of epoch {stored.epoch} is not its log's, of {state.epoch}: {differing}")
        return found

    def checkpoint(self, number: int) -> "State":
        """Reads what a checkpoint says of all entries up to it."""
        state = State(self)
        for action in pq.read_table(os.path.join(self.path, "_delta_log", f"{number:020}.checkpoint.parquet")).to_pylist():
            if action.get("add"):
                action["add"]["partitionValues"] = dict(action["add"]["partitionValues"])
            # What was removed before is only told for a time.
            state.apply(number, {kind: action[kind] for kind in ("add", "txn") if action.get(kind)})
        return state

    def newest(self) -> frozenset[str]:
        """Returns the files of the newest version, on which the log and delta-rs have to agree."""
        newest = self.versions()[-1]
        table = DeltaTable(self.path)
        theirs = {urllib.parse.unquote(uri.removeprefix("file://")) for uri in table.file_uris()}
        ours = {os.path.join(os.path.realpath(self.path), path) for path in newest.files}
        if {os.path.realpath(path) for path in theirs} != ours or table.version() != newest.number:
            raise ValueError(f"{self.name}: delta-rs sees {len(theirs)} files of version {table.version()}, the log {len(ours)} of {newest.number}")
        return newest.files

    def read(self, path: str) -> pa.Table:
        """Reads one file."""
        return pq.ParquetFile(os.path.join(self.path, path)).read()

    def rows(self) -> list[dict]:
        """Returns all rows of the newest version, with `dt`."""
        rows = []
        for path in sorted(self.newest()):
            part = self.read(path)
            dt = self.partitions[path]
            if f"dt={dt}/" not in path:
                raise ValueError(f"{self.name}: {path} is of partition {dt}")
            rows.extend({**row, "dt": dt} for row in part.to_pylist())
        return rows


def call_measures(row: dict) -> list[int]:
    """Returns what a row of `calls` adds to a spend table."""
    unpriced = not row["priced"] and not row["error_code"]
    tokens = [row[name] or 0 for name in TOKENS]
    return [1, int(bool(row["error_code"])), int(unpriced), *tokens, pico(row["cost_usd"]), pico(row["cost_max_usd"])]


def spend_measures(row: dict) -> list[int]:
    """Returns the measures of a row of a spend table."""
    return [row[name] or 0 for name in MEASURES[:8]] + [pico(row["cost_usd"]), pico(row["cost_max_usd"])]


def add(sums: dict, key, measures: list[int]) -> None:
    """Adds measures to those of a key."""
    known = sums.get(key)
    sums[key] = measures if known is None else [left + right for left, right in zip(known, measures)]


class FileSums:
    """Sums of files, each read once: a file never changes under its name."""

    def __init__(self, root: str):
        self.root, self.known = root, {}

    def of(self, table: Table, files: frozenset[str]) -> list[int]:
        """Returns the sums over some files of a table."""
        total = [0] * len(MEASURES)
        for path in files:
            key = (table.name, path)
            if key not in self.known:
                measures = call_measures if table.name == "calls" else spend_measures
                sums = [0] * len(MEASURES)
                for row in table.read(path).to_pylist():
                    sums = [left + right for left, right in zip(sums, measures(row))]
                self.known[key] = sums
            total = [left + right for left, right in zip(total, self.known[key])]
        return total
