#!/bin/sh
# Runs every fuzz target for so many seconds: fuzz/run.sh SECONDS [TARGET…]
#
# Works on a stable compiler: the instrumentation is the one cargo-fuzz sets, without a sanitizer. With FUZZ_LAKE=1 the targets that need
# DataFusion are built and run as well. Findings are kept in fuzz/artifacts/TARGET, what was learned in fuzz/corpus/TARGET.
set -eu
seconds=${1:?usage: fuzz/run.sh SECONDS [TARGET...]}
shift
cd "$(dirname "$0")"
light="decode_lines decode_document inflate piece cloudwatch prices litellm aws_offer agents budgets predicate words config"
heavy=""
features=""
if [ "${FUZZ_LAKE:-}" = 1 ]; then
    heavy="segment lake window"
    features="--features lake"
fi
host=$(rustc -vV | sed -n 's/^host: //p')
target_dir=${CARGO_TARGET_DIR:-target}
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
# shellcheck disable=SC2086 # a list of words
cargo build --release --target "$host" --target-dir "$target_dir" $features

# Samples of the project to begin with.
seed() {
    mkdir -p "corpus/$1" "artifacts/$1"
    case $1 in
        decode_*|cloudwatch) files="../ingest/tests/data/*.json* ../tests/golden/*/in/*.jsonl" ;;
        inflate) files="../tests/golden/cloudwatch/in/*.gz" ;;
        piece) files="../ingest/tests/data/*.json* ../tests/golden/cloudwatch/in/*" ;;
        prices) files="../enrich/data/amendments.toml ../tests/golden/*/prices.toml" ;;
        litellm) files="../enrich/tests/data/litellm_bedrock.json" ;;
        aws_offer) files="../enrich/tests/data/aws_offer*.json" ;;
        agents) files="../tests/golden/*/agents.toml" ;;
        budgets|config|predicate) files="../tests/golden/*/case.toml ../deploy/config.reference.toml" ;;
        *) files="" ;;
    esac
    for file in $files; do
        [ -f "$file" ] && cp "$file" "corpus/$1/$(echo "$file" | tr -c 'A-Za-z0-9.\n' '_')"
    done
    return 0
}

failed=""
for name in ${*:-$light $heavy}; do
    seed "$name"
    echo "== $name"
    if ! "$target_dir/$host/release/$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=16384 -print_final_stats=1 \
        -artifact_prefix="artifacts/$name/" "corpus/$name" >"artifacts/$name/log" 2>&1; then
        failed="$failed $name"
        tail -40 "artifacts/$name/log"
    fi
    grep -E "stat::number_of_executed_units" "artifacts/$name/log" || true
done
[ -z "$failed" ] || { echo "findings:$failed" >&2; exit 1; }
