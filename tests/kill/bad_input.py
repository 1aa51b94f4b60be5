#!/usr/bin/env python3
"""Gives the command line what it should never be given, and counts what becomes of the neighbours.

    bad_input.py --bin target/quick/sluice [--only WORD] [--workdir DIR]

Every case has a lake of its own. Exit code 1 on any fault; the folder is then kept.
"""

import argparse
import datetime
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import zlib

import bad_places  # noqa: F401 (registers its cases)
import bad_shapes  # noqa: F401 (registers its cases)
from bad_records import BAD, ODD, line
from cases import CASES, Place, case, lines
from harness import Fault, Workdir, write_config

MIB = 1 << 20
RSS_LIMIT = 400
# What a terminal would act on: C0 but for tab and newline, DEL, C1. And what it would show in another order.
CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f"
BIDIRECTIONAL = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"


@case
def bad_lines(place: Place) -> None:
    """One of every bad record between good ones: each refused where it is, for a reason, and kept whole."""
    good, ids = lines(len(BAD) + 1)
    content, offsets = good[0] + b"\n", {}
    for (name, bad, reasons), neighbour in zip(BAD, good[1:]):
        offsets[len(content)] = (name, bad, reasons)
        content += bad + b"\n" + neighbour + b"\n"
    place.put("bad.jsonl", content)
    summary = place.replay()
    place.expect("calls", place.ids(), sorted(ids))
    place.expect("rejected", summary["rejected"], len(BAD))
    rows = {row["offset"]: row for row in place.rows("rejected")}
    for offset, (name, bad, reasons) in offsets.items():
        # The record of an array begins behind its bracket.
        row = rows.pop(offset + bad.startswith(b"[1"), None)
        if row is None:
            place.faults.append(f"{name}: no rejected row at its place, {offset}")
            continue
        if row["reason"] not in reasons:
            place.faults.append(f"{name}: refused as {row['reason']} ({row['detail']}), not {sorted(reasons)}")
        if len(bad) < 60_000 and row["raw"].strip() != bad.strip(b"[]" if bad.startswith(b"[1") else None):
            place.faults.append(f"{name}: kept as {row['raw'][:80]!r}")
        if not row["source"].endswith("bad.jsonl") or row["bytes"] < len(bad.strip(b" []")):
            place.faults.append(f"{name}: source {row['source']}, {row['bytes']} bytes")
    place.expect("rows elsewhere", sorted(rows), [])
    again = place.replay()
    place.expect("second replay", (again["facts"], again["rejected"], len(place.rows("rejected"))), (0, 0, len(BAD)))


@case
def bad_lines_compressed(place: Place) -> None:
    """The same in a compressed file."""
    good, ids = lines(len(BAD) + 1)
    parts = [good[0]] + [part for (_, bad, _), neighbour in zip(BAD, good[1:]) for part in (bad, neighbour)]
    place.put("bad.jsonl.gz", gzip.compress(b"\n".join(parts) + b"\n"))
    summary = place.replay()
    place.expect("calls", place.ids(), sorted(ids))
    place.expect("rejected", summary["rejected"], len(BAD))


@case
def odd_lines(place: Place) -> None:
    """Odd records that are readable all the same."""
    for name, one in ODD:
        place.put(f"{name}.jsonl".replace(" ", "-"), one + b"\n")
    summary = place.replay()
    ids = [re.search(rb'"requestId" ?:[ \t]*"([^"]+)"', one.replace(b"\\u0072equest\\u0049d", b"requestId")).group(1).decode() for _, one in ODD]
    place.expect("rejected", [(row["source"].rsplit("/")[-1], row["detail"]) for row in place.rows("rejected")], [])
    place.expect("calls", (summary["facts"], place.ids()), (len(ODD), sorted(ids)))
    place.expect("traps", sum(row["input_tokens"] for row in place.rows("calls")), 1000 * (len(ODD) - 1))


@case
def same_id_elsewhere(place: Place) -> None:
    """One request id in two accounts and two regions is four calls; in other capitals it is another id."""
    one = json.loads(line())
    made = [{**one, "accountId": account, "region": region} for account in ("111122223333", "444455556666") for region in ("us-east-1", "us-west-2")]
    made.append({**one, "requestId": one["requestId"].upper()})
    place.put("ids.jsonl", b"".join(json.dumps(each).encode() + b"\n" for each in made * 2))
    summary = place.replay()
    wanted = 5 if one["requestId"] != one["requestId"].upper() else 4
    place.expect("calls", (summary["facts"], summary["duplicates"]), (wanted, 10 - wanted))


