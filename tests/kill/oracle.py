#!/usr/bin/env python3
"""Says whether a lake is right, from the truth beside the traffic and nothing of the program that wrote it.

    oracle.py LAKE TRUTH [--prices FILE] [--agents] [--budgets FILE] [--rejected N]

TRUTH is what `sluice simulate --truth` wrote. Every fault is one line; the exit code tells whether there was any.
Whole numbers and fractions only: a difference of one pico-dollar is a fault.
"""

import argparse
import dataclasses
import datetime
import json
import os
import sys
import tomllib
import urllib.parse
import zoneinfo

import prices
from lake import FileSums, Table, add, call_measures, pico, spend_measures

PRICES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../enrich/data/bedrock.toml")
SPEND_KEYS = ("dt", "account_id", "region", "agent_id", "model", "team")
OWNED_KEYS = SPEND_KEYS + ("principal_arn", "session_id")
SPEND = {"spend_minute": SPEND_KEYS, "spend_hour": SPEND_KEYS, "spend_day": OWNED_KEYS, "spend_session": OWNED_KEYS}
SHOWN = 5


class Report:
    """Faults, counted in full and shown in part."""

    def __init__(self):
        self.faults, self.numbers = [], {}

    def check(self, what: str, faults: list[str], **numbers: int) -> None:
        """Notes the outcome of one check."""
        self.numbers.update(numbers)
        self.faults.extend(f"{what}: {fault}" for fault in faults[:SHOWN])
        if len(faults) > SHOWN:
            self.faults.append(f"{what}: and {len(faults) - SHOWN} more")


def moment(text: str) -> datetime.datetime:
    """Reads a time of the truth."""
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def principal_of(arn: str) -> str:
    """Returns the role or user behind an identity ARN."""
    head, _, tail = arn.partition(":assumed-role/")
    if not tail:
        return arn
    account = head.split(":")[4]
    return f"arn:aws:iam::{account}:role/{tail.split('/')[0]}"


def session_name(arn: str) -> str:
    """Returns the role session name of an identity ARN; empty for a user."""
    return arn.split("/", 2)[2] if ":assumed-role/" in arn else ""


@dataclasses.dataclass(frozen=True)
class Owner:
    """What a call must be booked to; None where nothing is promised."""

    agent: str | None
    session: str | None


def owner(call: dict, registered: bool) -> Owner:
    """Returns the owner of a call. `registered`: every agent but nobody's stands in the agents file with its principal."""
    claimed, session, arn = call["claimed_agent"], call["claimed_session"], call["principal_arn"]
    if call["identity"] == "nobody":
        return Owner("unattributed", None)
    if not registered:
        return Owner(claimed, session) if claimed else Owner(None, session)
    if claimed and claimed != call["agent_id"]:
        # Another's name on a closed principal: booked to the principal, and no word of that caller is kept.
        return Owner(f"spoofed:{principal_of(arn).split('/')[-1]}", session_name(arn))
    return Owner(call["agent_id"], session)


def check_calls(report: Report, truth: dict, rows: list[dict], book: prices.PriceBook, registered: bool) -> None:
    """Checks (a) each call once and (b) its tokens, price and owner."""
    seen, double, strange = {}, [], []
    for row in rows:
        name = row["request_id"]
        if name in seen:
            double.append(name)
        elif name not in truth:
            strange.append(name)
        seen[name] = row
    lost = [name for name in truth if name not in seen]
    report.check("lost", lost, lost=len(lost))
    report.check("counted twice", double, double=len(double))
    report.check("from nowhere", strange, strange=len(strange))
    wrong, difference = [], 0
    for name, call in truth.items():
        if name in seen:
            expected = book.quote(call)
            difference += abs(pico(seen[name]["cost_usd"]) - expected.cost)
            wrong.extend(f"{name} ({call['model_id']}): {fault}" for fault in compare(call, seen[name], expected, owner(call, registered)))
    report.check("wrong", wrong, wrong=len(wrong), difference=difference)


