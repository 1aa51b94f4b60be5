#!/usr/bin/env python3
"""Compares the prices of calls with LiteLLM's own cost calculator, offline.

Two comparisons over every Amazon Bedrock entry of LiteLLM's price list:
  1. the list itself: every price in it equals the price on our card, as decimals;
  2. calls: random usages (seeded, with thresholds met exactly) priced by LiteLLM and by us agree to 1e-9.
Where they differ on purpose, a row of REASONS says why ours is right; a difference without a reason fails the test.

    litellm_prices.py [--venv DIR] [--ours "COMMAND"] [--calls N] [--seed S]

COMMAND reads calls as JSON lines and writes a line of cost for each; by default the example `price_calls`.
"""

import argparse
import collections
import json
import os
import random
import re
import shlex
import subprocess
import sys
import tomllib
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "litellm"
PROVIDERS = ("bedrock", "bedrock_converse", "bedrock_mantle")
TIERS = {"flex": "_flex", "priority": "_priority", "batch": "_batches"}
CLASSES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write_5m": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
}
# Entries that name no call an invocation log can hold, by their key.
NOT_LOGGED = {
    r"^bedrock_mantle/": "another endpoint, which writes no invocation log",
    r"^bedrock/claude_platform/": "another endpoint, which writes no invocation log",
    r"month-commitment/": "capacity by the hour: a call through it has no token price",
}
# Entries that are spellings or routes of LiteLLM and no model id of Bedrock.
NOT_BEDROCK = {
    r"@": "a model id of another cloud",
    r"^bedrock/invoke/": "a route of LiteLLM",
    r"^bedrock/(us\.anthropic\.claude-3-5-haiku-20241022-v1:0|moonshotai\.kimi-k2\.5)$": "a second entry for the same model",
    r"^(bedrock/us-gov-(east|west)-1/)?claude-sonnet-4-5-20250929-v1:0$": "an id without its vendor",
}
# Why a call is unpriced by us and priced by LiteLLM; each is checked against the entry before it counts.
REASONS = {
    "class": "the entry has no price of a token class that was used: LiteLLM takes the input price (or the 5-minute price for "
    "1-hour writes), which is a guess; an unknown price is not a price",
    "tier": "the entry has no price of the tier: LiteLLM takes the standard price, dearer than flex and cheaper than priority",
    "tier class": "the tier has no price of a token class that was used: LiteLLM mixes in the standard tier's",
    "tier step": "prompts above the threshold have another price in the standard tier and none is listed for this tier: "
    "LiteLLM takes the tier's price of short prompts",
    "speech": "speech and text tokens have different prices and the log counts them together: LiteLLM takes all for text",
    "seconds": "the prompt is paid by seconds or pieces that the log does not tell: LiteLLM takes it for free",
}


def first_match(patterns, key):
    return next((why for pattern, why in patterns.items() if re.search(pattern, key)), None)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venv", default=os.environ.get("PEERS_VENV"), help="environment to make and use; else this Python's own")
    parser.add_argument("--ours", default=os.environ.get("PRICE_CALLS", "cargo run -q -p sluice-enrich --example price_calls"))
    parser.add_argument("--calls", type=int, default=24, help="random calls for each entry")
    parser.add_argument("--seed", type=int, default=20261121)
    return parser.parse_args()


def enter_venv(directory):
    """Continues in the environment with LiteLLM."""
    python = Path(directory) / "bin" / "python"
    if Path(sys.prefix).resolve() != Path(directory).resolve():
        subprocess.run([ROOT / "tests/peers/venv.sh", directory, PACKAGE], check=True)
        os.execv(python, [str(python), *sys.argv])