@case
def shapes_of_files(place: Place) -> None:
    """Empty files, blank lines, no last newline, several documents, odd names."""
    good, ids = lines(12)
    place.put("empty.jsonl", b"")
    place.put("empty.json.gz", gzip.compress(b""))
    place.put("nothing.gz", b"")
    place.put("blank.jsonl", b"\n\n" + good[0] + b"\n\n\n" + good[1])
    place.put("two.jsonl", good[2] + b"\n" + good[3] + b"\n")
    place.put("windows.jsonl", good[4] + b"\r\n" + good[5] + b"\r\n")
    place.put("pretty.json", json.dumps(json.loads(good[6]), indent=2).encode())
    place.put("members.json.gz", gzip.compress(good[7] + b"\n") + gzip.compress(good[8] + b"\n"))
    place.put("plain-named.gz", good[9] + b"\n")
    place.put("gzip-named.json", gzip.compress(good[10] + b"\n"))
    place.put("line\nbreak \x1b[31m.jsonl", good[11] + b"\n")
    os.makedirs(os.path.join(place.logs, "folder.json"))
    os.makedirs(os.path.join(place.logs, "folder.gz"))
    summary = place.replay()
    place.expect("rejected", [(row["source"], row["detail"]) for row in place.rows("rejected")], [])
    place.expect("calls", (summary["facts"], place.ids()), (len(ids), sorted(ids)))