def compare(call: dict, row: dict, quote: prices.Quote, expected: Owner) -> list[str]:
    """Compares a line of the truth with its row."""
    same = {
        "event_time": moment(call["event_time"]), "dt": call["event_time"][:10], "account_id": call["account_id"], "region": call["region"],
        "inference_region": call["inference_region"] or "", "operation": call["operation"], "model_id": call["model_id"],
        "principal_arn": call["principal_arn"], "service_tier": call["service_tier"], "error_code": call["error_code"],
        "latency_ms": call["latency_ms"], "cost_basis": call["basis"], "model": quote.model,
    }  # fmt: skip
    same.update({f"{name}_tokens": call[name] for name in prices.CLASSES})
    faults = []
    for column, value in same.items():
        found = row[column] or "" if isinstance(value, str) else row[column]
        if found != value:
            faults.append(f"{column} is {row[column]!r}, not {value!r}")
    if pico(row["cost_usd"]) != quote.cost:
        faults.append(f"cost is {row['cost_usd']}, not {quote.cost} pico-dollars")
    if quote.bound is not None and pico(row["cost_max_usd"]) != quote.bound:
        faults.append(f"bound is {row['cost_max_usd']}, not {quote.bound} pico-dollars")
    if pico(row["cost_max_usd"]) < quote.cost:
        faults.append(f"bound {row['cost_max_usd']} is below the cost")
    if not call["error_code"] and row["priced"] != quote.priced:
        faults.append(f"priced is {row['priced']}")
    if expected.agent is not None and row["agent_id"] != expected.agent:
        faults.append(f"agent is {row['agent_id']!r}, not {expected.agent!r}")
    if expected.session is not None and (row["session_id"] or "") != expected.session:
        faults.append(f"session is {row['session_id']!r}, not {expected.session!r}")
    return faults


def check_spend(report: Report, root: str, calls: list[dict]) -> None:
    """Checks (c): each spend table adds up to the calls, by all its keys and so by `dt` alone."""
    for name, keys in SPEND.items():
        rows = Table(root, name).rows() if Table(root, name).exists() else []
        time = {"spend_minute": "minute", "spend_hour": "hour"}.get(name)
        width = 60 if name == "spend_minute" else 3600
        expected, found, days = {}, {}, {}
        for row in calls:
            stamp = int(row["event_time"].timestamp())
            key = tuple(row[column] or "" for column in keys)
            add(expected, (key, stamp - stamp % width if time else 0), call_measures(row))
            add(days, row["dt"], call_measures(row))
        for row in rows:
            key = tuple(row[column] or "" for column in keys)
            add(found, (key, int(row[time].timestamp()) if time else 0), spend_measures(row))
            add(days, row["dt"], [-value for value in spend_measures(row)])
        both = expected.keys() | found.keys()
        wrong = [f"{key}: {found.get(key)}, not {expected.get(key)}" for key in both if found.get(key) != expected.get(key)]
        wrong += [f"dt = {day}: differs by {sums}" for day, sums in days.items() if any(sums)]
        report.check(name, wrong)
        if name == "spend_session":
            check_spans(report, rows, calls)


def check_spans(report: Report, rows: list[dict], calls: list[dict]) -> None:
    """Checks first (to the minute) and last event of every session's days."""
    spans, found = {}, {}
    for target, source, first, last in ((spans, calls, "event_time", "event_time"), (found, rows, "first_event", "last_event")):
        for row in source:
            key = tuple(row[column] or "" for column in OWNED_KEYS)
            low, high = target.get(key, (row[first], row[last]))
            target[key] = (min(low, row[first]), max(high, row[last]))
    wrong = []
    for key, (low, high) in spans.items():
        first, last = found.get(key, (None, None))
        if last != high or not low.replace(second=0, microsecond=0) <= first <= low:
            wrong.append(f"{key}: {first} to {last}, not {low} to {high}")
    report.check("spend_session spans", wrong)


