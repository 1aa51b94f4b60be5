#!/usr/bin/env bash
# Builds the three log sets and compares whole commands. Usage: bench/run.sh BIN VENV [RUNS]
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$(realpath "$1") venv=$2 runs=${3:-5}
tests/peers/venv.sh "$venv" duckdb chdb deflate
data=$(dirname "$bin")/bench-data
mkdir -p "$data"
build() { # name calls shape
    [ -e "$data/$1.done" ] && return
    rm -rf "$data/$1"
    "$bin" simulate "$data/$1" --calls "$2" --shape "$3" --files 24 --gzip --duplicates-permille 10 --bad-per-100k 100 --seed 11 >/dev/null
    touch "$data/$1.done"
}
build meta 400000 meta
build agent 100000 agent
build long 12000 long
"$venv/bin/python" bench/compare.py --bin "$bin" --data "$data" --runs "$runs"
echo
echo "Callers told apart by CloudTrail"
"$venv/bin/python" bench/callers.py --bin "$bin" --data "$data"