@case
def not_files(place: Place) -> None:
    """A pipe, a socket, dangling and circular links among the logs: none of them hangs or ends the run."""
    good, ids = lines(2)
    place.put("a.jsonl", good[0] + b"\n")
    place.put("z.jsonl", good[1] + b"\n")
    os.mkfifo(os.path.join(place.logs, "pipe.jsonl"))
    os.symlink("nowhere", os.path.join(place.logs, "dangling.jsonl"))
    os.symlink("circle.jsonl", os.path.join(place.logs, "circle.jsonl"))
    os.symlink(place.logs, os.path.join(place.logs, "loop"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(place.logs, "socket.jsonl"))
    try:
        code, _, err = place.sluice.call("replay", place.logs, "--lake", place.lake, timeout=60)
        place.expect(f"exit code ({err[-200:]})", code, 0)
    except subprocess.TimeoutExpired:
        place.faults.append("hangs")
    listener.close()
    place.expect("calls", place.ids(), sorted(ids))


def bomb(size: int, piece: bytes) -> bytes:
    """Compresses a piece over and over to a stream of this many bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(packer.compress(piece) for _ in range(size // len(piece)))
    return packed + packer.flush()


@case
def bombs(place: Place) -> None:
    """A gibibyte out of a mebibyte: refused, in bounded memory, and its neighbours are read."""
    good, ids = lines(2)
    place.put("a.jsonl", good[0] + b"\n")
    place.put("bomb-of-zeros.json.gz", bomb(1 << 30, bytes(MIB)))
    place.put("bomb-of-brackets.json.gz", bomb(1 << 30, b"[" * MIB))
    place.put("bomb-of-lines.json.gz", bomb(1 << 30, b"\n" * MIB))
    place.put("twice.json.gz", gzip.compress(gzip.compress(good[0])))
    place.put("z.jsonl", good[1] + b"\n")
    process = place.sluice.start("replay", place.logs, "--lake", place.lake, "--format", "json")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    place.expect("exit code", process.returncode, 0)
    if usage.ru_maxrss / 1024 > RSS_LIMIT:
        place.faults.append(f"took {usage.ru_maxrss / 1024:.0f} MiB, more than {RSS_LIMIT}")
    place.expect("calls", place.ids(), sorted(ids))
    sources = {os.path.basename(row["source"]) for row in place.rows("rejected")}
    for name in ("bomb-of-zeros.json.gz", "bomb-of-brackets.json.gz", "twice.json.gz"):
        if name not in sources:
            place.faults.append(f"{name} was not refused")


@case
def long_lines(place: Place) -> None:
    """Lines without end, in bounded memory."""
    good, ids = lines(3)
    place.put("a.jsonl", good[0] + b"\n" + b"x" * (200 * MIB) + b"\n" + good[1] + b"\n")
    place.put("b.jsonl", line(requestMetadata={"agent_id": "y" * (64 * MIB)}) + b"\n" + good[2] + b"\n")
    process = place.sluice.start("replay", place.logs, "--lake", place.lake, "--format", "json")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    place.expect("exit code", process.returncode, 0)
    if usage.ru_maxrss / 1024 > 2 * RSS_LIMIT:
        place.faults.append(f"took {usage.ru_maxrss / 1024:.0f} MiB, more than {2 * RSS_LIMIT}")
    missing = set(ids) - set(place.ids())
    place.expect("neighbours lost", sorted(missing), [])
    place.expect("rejected", len(place.rows("rejected")) + len(place.ids()), 5)


@case
def broken_gzip(place: Place) -> None:
    """Compressed files that are cut, altered or followed by rubbish: what can be read is read, the rest is refused."""
    good, ids = lines(400)
    whole = gzip.compress(b"\n".join(good[:200]) + b"\n")
    place.put("cut.json.gz", whole[: len(whole) // 2])
    altered = bytearray(gzip.compress(b"\n".join(good[200:300]) + b"\n"))
    altered[-6] ^= 0xFF
    place.put("altered.json.gz", bytes(altered))
    place.put("tail.json.gz", gzip.compress(b"\n".join(good[300:]) + b"\n") + b"rubbish")
    place.put("header-only.json.gz", whole[:10])
    place.put("zstd.json", b"\x28\xb5\x2f\xfd" + bytes(64))
    place.replay()
    sources = {os.path.basename(row["source"]) for row in place.rows("rejected")}
    for name in ("cut.json.gz", "altered.json.gz", "header-only.json.gz", "zstd.json"):
        if name not in sources:
            place.faults.append(f"{name} was not refused")
    found = place.ids()
    place.expect("calls of a sound member before rubbish", sorted(set(found) & set(ids[300:])), sorted(ids[300:]))
    place.expect("calls from nowhere", sorted(set(found) - set(ids)), [])
    place.expect("calls twice", len(found), len(set(found)))


@case
def names_of_attackers(place: Place) -> None:
    """Control and bidirectional characters in ids reach no terminal."""
    names = ["evil\x1b]0;owned\x07", "rtl\u202etxt.exe", "two\nlines", "c1\u009b31m", "nul\x00", "\u2066isolate\u2069", "tab\there", "ok", "quote\"comma,", "x" * 5000]
    made = [line(requestMetadata={"agent_id": name, "session_id": name}, identity={"arn": f"arn:aws:sts::111122223333:assumed-role/r/{n}"}) for n, name in enumerate(names)]
    made.append(line(identity={"arn": "arn:aws:sts::111122223333:assumed-role/evil\x1b[2J\u202e/x"}, modelId="model\x1b[31m\u202e", requestMetadata=None))
    place.put("names.jsonl", b"".join(one + b"\n" for one in made))
    rejected = place.replay()["rejected"]
    place.expect("calls and rejected", len(place.rows("calls")) + rejected, len(made))
    config = os.path.join(place.root, "sluice.toml")
    budget = {"name": "a", "each": ["agent_id"], "limit": "0.000001 USD", "window": "lifetime", "threshold": [{"at": "100%", "do": ["notify"]}]}
    write_config(config, place.lake + "-2", budgets=[budget], window=False)
    shown = []
    sql = "SELECT agent_id, session_id, principal_arn, model_id, tags, metadata FROM calls"
    for lake in (["--lake", place.lake], ["--config", config]):
        for command in (
            ["replay", place.logs, *lake], ["query", sql, *lake], ["query", sql, *lake, "--format", "csv"], ["query", "SELECT * FROM rejected", *lake],
            ["query", "SELECT * FROM breaches", *lake], ["budget", "list", *lake], ["hold", "list", *lake], ["prices", "rerate", *lake, "--dry-run"],
            ["budget", "backtest", *lake],
        ):  # fmt: skip
            _, out, err = place.sluice.call(*command)
            said = (out + err).replace("\r\n", "\n")
            if found := re.search(f"[{CONTROLS + BIDIRECTIONAL}]", said):
                at = said[max(found.start() - 30, 0) : found.end() + 30]
                place.faults.append(f"sluice {command[0]} {' '.join(command[-2:])[:40]} shows {at!r}")
            shown.append(out)
    if "ok" not in shown[1]:
        place.faults.append("the query shows nothing")


@case
def clock_of_the_caller(place: Place) -> None:
    """Four minutes ahead is taken, ten are not."""
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp = lambda minutes: (now + datetime.timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    place.put("a.jsonl", line(timestamp=stamp(4)) + b"\n" + line(timestamp=stamp(10)) + b"\n" + line(timestamp="1970-01-01T00:00:00Z") + b"\n")
    summary = place.replay()
    place.expect("calls and rejected", (summary["facts"], summary["rejected"]), (2, 1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", required=True)
    parser.add_argument("--only", default="", help="only cases whose name holds this word")
    parser.add_argument("--workdir")
    args = parser.parse_args()
    work, faults, done = Workdir(args.workdir, "bad-input"), [], 0
    for function in CASES:
        if args.only not in function.__name__:
            continue
        place = Place(work, args.bin, function.__name__)
        try:
            function(place)
        except (Fault, ValueError, OSError, subprocess.SubprocessError) as fault:
            place.faults.append(f"{type(fault).__name__}: {fault}")
        place.faults += place.sluice.check_log()
        print(f"{'FAULT' if place.faults else 'ok':5} {function.__name__}", flush=True)
        faults += [f"{function.__name__}: {fault}" for fault in place.faults]
        done += 1
    print(f"bad input: {done} cases, {len(faults)} faults", flush=True)
    return work.close(faults)


if __name__ == "__main__":
    sys.exit(main())
