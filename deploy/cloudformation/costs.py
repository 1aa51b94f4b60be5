"""What the stack costs a month: reckons the tables of docs/running-cost.md from costs.json.

    costs.py            # writes the tables between the marks of the document
    costs.py --check    # fails if the document has others, or a floor is above its most

Prices and quantities are exact decimals; each row is rounded up to a cent, and a sum is that of its rows.
"""

import argparse
import ast
import json
import pathlib
import re
import sys
from decimal import ROUND_CEILING, Decimal

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENT = HERE.parent.parent / "docs/running-cost.md"
BEGIN, END = "<!-- tables: made by deploy/cloudformation/costs.py -->", "<!-- end of tables -->"
CENT = Decimal("0.01")


def reckon(text, names):
    """Works out a sum of numbers and names: + - * / and parentheses."""

    def value(node):
        match node:
            case ast.BinOp(left, op, right):
                one, other = value(left), value(right)
                return {ast.Add: lambda: one + other, ast.Sub: lambda: one - other, ast.Mult: lambda: one * other, ast.Div: lambda: one / other}[type(op)]()
            case ast.Constant():
                return Decimal(ast.get_source_segment(text, node))
            case ast.Name(name):
                return names[name]
        raise ValueError(f"{text}: only sums are reckoned")

    return value(ast.parse(text, mode="eval").body)


def names(costs):
    return {"hours": Decimal(costs["hours"]), **{name: Decimal(price) for name, price in costs["prices"].items()},
            **{name: Decimal(str(one["value"])) for name, one in costs["measured"].items()}}


def rows(table, known):
    """Yields (item, quantity, unit price, cost) of a table."""
    for row in table["rows"]:
        quantity = reckon(row["quantity"], known)
        parts = row["price"] if isinstance(row["price"], list) else [row["price"]]
        unit = sum(reckon(part, known) for part in parts)
        yield row["item"], quantity, unit, (quantity * unit).quantize(CENT, ROUND_CEILING)


def plain(number):
    """A decimal without an exponent and without zeros at its end, with commas between thousands."""
    text = f"{number:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    whole, _, part = text.partition(".")
    return f"{int(whole):,}" + (f".{part}" if part else "")


def tables(costs):
    known, out = names(costs), []
    for table in costs["tables"]:
        out += [f"### {table['title']}", "", "| item | quantity | unit price, USD | USD |", "|---|---:|---:|---:|"]
        total = Decimal(0)
        for item, quantity, unit, cost in rows(table, known):
            total += cost
            out.append(f"| {item} | {plain(quantity.quantize(CENT)) if quantity != int(quantity) else plain(quantity)} | {plain(unit)} | {cost} |")
        if table.get("sum", True):
            out.append(f"| **sum** | | | **{total}** |")
        assert total <= Decimal(table.get("most", "Infinity")), f"{table['title']}: {total} is more than {table['most']}"
        out.append("")
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    made = tables(json.loads((HERE / "costs.json").read_text()))
    text = DOCUMENT.read_text()
    new = re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: f"{BEGIN}\n\n{made}\n{END}", text, flags=re.S)
    if args.check:
        if new != text:
            print(f"{DOCUMENT.name} does not have the tables that costs.json comes to: run costs.py", file=sys.stderr)
        return 0 if new == text else 1
    DOCUMENT.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