def load_litellm():
    """Imports LiteLLM without letting it fetch a newer price list."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    return {key: entry for key, entry in litellm.model_cost.items() if entry.get("litellm_provider") in PROVIDERS}


# --- 1. the list ---------------------------------------------------------------------------------------------------


def decimal(number):
    """The number as written in the list: Python prints the shortest text that reads back as the same float."""
    return Decimal(repr(number)) if isinstance(number, float) else Decimal(str(number))


def our_prices():
    """All prices of the built-in file as {(endpoint, model, scope, region, tier, item): decimal}."""
    prices = {}
    for card in tomllib.loads((ROOT / "enrich/data/bedrock.toml").read_text())["card"]:
        key = tuple(card.get(name, default) for name, default in
                    (("endpoint", "runtime"), ("model", None), ("scope", "in_region"), ("region", "*"), ("tier", "standard")))
        for item, text in card.get("usd_per_million_tokens", {}).items():
            prices[*key, item] = Decimal(text) / 1_000_000
        for step in card.get("long_context", []):
            for item, text in step.get("usd_per_million_tokens", {}).items():
                prices[*key, f"{item} above {step['above_prompt_tokens']}"] = Decimal(text) / 1_000_000
        for item, text in card.get("usd_per_unit", {}).items():
            prices[*key, item] = Decimal(text)
        for image in card.get("usd_per_image", []):
            prices[*key, f"image {image.get('max_side')} {image.get('max_steps')}"] = Decimal(image["usd"])
    return prices


OTHER_FIELDS = {
    "input_cost_per_audio_token": "input_audio",
    "output_cost_per_audio_token": "output_audio",
    "input_cost_per_image_token": "input_image_token",
    "input_cost_per_image": "input_image",
    "input_cost_per_query": "query",
    "input_cost_per_video_per_second": "input_video_second",
    "input_cost_per_audio_per_second": "input_audio_second",
}
GUARDRAIL = {
    "topicPolicyUnits": "guardrail_topic",
    "contentPolicyUnits": "guardrail_content",
    "wordPolicyUnits": "guardrail_word",
    "sensitiveInformationPolicyUnits": "guardrail_sensitive",
    "sensitiveInformationPolicyFreeUnits": "guardrail_sensitive_free",
    "contextualGroundingPolicyUnits": "guardrail_grounding",
    "contentPolicyImageUnits": "guardrail_content_image",
    "automatedReasoningPolicyUnits": "guardrail_reasoning",
}
COMMITMENTS = {"1-month-commitment": "provisioned_1_month", "6-month-commitment": "provisioned_6_months"}


def place_of(key):
    """Endpoint, model, scope, region, tier and image bounds of an entry, read from its key apart from the importer."""
    parts = key.split("/")
    side, steps = None, None
    if "steps" in key:
        number = lambda part: None if part.startswith("max") else int(part.split("-")[0])
        side, steps = number(parts[0]), number(parts[1])
        parts = parts[2:]
    endpoint = "mantle" if parts[0] == "bedrock_mantle" else "runtime"
    if parts[0].startswith("bedrock") and len(parts) > 1:
        parts = parts[1:]
    tier, region = "standard", "*"
    if parts[0] == "claude_platform":
        endpoint, parts = "claude_platform", parts[1:]
    if len(parts) > 1:
        region, parts = parts[0], parts[1:]
    if len(parts) > 1:
        tier, parts = COMMITMENTS[parts[0]], parts[1:]
    prefix = re.match(r"^(us-gov|us|eu|apac|global|au|jp|ca|in)\.(?=.*\.)", parts[0])
    scope = "in_region" if not prefix else "global" if prefix[1] == "global" else f"geo:{prefix[1]}"
    model = parts[0][prefix.end():] if prefix else parts[0]
    return endpoint, model, scope, region, tier, side, steps


def expected_prices(key, entry):
    """Prices of an entry in our terms."""
    endpoint, model, scope, region, tier, side, steps = place_of(key)
    expected = {}

    def put(item, number, in_tier=tier):
        expected[endpoint, model, scope, region, in_tier, item] = decimal(number)

    fields = {field: number for field, number in entry.items() if "cost" in field and number is not None}
    for field in list(fields):
        for suffix, word in (("_batches", "batch"), ("_flex", "flex"), ("_priority", "priority"), ("_ultrafast", "ultrafast"), ("", tier)):
            step = re.match(r"^(.*?)(?:_above_(\d+)k_tokens)?" + suffix + "$", field)
            item = step and next((name for name, base in CLASSES.items() if base == step[1]), None)
            if item:
                put(item + (f" above {int(step[2]) * 1000}" if step[2] else ""), fields.pop(field), word)
                break
    for field, number in fields.items():
        if field in OTHER_FIELDS:
            put(OTHER_FIELDS[field], number)
        elif field == "output_cost_per_image":
            put(f"image {side} {steps}", number)
        elif field in ("input_cost_per_second", "cost_per_second"):
            expected[endpoint, model, scope, region, tier, "model_unit_hour"] = decimal(number) * 3600
        elif field == "search_context_cost_per_query":
            for each in number.values():
                put("web_search", each)
        elif field == "guardrail_cost_per_unit":
            for unit, each in number.items():
                put(GUARDRAIL[unit], each)
        else:
            raise SystemExit(f"{key}: '{field}' is a price this test does not know")
    return expected


def compare_lists(entries):
    ours, seen, faults = our_prices(), set(), []
    skipped = collections.Counter()
    for key, entry in entries.items():
        if why := first_match(NOT_BEDROCK, key):
            skipped[why] += 1
            continue
        for place, price in expected_prices(key, entry).items():
            seen.add(place)
            if ours.get(place) != price:
                faults.append(f"{key}: {place[-2:]} is {price}, ours {ours.get(place)}")
    faults += [f"{place}: ours alone" for place in ours.keys() - seen]
    print(f"list: {len(entries)} entries, {len(seen)} prices equal, {sum(skipped.values())} entries left out: {dict(skipped)}")
    return faults


# --- 2. calls ------------------------------------------------------------------------------------------------------


def thresholds(entry):
    return sorted({int(k) * 1000 for field in entry for k in re.findall(r"_above_(\d+)k_tokens", field)})


def random_usage(rng, entry):
    size = lambda: rng.choice((0, rng.randrange(1, 2_000), rng.randrange(1, 400_000)))
    usage = {"input": size(), "output": rng.randrange(0, 20_000)}
    for name in ("cache_read", "cache_write_5m", "cache_write_1h"):
        # Now and then a class that the entry does not price.
        if rng.random() < (0.6 if CLASSES[name] in entry else 0.05):
            usage[name] = size()
    if (steps := thresholds(entry)) and rng.random() < 0.5:
        # Meets a threshold to the token: all of the prompt counts, whichever class it is of.
        prompt = rng.choice(steps) + rng.choice((-1, 0, 1))
        rest = sum(usage.get(name, 0) for name in ("cache_read", "cache_write_5m", "cache_write_1h"))
        if rest <= prompt:
            usage["input"] = prompt - rest
    return {name: count for name, count in usage.items() if count}


def prompt_of(usage):
    return sum(count for name, count in usage.items() if name != "output")


def calls_of(key, entry, rng, count):
    _, model, _, region, _, _, _ = place_of(key)
    model_id = key if "/" not in key else model
    tiers = [tier for tier, suffix in TIERS.items() if f"input_cost_per_token{suffix}" in entry]
    for _ in range(count):
        tier = rng.choice(list(TIERS)) if rng.random() < 0.05 else rng.choice(["standard", "standard", *tiers])
        # Without a region only the entry itself can price the call.
        yield {"model_id": model_id, "region": "" if region == "*" else region, "tier": tier, "usage": random_usage(rng, entry)}


def their_cost(key, entry, call):
    from litellm.litellm_core_utils.llm_cost_calc.utils import generic_cost_per_token, get_batch_cost_rates
    from litellm.types.utils import CacheCreationTokenDetails, PromptTokensDetailsWrapper, Usage

    usage = call["usage"]
    get = lambda name: usage.get(name, 0)
    written = get("cache_write_5m") + get("cache_write_1h")
    theirs = Usage(
        prompt_tokens=prompt_of(usage),
        completion_tokens=get("output"),
        total_tokens=prompt_of(usage) + get("output"),
        prompt_tokens_details=PromptTokensDetailsWrapper(
            cached_tokens=get("cache_read"),
            cache_creation_tokens=written,
            cache_creation_token_details=CacheCreationTokenDetails(
                ephemeral_5m_input_tokens=get("cache_write_5m"), ephemeral_1h_input_tokens=get("cache_write_1h")
            ),
        ),
    )
    info = dict(entry, key=key)
    if call["tier"] == "batch":
        rates = get_batch_cost_rates(info, theirs, "bedrock")
        by_class = {"input": rates.input, "output": rates.output, "cache_read": rates.cache_read,
                    "cache_write_5m": rates.cache_creation, "cache_write_1h": rates.cache_creation_rates_by_ttl.get("1hr")}
        if any(by_class[name] is None for name in usage):
            return None
        return sum(count * by_class[name] for name, count in usage.items())
    tier = None if call["tier"] == "standard" else call["tier"]
    return sum(generic_cost_per_token(model=key, usage=theirs, custom_llm_provider="bedrock", service_tier=tier, model_info=info))


def explain(entry, call, answer):
    """Names the reason why ours is unpriced, or None when the entry has every price the call needs."""
    usage, suffix = call["usage"], TIERS.get(call["tier"], "")
    has = lambda base, suffix: entry.get(base + suffix) is not None
    if answer["reason"] == "units_not_logged":
        apart = {"input": "input_cost_per_audio_token", "output": "output_cost_per_audio_token"}
        if any(field in entry and entry[field] != entry.get(CLASSES[name]) for name, field in apart.items()):
            return "speech"
        if any(field in entry for field in ("input_cost_per_video_per_second", "input_cost_per_query", "input_cost_per_image")):
            return "seconds"
    if answer["reason"] == "no_card" and suffix and not any(has(base, suffix) for base in CLASSES.values()):
        return "tier"
    if answer["reason"] == "no_rate":
        crossed = [step for step in thresholds(entry) if prompt_of(usage) > step]
        step = f"_above_{crossed[-1] // 1000}k_tokens" if crossed else ""
        missing = [name for name in usage if not has(CLASSES[name], step + suffix)]
        if missing and not suffix:
            return "class"
        if missing and step and not any(has(base, step + suffix) for base in CLASSES.values()):
            return "tier step"
        if missing:
            return "tier class"
    return None


def compare_calls(entries, options):
    rng = random.Random(options.seed)
    skipped, calls = collections.Counter(), []
    for key, entry in sorted(entries.items()):
        if entry["mode"] not in ("chat", "embedding", "responses"):
            skipped[f"mode {entry['mode']}"] += 1
        elif why := first_match(NOT_LOGGED, key) or first_match(NOT_BEDROCK, key):
            skipped[why] += 1
        else:
            calls += [(key, entry, call) for call in calls_of(key, entry, rng, options.calls)]
    lines = "".join(json.dumps(call) + "\n" for _, _, call in calls)
    run = subprocess.run(shlex.split(options.ours), input=lines, text=True, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    answers = [json.loads(line) for line in run.stdout.splitlines()]
    if len(answers) != len(calls):
        raise SystemExit(f"{len(calls)} calls in, {len(answers)} costs out")
    faults, reasons, equal, keys = [], collections.Counter(), 0, set()
    for (key, entry, call), answer in zip(calls, answers):
        theirs = their_cost(key, entry, call)
        if answer["status"] == "priced":
            ours = float(answer["cost"])
            # The list is in floats: 1e-9 of the cost, and one pico-dollar for calls that cost next to nothing.
            if theirs is None or abs(ours - theirs) > max(1e-9 * abs(theirs), 1e-12):
                faults.append(f"{key} {call}: LiteLLM {theirs}, ours {ours}")
            equal += 1
            keys.add(key)
        elif theirs is None and answer["reason"] in ("no_rate", "no_card"):
            reasons["neither has a price"] += 1
        elif why := explain(entry, call, answer):
            reasons[why] += 1
        else:
            faults.append(f"{key} {call}: LiteLLM {theirs}, ours {answer}")
    all_keys = {key for key, _, _ in calls}
    faults += [f"{key}: no call of it was compared" for key in all_keys - keys if "input_cost_per_token" in entries[key]]
    print(f"calls: {len(calls)} of {len(all_keys)} entries, {equal} compared in {len(keys)} entries; left out: {dict(skipped)}")
    for why, count in reasons.most_common():
        print(f"  {count} unpriced by us: {REASONS.get(why, why)}")
    return faults


def main():
    options = parse_arguments()
    if options.venv:
        enter_venv(options.venv)
    entries = load_litellm()
    faults = compare_lists(entries) + compare_calls(entries, options)
    for fault in faults[:40]:
        print(f"DIFFERENT {fault}", file=sys.stderr)
    print(f"litellm prices: {len(faults)} unexplained differences")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
