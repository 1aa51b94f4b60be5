"""Prices calls of the simulator from the price file alone, with whole numbers.

Written from the documented rules, with no code of the program under test:

    cost of a call = sum over its token classes of tokens x price, one rounding (half to even) to 10^-12 USD
    the price is that of (canonical model, routing scope, source region, tier); a card for the region goes before one for all
    a bare id is called in its region, `us.` and the like through a geographic profile, `global.` through the global one
    calls in a region and through a geographic profile stand in for one another where the file names only one of them
    a place that has a standard price and none for the tier leaves the call unpriced: no other place's price of the tier is taken
    a prompt (cached tokens included) above a long-context step is priced as a whole at the rates of that step
    a failed call costs nothing; a unit without a price leaves the whole call unpriced

Anything the simulator does not emit raises: a wrong guess would hide a fault.
"""

import dataclasses
import tomllib
from fractions import Fraction

PICO = 10**12
CLASSES = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
GEOGRAPHIES = ("us", "eu", "apac", "jp", "au")
GUARDRAIL_UNITS = ("topic", "content", "word", "sensitive", "sensitive_free", "grounding")
TIERS = ("standard", "flex", "priority")


class Unsupported(Exception):
    """The truth holds something this program has no rule for."""


@dataclasses.dataclass(frozen=True)
class Quote:
    """What a call costs. `cost` and `bound` are pico-dollars; `bound` is None where the price of the bound is not known."""

    model: str
    scope: str
    priced: bool
    cost: int
    bound: int | None


def round_half_even(value: Fraction) -> int:
    """Rounds to a whole number; Python's own rule for fractions is half to even."""
    return round(value)


def rates(table: dict[str, str], scale: int) -> dict[str, Fraction]:
    """Reads prices, text only: a TOML float has lost digits already."""
    for name, text in table.items():
        if not isinstance(text, str):
            raise Unsupported(f"price of {name} is not a text: {text!r}")
    return {name: Fraction(text) / scale for name, text in table.items()}


class Card:
    """Prices of one key, USD a unit."""

    def __init__(self, raw: dict):
        known = {"model", "scope", "region", "tier", "source", "endpoint", "long_context", "usd_per_image"}
        unknown = raw.keys() - known - {"usd_per_million_tokens", "usd_per_unit"}
        if unknown:
            raise Unsupported(f"card of {raw['model']} has {sorted(unknown)}")
        self.model = raw["model"]
        self.tokens = rates(raw.get("usd_per_million_tokens", {}), 10**6)
        self.units = rates(raw.get("usd_per_unit", {}), 1)
        steps = [(step["above_prompt_tokens"], rates(step.get("usd_per_million_tokens", {}), 10**6)) for step in raw.get("long_context", [])]
        self.steps = sorted(steps, key=lambda step: step[0])

    def token_rates(self, prompt: int) -> dict[str, Fraction]:
        """Returns the rates for a prompt of this length."""
        chosen = self.tokens
        for above, step in self.steps:
            if prompt > above:
                chosen = step
        return chosen