def check_versions(report: Report, root: str, sums: FileSums) -> None:
    """Checks (d): at every committed version of `calls` the spend tables of the same epoch hold the same sums."""
    calls = Table(root, "calls")
    by_epoch, wrong = {}, []
    for version in calls.versions():
        total = sums.of(calls, version.files)
        known = by_epoch.setdefault(version.epoch, total)
        if known != total:
            wrong.append(f"calls version {version.number} changes the sums of epoch {version.epoch} from {known} to {total}")
    last = max(by_epoch)
    for name in SPEND:
        table = Table(root, name)
        if not table.exists():
            wrong.extend([f"{name} does not exist"] if any(by_epoch[last]) else [])
            continue
        versions = table.versions()
        newest, at = versions[-1].epoch, 0
        for epoch in sorted(by_epoch):
            if epoch > newest:
                break
            while at + 1 < len(versions) and versions[at + 1].epoch <= epoch:
                at += 1
            upto = [version for version in versions if version.epoch == versions[at].epoch] if versions[at].epoch <= epoch else []
            for version in upto:
                total = sums.of(table, version.files)
                if total != by_epoch[epoch]:
                    wrong.append(f"{name} version {version.number} (epoch {version.epoch}): {total}; calls at epoch {epoch}: {by_epoch[epoch]}")
    seen = calls.versions()
    report.check("versions", wrong, versions=len(seen), first_version=seen[0].number, epochs=len(by_epoch))


def check_rejected(report: Report, root: str, expected: int) -> None:
    """Checks (e): each record that cannot be read is kept once."""
    rows = Table(root, "rejected").rows() if Table(root, "rejected").exists() else []
    places = {(row["source"], row["offset"]) for row in rows}
    faults = [] if len(rows) == expected else [f"{len(rows)} rows, not {expected}"]
    faults += [f"{len(rows) - len(places)} places occur twice"] if len(places) != len(rows) else []
    faults += [f"{row['source']}@{row['offset']}: no reason" for row in rows if not row["reason"]]
    report.check("rejected", faults, rejected=len(rows))


def period_of(window: str, zone: str, time: datetime.datetime) -> str:
    """Returns the id of the period an event belongs to."""
    local = time.astimezone(zoneinfo.ZoneInfo(zone))
    if window == "week":
        year, week, _ = local.isocalendar()
        return f"{year}-W{week:02d}"
    formats = {"day": "%Y-%m-%d", "month": "%Y-%m", "session": "session", "lifetime": "lifetime"}
    if window not in formats:
        raise prices.Unsupported(f"window {window}")
    return local.strftime(formats[window])


def crossings(budgets: list[dict], calls: list[dict]) -> set[tuple[str, str, str, str]]:
    """Returns (budget, target, period, threshold) of all that has to fire, for windows in which sums only grow."""
    expected = set()
    for budget in budgets:
        if budget["window"].startswith("rolling"):
            continue
        limit = int(prices.Fraction(budget["limit"].removesuffix(" USD")) * prices.PICO)
        each, sums = budget.get("each", ["agent_id", "session_id"] if budget["window"] == "session" else []), {}
        for call in calls:
            if "where" in budget and not matches(budget["where"], call):
                continue
            if budget["window"] == "session" and not call["session_id"]:
                continue
            target = ",".join(f"{column}={call[column] or ''}" for column in each) or "*"
            key = (target, period_of(budget["window"], budget.get("timezone", "UTC"), call["event_time"]))
            sums[key] = sums.get(key, 0) + pico(call["cost_usd"])
        for (target, period), spent in sums.items():
            for threshold in budget["threshold"]:
                percent = prices.Fraction(threshold["at"].removesuffix("%"))
                if spent * 100 >= limit * percent:
                    expected.add((budget["name"], target, period, threshold["at"]))
    return expected


