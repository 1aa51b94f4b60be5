#!/usr/bin/env python3
"""Makes logs and budgets from seeds, replays them with sluice, and compares the breaches with those of budgets_reference.py.

    budgets_compare.py --bin SLUICE [--seeds N] [--first SEED]

Each seed is run twice: in event-time order, where every crossing must agree down to the spend at it; and cut into files, shuffled and with
calls delivered twice, where budgets whose sums only grow must fire the same thresholds.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import tomllib
import uuid
from datetime import datetime, timedelta, timezone

sys.path.insert(0, os.path.dirname(__file__))
import budgets_reference as reference  # noqa: E402

PRICES = """format = "sluice.prices/1"
label = "budgets"
effective_from = "1970-01-01T00:00:00Z"
source = "made up"
[[card]]
model = "acme.large-v1:0"
usd_per_million_tokens = { input = "3", output = "15", cache_read = "0.3", cache_write_5m = "3.75", cache_write_1h = "6" }
[[card]]
model = "acme.small-v1:0"
usd_per_million_tokens = { input = "0.8", output = "4.000001", cache_read = "0.08", cache_write_5m = "1", cache_write_1h = "1.6" }
"""
# Ends of periods and changes of clocks: Berlin and New York in both directions, half an hour on Lord Howe, a year that ends in week 1 of the next.
STARTS = ["2025-10-24", "2025-10-30", "2025-12-28", "2026-02-26", "2026-03-06", "2026-03-27", "2026-04-03", "2026-09-26"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Apia"]
AGENTS = ["checkout", "triage", "odd=name,%*", "vip", None]
MODELS = ["acme.large-v1:0", "acme.small-v1:0", "unknown.model-v1:0"]
WHERES = [
    None,
    "agent_id <> 'triage'",
    "agent_id IN ('checkout', 'vip') AND region = 'us-east-1'",
    "session_id LIKE 's-1%'",
    "inference_region IS NULL",
    "inference_region <> 'us-west-2'",
    "operation = 'Converse' AND agent_id NOT IN ('vip')",
]


def make_calls(draw: random.Random, start: str, hours: int) -> list[dict]:
    """Makes records in event-time order. Calls that share everything but time and tokens are in different minutes."""
    at = datetime.fromisoformat(start).replace(tzinfo=timezone.utc)
    end = at + timedelta(hours=hours)
    records, taken = [], set()
    while at < end:
        at += timedelta(seconds=draw.choice([1, 7, 31, 60, 150, 400, 900, 2400]))
        agent = draw.choice(AGENTS)
        metadata = {"session_id": f"s-{draw.randrange(20)}"} if draw.random() < 0.9 else {}
        if agent is not None:
            metadata["agent_id"] = agent
        region, operation, model = draw.choice(["us-east-1", "eu-central-1"]), draw.choice(["Converse", "InvokeModel"]), draw.choice(MODELS)
        arn = draw.choice(["arn:aws:sts::111122223333:assumed-role/Agents/main", "arn:aws:iam::111122223333:user/ci"])
        ran_in = draw.choice([{}, {}, {"inferenceRegion": "us-west-2"}, {"inferenceRegion": "eu-west-1"}])
        kind = (at.replace(second=0), tuple(sorted(metadata.items())), region, operation, model, arn, tuple(ran_in.items()))
        if kind in taken:
            continue
        taken.add(kind)
        tokens = {"inputTokenCount": draw.randrange(20_000)}
        if draw.random() < 0.3:
            tokens["cacheReadInputTokenCount"] = draw.randrange(50_000)
        if draw.random() < 0.3:
            tokens["cacheWriteInputTokenCount"] = draw.randrange(9_000)
        records.append({
            "schemaType": "ModelInvocationLog",
            "schemaVersion": "1.0",
            "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "accountId": "111122223333",
            "identity": {"arn": arn},
            "region": region,
            **ran_in,
            "requestId": str(uuid.UUID(int=draw.getrandbits(128), version=4)),
            "operation": operation,
            "modelId": model,
            "requestMetadata": metadata,
            "input": {"inputContentType": "application/json", **tokens},
            "output": {"outputContentType": "application/json", "outputTokenCount": draw.randrange(4_000)},
        })
    return records


def make_budgets(draw: random.Random) -> str:
    """Makes one budget of every window, with what else a budget can say drawn."""
    windows = ["day", "week", "month", "session", "lifetime", "rolling 15m", "rolling 1h", "rolling 6h", "rolling 1d", "day", "month"]
    text = ""
    for number, window in enumerate(windows):
        each = draw.choice([["agent_id"], ["agent_id"], ["region", "agent_id"], []])
        if window == "session":
            each = draw.choice([["session_id"], ["agent_id", "session_id"]])
        large = {"week": 8, "month": 9, "lifetime": 10, "rolling 15m": 0.3, "rolling 1h": 0.5, "session": 0.7}.get(window, 2)
        limit = round(large * (0.3 + draw.random()) * (1 if each else 5), 6)
        text += f'[[budget]]\nname = "b{number}"\nwindow = "{window}"\nlimit = "{limit:.6f} USD"\neach = {json.dumps(each)}\n'
        if window in ("day", "week", "month"):
            text += f'timezone = "{draw.choice(ZONES)}"\n'
        if (where := draw.choice(WHERES)) is not None:
            text += f'where = "{where}"\n'
        if draw.random() < 0.4:
            text += 'count = "cost_max"\n'
        if draw.random() < 0.5:
            text += f'unpriced_worst_case = "{draw.choice(["75 USD per 1M tokens", "0.02 USD per 1K tokens", "0.05 USD per call"])}"\n'
        if each == ["agent_id"] and draw.random() < 0.6:
            text += f'limits = {{ vip = "{limit * 3:.6f} USD", triage = "{limit / 2:.6f} USD" }}\n'
        for at in draw.sample(["33.333%", "50%", "80%", "100%", "150%", "0.25 USD"], 3):
            text += f'[[budget.threshold]]\nat = "{at}"\ndo = ["notify"]\n'
    return text


def replayed(sluice: str, folder: str, logs: list[str]) -> list[dict]:
    """Replays logs and returns the breaches."""
    config = os.path.join(folder, "sluice.toml")
    subprocess.run([sluice, "replay", *logs, "--config", config], check=True, capture_output=True)
    sql = "SELECT budget, target, period, threshold, limit_usd, spent_usd FROM breaches ORDER BY budget, target, period, threshold"
    asked = subprocess.run([sluice, "query", sql, "--config", config, "--format", "json"], check=True, capture_output=True, text=True)
    return [
        {"budget": row["budget"], "target": row["target"], "period": row["period"], "threshold": row["threshold"],
         "limit": reference.pico(row["limit_usd"]), "spent": reference.pico(row["spent_usd"])}
        for row in json.loads(asked.stdout)
    ]


def compare(what: str, expected: list[dict], found: list[dict]) -> bool:
    """Tells whether both are the same crossings; says what differs."""
    key = lambda crossing: json.dumps(crossing, sort_keys=True)  # noqa: E731
    wanted, got = sorted(map(key, expected)), sorted(map(key, found))
    if wanted == got:
        return True
    print(f"{what}: {len(wanted)} crossings expected, {len(got)} found", file=sys.stderr)
    for line in sorted(set(wanted) - set(got))[:10]:
        print(f"  not found: {line}", file=sys.stderr)
    for line in sorted(set(got) - set(wanted))[:10]:
        print(f"  not expected: {line}", file=sys.stderr)
    return False


def write(path: str, records: list[dict]) -> str:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)
    return path


def run(sluice: str, seed: int, shuffled: bool) -> tuple[bool, int]:
    """Runs one seed; returns whether all agreed and how many crossings there were."""
    draw = random.Random(f"{seed}-{shuffled}")
    # What comes shuffled spans so little that no period may be forgotten in between.
    hours = 40 if shuffled else 120
    records = make_calls(draw, draw.choice(STARTS), hours)
    with tempfile.TemporaryDirectory(prefix="sluice-budgets-") as folder:
        budgets = make_budgets(draw)
        paths = {name: os.path.join(folder, name) for name in ("budgets.toml", "prices.toml", "sluice.toml")}
        for name, text in (("budgets.toml", budgets), ("prices.toml", PRICES),
                           ("sluice.toml", f'[lake]\npath = "lake"\n[enrich]\nprices_file = "prices.toml"\n{budgets}')):
            with open(paths[name], "w", encoding="utf-8") as file:
                file.write(text)
        if not shuffled:
            logs = [write(os.path.join(folder, "calls.jsonl"), records)]
        else:
            again = records + draw.sample(records, len(records) // 5)
            draw.shuffle(again)
            logs = [write(os.path.join(folder, f"{part}.jsonl"), again[part::5]) for part in range(5)]
        expected = reference.expected(paths["budgets.toml"], paths["prices.toml"], logs)
        found = replayed(sluice, folder, logs)
        if shuffled:
            growing = {budget["name"] for budget in tomllib.loads(budgets)["budget"] if not budget["window"].startswith("rolling")}
            expected, found = (
                [{k: v for k, v in crossing.items() if k != "spent"} for crossing in side if crossing["budget"] in growing]
                for side in (expected, found)
            )
        return compare(f"seed {seed}{', shuffled' if shuffled else ''}", expected, found), len(expected)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first", type=int, default=1)
    args = parser.parse_args()
    agreed, crossings = True, 0
    for seed in range(args.first, args.first + args.seeds):
        for shuffled in (False, True):
            same, count = run(args.bin, seed, shuffled)
            agreed, crossings = agreed and same, crossings + count
    print(f"{args.seeds} seeds, {crossings} crossings {'agree' if agreed else 'DO NOT AGREE'}")
    return 0 if agreed and crossings > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