class PriceBook:
    """The cards of the endpoint that writes invocation logs."""

    def __init__(self, path: str):
        with open(path, "rb") as file:
            raw = tomllib.load(file)
        if raw["format"] != "sluice.prices/1" or not raw["effective_from"].startswith("1970-01-01"):
            raise Unsupported(f"{path}: format {raw['format']}, from {raw['effective_from']}")
        self.cards = {}
        for entry in raw["card"]:
            if entry.get("endpoint", "runtime") != "runtime":
                continue
            key = (entry["model"], entry.get("scope", "in_region"), entry.get("region", "*"), entry.get("tier", "standard"))
            if key in self.cards:
                raise Unsupported(f"two cards for {key}")
            self.cards[key] = Card(entry)

    def find(self, model: str, scope: str, region: str, tier: str) -> Card | None:
        """Returns the card that prices a call."""
        geography = f"geo:{geography_of(region)}"
        if scope == "in_region":
            # A geographic card knows the place better than one for all regions.
            places = [("in_region", region), (geography, region), (geography, "*"), ("in_region", "*")]
        elif scope == "global":
            places = [("global", region), ("global", "*")]
        else:
            places = [(scope, region), (scope, "*"), ("in_region", region), ("in_region", "*")]
        found = []
        for place, where in places:
            priced = [self.cards.get((model, place, where, name)) for name in (tier, "standard")]
            if any(priced):
                found.append(((place, where), priced[0]))
        if len(found) > 1 and found[0][0] == (scope, "*") and found[1][0] == ("in_region", region):
            # The rules do not say which is nearer, the scope or the region; no call of the simulator may depend on it.
            raise Unsupported(f"{model} {scope} {region} {tier}: {[key for key, _ in found]}")
        return found[0][1] if found else None

    def guardrail(self, units: dict[str, int]) -> Fraction:
        """Returns what guardrail units cost."""
        unknown = units.keys() - set(GUARDRAIL_UNITS)
        if unknown:
            raise Unsupported(f"guardrail units {sorted(unknown)}")
        card = self.cards["guardrails", "in_region", "*", "standard"]
        return sum((card.units[f"guardrail_{name}"] * count for name, count in units.items()), Fraction(0))

    def quote(self, call: dict) -> Quote:
        """Prices a line of the truth."""
        model, scope = split(call["model_id"])
        if call["error_code"]:
            if any(call[name] for name in CLASSES) or call["guardrail"]:
                raise Unsupported(f"failed call {call['request_id']} used something")
            return Quote(model, scope, True, 0, 0)
        if not scope:
            return Quote(model, scope, False, 0, 0)
        if call["service_tier"] not in TIERS:
            raise Unsupported(f"tier {call['service_tier']}")
        card = self.find(model, scope, call["region"], call["service_tier"])
        if card is None:
            return Quote(model, scope, False, 0, 0)
        written = call["cache_write_5m"] + call["cache_write_1h"]
        known = card.token_rates(call["input"] + call["cache_read"] + written)
        total = self.guardrail(call["guardrail"] or {})
        for name in CLASSES:
            if call[name] and name not in known:
                return Quote(model, scope, False, 0, 0)
            total += call[name] * known.get(name, 0)
        bound = total
        if call["basis"] == "envelope":
            if call["cache_write_1h"]:
                raise Unsupported(f"call {call['request_id']} of unknown lifetimes has hour writes")
            bound = None
            if "cache_write_1h" in known:
                bound = total + written * (known["cache_write_1h"] - known["cache_write_5m"])
        elif call["basis"] != "exact":
            raise Unsupported(f"basis {call['basis']}")
        pico = None if bound is None else round_half_even(bound * PICO)
        return Quote(model, scope, True, round_half_even(total * PICO), pico)


def geography_of(region: str) -> str:
    """Returns the geography of a region, as profiles name it."""
    for start, name in (("us-", "us"), ("eu-", "eu"), ("ap-northeast-1", "jp"), ("ap-", "apac")):
        if region.startswith(start) and not region.startswith("us-gov"):
            return name
    raise Unsupported(f"region {region}")


def split(model_id: str) -> tuple[str, str]:
    """Returns the canonical model and the scope of a `modelId`; an empty scope where it does not tell the model."""
    if model_id.startswith("arn:"):
        parts = model_id.split(":", 5)
        kind, _, name = parts[5].partition("/")
        if kind == "application-inference-profile":
            return model_id, ""
        if kind not in ("foundation-model", "inference-profile"):
            raise Unsupported(f"model {model_id}")
        model_id = name
    prefix, _, rest = model_id.partition(".")
    if prefix == "global":
        return rest, "global"
    if prefix in GEOGRAPHIES:
        return rest, f"geo:{prefix}"
    return model_id, "in_region"
