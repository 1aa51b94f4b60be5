#!/bin/sh
# Others read what sluice writes and price what it prices: run.sh SLUICE VENV
#
# delta-rs and DuckDB read a lake and agree on every sum, LiteLLM's calculator agrees on prices, a second program works out the same
# breaches of budgets, the parsers of OpenMetrics and OTLP read the metrics, old logs delivered again change
# nothing, and input that should never come does no harm. Installs what it needs, pinned, into VENV.
set -eu

if [ $# -ne 2 ]; then
    echo "usage: run.sh SLUICE VENV" >&2
    exit 64
fi
sluice=$(realpath "$1")
venv=$2
cd "$(dirname "$0")/../.."
work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-peers-XXXXXX")
trap 'rm -rf "$work"' EXIT

tests/peers/venv.sh "$venv" duckdb deltalake pyarrow litellm
python="$venv/bin/python"

echo "== other readers of the lake"
"$sluice" simulate "$work/logs" --calls 6000 --shape meta --files 6 --shuffle --gzip --truth "$work/truth.jsonl" >/dev/null
"$sluice" replay "$work/logs" --lake "$work/lake" >/dev/null
"$python" tests/peers/read_lake.py "$work/lake"
"$python" tests/kill/oracle.py "$work/lake" "$work/truth.jsonl"

echo "== metrics"
tests/peers/venv.sh "$venv" prometheus-client opentelemetry-proto
"$python" tests/peers/read_metrics.py --bin "$sluice"

echo "== messages"
tests/peers/venv.sh "$venv" jsonschema
${MESSAGES:-cargo run --quiet -p sluice-enforce --example messages} | "$python" tests/peers/read_messages.py

echo "== prices"
"$python" tests/peers/litellm_prices.py

echo "== budgets"
"$python" tests/peers/budgets_compare.py --bin "$sluice"

echo "== logs delivered again"
"$python" tests/kill/backfill.py --bin "$sluice"

echo "== bad input"
"$python" tests/kill/bad_input.py --bin "$sluice"