def matches(where: str, call: dict) -> bool:
    """Evaluates `column = 'text'`."""
    column, _, text = where.partition(" = ")
    if not (text.startswith("'") and text.endswith("'")):
        raise prices.Unsupported(f"where {where}")
    return call[column] == text[1:-1]


def check_breaches(report: Report, root: str, calls: list[dict], budgets: list[dict], acted: bool) -> None:
    """Checks (f): what fired is what had to, once; `acted`: each was also written to the file of breaches."""
    rows = Table(root, "breaches").rows() if Table(root, "breaches").exists() else []
    ids = [row["fire_id"] for row in rows]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    path = os.path.join(root, "_sluice", "breaches.jsonl")
    written = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as lines:
            written = [json.loads(line)["fire_id"] for line in lines]
    twice += sorted({f"{name} in the file" for name in written if written.count(name) > 1})
    report.check("fired twice", twice, fired_twice=len(twice), fired=len(set(ids)))
    stray = [name for name in set(written) if name not in set(ids)]
    report.check("in the file, not in the table", stray)
    if acted:
        report.check("in the table, not in the file", [name for name in set(ids) if name not in set(written)])
    done = [(row["fire_id"], row["action"]) for row in Table(root, "actions").rows() if row["state"] in ("done", "active") and row["fire_id"] in set(ids)]
    done = [pair for pair in done if pair[1] != "hold"]
    report.check("acted twice", [f"{name} {action}" for name, action in sorted(set(done)) if done.count((name, action)) > 1])
    rolling = {budget["name"] for budget in budgets if budget["window"].startswith("rolling")}
    fired = [(row["budget"], urllib.parse.unquote(row["target"]), row["period"], row["threshold"]) for row in rows if row["budget"] not in rolling]
    expected = crossings(budgets, calls)
    faults = [f"did not fire: {key}" for key in sorted(expected - set(fired))]
    faults += [f"fired and should not have: {key}" for key in sorted(set(fired) - expected)]
    faults += [f"fired under two ids: {key}" for key in sorted({key for key in fired if fired.count(key) > 1})]
    report.check("breaches", faults, expected=len(expected))


def read_truth(path: str) -> dict:
    """Reads the truth by request id."""
    with open(path, encoding="utf-8") as lines:
        calls = [json.loads(line) for line in lines]
    truth = {call["request_id"]: call for call in calls}
    if len(truth) != len(calls):
        raise SystemExit(f"{path}: request ids occur twice")
    return truth


def examine(root: str, truth: dict, *, registered=False, budgets=None, rejected=None, acted=False, prices_file=PRICES, sums=None) -> Report:
    """Runs every check that applies."""
    report = Report()
    book = prices.PriceBook(prices_file)
    rows = Table(root, "calls").rows()
    check_calls(report, truth, rows, book, registered)
    check_spend(report, root, rows)
    check_versions(report, root, sums or FileSums(root))
    if rejected is not None:
        check_rejected(report, root, rejected)
    if budgets:
        check_breaches(report, root, rows, budgets, acted)
    report.numbers.update(calls=len(rows), cost=sum(pico(row["cost_usd"]) for row in rows))
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake")
    parser.add_argument("truth")
    parser.add_argument("--prices", default=PRICES)
    parser.add_argument("--agents", action="store_true", help="the agents of the truth's summary were registered")
    parser.add_argument("--budgets", help="configuration with [[budget]] tables that were in force")
    parser.add_argument("--rejected", type=int, help="records that cannot be read")
    args = parser.parse_args()
    budgets = None
    if args.budgets:
        with open(args.budgets, "rb") as file:
            budgets = tomllib.load(file)["budget"]
    report = examine(args.lake, read_truth(args.truth), registered=args.agents, budgets=budgets, rejected=args.rejected, prices_file=args.prices)
    for fault in report.faults:
        print(f"FAULT {fault}")
    print(" ".join(f"{name}={number}" for name, number in report.numbers.items()))
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
