#!/usr/bin/env python3
"""Works out which budget thresholds a log of calls crosses, with integers alone and nothing of the program it checks.

    budgets_reference.py BUDGETS.toml PRICES.toml LOG.jsonl...

Prints one JSON object a crossing: budget, target, period, threshold, limit and spend at the crossing in pico-dollars. A call counts once,
however often its request id comes. Calls are taken in event-time order.

The rules it follows:

* A calendar period is a day, ISO week or month of the budget's time zone; event time decides.
* A sum that only grows crosses each threshold once a period, at the call that brings it there.
* A rolling window is a row of buckets: a minute for windows up to an hour, else the width's 96th part in whole minutes, rounded up. The sum
  at a bucket is that of the bucket and of those the width reaches back, the oldest one whole. It fires at the bucket that brings the sum to
  the threshold, and is armed again by a bucket before whose own spend the sum is below nine tenths of it. The crossing is named by the
  stretch of the window's width that the bucket lies in, counted from 1970, and by its number in that stretch if it is not the first.
* A call without a price counts at the budget's worst case, if it names one.
"""

import datetime as dt
import json
import re
import sys
import tomllib
from decimal import Decimal
from zoneinfo import ZoneInfo

PICO = 10**12
MINUTE = 60
UTC = dt.timezone.utc
ESCAPED = "%,=*"


def pico(text: str) -> int:
    """Reads an amount exactly."""
    amount = Decimal(text.replace("USD", "").strip()) * PICO
    if amount != int(amount):
        raise SystemExit(f"{text} is finer than a pico-dollar")
    return int(amount)


def prices(path: str) -> dict[str, dict[str, int]]:
    """Reads pico-dollars a token, by model and class."""
    with open(path, "rb") as file:
        cards = tomllib.load(file)["card"]
    rates = {}
    for card in cards:
        rates[card["model"]] = {}
        for kind, text in card["usd_per_million_tokens"].items():
            amount, rest = divmod(pico(text), 1_000_000)
            if rest:
                raise SystemExit(f"{card['model']}: {kind} is no whole number of pico-dollars a token")
            rates[card["model"]][kind] = amount
    return rates


def calls(paths: list[str], rates: dict[str, dict[str, int]]) -> list[dict]:
    """Reads the distinct calls of logs in event-time order, priced."""
    found = {}
    for path in paths:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                record = json.loads(line)
                found.setdefault(record["requestId"], record)
    read = [call(record, rates) for record in found.values()]
    return sorted(read, key=lambda call: (call["at"], call["request_id"]))


def call(record: dict, rates: dict[str, dict[str, int]]) -> dict:
    """Takes out of a record what budgets ask about."""
    source, out = record["input"], record.get("output", {})
    tokens = {
        "input": source.get("inputTokenCount", 0),
        "cache_read": source.get("cacheReadInputTokenCount", 0),
        "cache_write": source.get("cacheWriteInputTokenCount", 0),
        "output": out.get("outputTokenCount", 0),
    }
    rate = rates.get(record["modelId"])
    plain = 0 if rate is None else sum(tokens[kind] * rate[kind] for kind in ("input", "cache_read", "output") if tokens[kind])
    written = tokens["cache_write"]
    metadata, role = record.get("requestMetadata", {}), record["identity"]["arn"]
    at = dt.datetime.strptime(record["timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return {
        "request_id": record["requestId"],
        "at": int(at.timestamp()),
        "columns": {
            "account_id": record["accountId"],
            "region": record["region"],
            "operation": record["operation"],
            "model_id": record["modelId"],
            "inference_region": record.get("inferenceRegion"),
            # Nobody claims it: a visible owner. Without a session of its own a call is of that of its role, which a user does not have.
            "agent_id": metadata.get("agent_id") or "unattributed",
            "session_id": metadata.get("session_id") or (role.split("/")[2] if ":assumed-role/" in role else None),
        },
        "tokens": sum(tokens.values()),
        "priced": rate is not None,
        "cost": 0 if rate is None else plain + (written * rate["cache_write_5m"] if written else 0),
        "cost_max": 0 if rate is None else plain + (written * rate["cache_write_1h"] if written else 0),
    }


def holds(predicate: str | None, columns: dict[str, str | None]) -> bool:
    """Answers a predicate of ANDed comparisons; what is unknown does not hold."""
    if predicate is None:
        return True
    for clause in re.split(r"\s+AND\s+", predicate):
        if match := re.fullmatch(r"(\w+) IS (NOT )?NULL", clause):
            if (columns[match[1]] is None) == bool(match[2]):
                return False
            continue
        if match := re.fullmatch(r"(\w+) (NOT )?IN \((.*)\)", clause):
            value, among = columns[match[1]], re.findall(r"'([^']*)'", match[3])
            if value is None or (value in among) == bool(match[2]):
                return False
            continue
        match = re.fullmatch(r"(\w+) (=|<>|LIKE) '([^']*)'", clause)
        if match is None:
            raise SystemExit(f"the reference does not know '{clause}'")
        value, kind, text = columns[match[1]], match[2], match[3]
        if value is None:
            return False
        if kind == "LIKE":
            pattern = "".join(".*" if c == "%" else "." if c == "_" else re.escape(c) for c in text)
            if re.fullmatch(pattern, value, re.DOTALL) is None:
                return False
        elif (value == text) != (kind == "="):
            return False
    return True


def target(each: list[str], columns: dict[str, str | None]) -> str:
    """Writes what a counter stands for."""
    def escaped(value: str) -> str:
        return "".join("".join(f"%{b:02X}" for b in c.encode()) if c in ESCAPED or ord(c) < 32 else c for c in value)
    return ",".join(f"{name}={escaped(columns[name] or '')}" for name in each) or "*"


def calendar(window: str, zone: ZoneInfo, at: int) -> str:
    """Returns the id of the calendar period of a moment."""
    date = dt.datetime.fromtimestamp(at, UTC).astimezone(zone).date()
    if window == "day":
        return date.isoformat()
    if window == "week":
        year, week, _ = date.isocalendar()
        return f"{year:04}-W{week:02}"
    return f"{date.year:04}-{date.month:02}"


def width_of(text: str) -> int:
    """Reads the width of a rolling window in seconds."""
    number, unit = re.fullmatch(r"(\d+)([mhd])", text).groups()
    return int(number) * {"m": MINUTE, "h": 60 * MINUTE, "d": 1440 * MINUTE}[unit]


def shown_width(seconds: int) -> str:
    """Writes a width in its largest whole unit."""
    for unit, name in ((1440 * MINUTE, "d"), (60 * MINUTE, "h")):
        if seconds % unit == 0:
            return f"{seconds // unit}{name}"
    return f"{seconds // MINUTE}m"


def rolling(points: list[tuple[int, int]], width: int, at: int) -> list[tuple[str, int]]:
    """Returns period and sum of each crossing of the amount `at`; points are times in seconds and amounts, in order."""
    bucket = MINUTE if width <= 60 * MINUTE else -(-(width // 96) // MINUTE) * MINUTE
    reach = -(-width // bucket)
    sums: dict[int, int] = {}
    for when, amount in points:
        sums[when // bucket] = sums.get(when // bucket, 0) + amount
    crossings, slices, over = [], {}, False
    for index in sorted(sums):
        before = sum(amount for other, amount in sums.items() if index - reach <= other < index)
        if over and before < at * 9 // 10:
            over = False
        total = before + sums[index]
        if not over and total >= at:
            over = True
            start = index * bucket // width * width
            slices[start] = slices.get(start, 0) + 1
            number = "" if slices[start] == 1 else f"#{slices[start]}"
            begun = dt.datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            crossings.append((f"{begun}/{shown_width(width)}{number}", total))
    return crossings


def amount_of(budget: dict, call: dict) -> int:
    """Returns what a call adds to a budget."""
    known = call[budget.get("count", "cost")]
    worst = budget.get("unpriced_worst_case")
    if call["priced"] or worst is None:
        return known
    number, per = re.fullmatch(r"(.*) USD per (.*)", worst).groups()
    if per == "call":
        return pico(number)
    rate, rest = divmod(pico(number), {"1M tokens": 1_000_000, "1K tokens": 1_000}[per])
    if rest:
        raise SystemExit(f"{worst} is no whole number of pico-dollars a token")
    return rate * call["tokens"]


def threshold_at(text: str, limit: int) -> int:
    """Returns the amount of a threshold."""
    if text.endswith("%"):
        return limit * int(Decimal(text[:-1]) * 1000) // 100_000
    return pico(text)


def crossings(budget: dict, all_calls: list[dict]) -> list[dict]:
    """Returns every crossing of one budget."""
    window = budget["window"]
    each = budget.get("each", ["agent_id", "session_id"] if window == "session" else [])
    zone = ZoneInfo(budget.get("timezone", "UTC"))
    counters: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for one in all_calls:
        if not holds(budget.get("where"), one["columns"]) or (window == "session" and one["columns"]["session_id"] is None):
            continue
        calendric = window in ("day", "week", "month")
        period = calendar(window, zone, one["at"]) if calendric else window
        counters.setdefault((target(each, one["columns"]), period), []).append((one["at"], amount_of(budget, one)))
    exceptions = budget.get("limits", {})
    found = []
    for (who, period), points in counters.items():
        alone = who.split("=", 1)[1] if len(each) == 1 else None
        text = exceptions.get(who, exceptions.get(alone, budget.get("limit")))
        if text is None:
            continue
        limit = pico(text)
        for threshold in budget["threshold"]:
            at = threshold_at(threshold["at"], limit)
            if window.startswith("rolling"):
                fired = rolling(points, width_of(window.split()[1]), at)
            else:
                fired, total = [], 0
                for _, amount in points:
                    total += amount
                    if total >= at:
                        fired = [(period, total)]
                        break
            for name, spent in fired:
                found.append({"budget": budget["name"], "target": who, "period": name, "threshold": threshold["at"], "limit": limit, "spent": spent})
    return found


def expected(budgets_path: str, prices_path: str, logs: list[str]) -> list[dict]:
    """Returns every crossing of all budgets, sorted."""
    with open(budgets_path, "rb") as file:
        budgets = tomllib.load(file)["budget"]
    all_calls = calls(logs, prices(prices_path))
    found = [crossing for budget in budgets for crossing in crossings(budget, all_calls)]
    return sorted(found, key=lambda c: (c["budget"], c["target"], c["period"], c["threshold"]))


def main() -> int:
    if len(sys.argv) < 4:
        print(__doc__, file=sys.stderr)
        return 64
    for crossing in expected(sys.argv[1], sys.argv[2], sys.argv[3:]):
        print(json.dumps(crossing))
    return 0


if __name__ == "__main__":
    sys.exit(main())
