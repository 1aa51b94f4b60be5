#!/bin/sh
# Spark reads a lake that sluice wrote, and a long kill loop: run.sh SLUICE VENV
#
# Needs Java 17, Maven and the registries of PyPI and Maven. What cannot be had is named; with CI=true that is a failure.
set -eu

if [ $# -ne 2 ]; then
    echo "usage: run.sh SLUICE VENV" >&2
    exit 64
fi
sluice=$1
venv=$2
here=$(dirname "$0")
work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-live-XXXXXX")
trap 'rm -rf "$work"' EXIT

missing() {
    echo "left out: $1" >&2
    [ "${CI:-}" != true ] || exit 1
}

spark() {
    command -v java >/dev/null || { missing "Spark: no java found (Debian: apt-get install openjdk-17-jre-headless)"; return 0; }
    command -v mvn >/dev/null || { missing "Spark: no mvn found (Debian: apt-get install maven)"; return 0; }
    "$here/../peers/venv.sh" "$venv" pyspark deltalake duckdb pyarrow || { missing "Spark: pyspark cannot be installed"; return 0; }
    jars="$venv/delta-jars"
    if [ ! -f "$jars/.complete" ]; then
        mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$(realpath "$venv")/delta-jars" ||
            { missing "Spark: Delta's jars cannot be had"; return 0; }
        touch "$jars/.complete"
    fi
    # What Spark ships itself stays out of its way.
    "$sluice" simulate "$work/logs" --calls 20000 --shape meta --files 12 --shuffle --gzip >/dev/null
    "$sluice" replay "$work/logs" --lake "$work/lake" >/dev/null
    "$venv/bin/python" "$here/../peers/read_lake.py" "$work/lake" >"$work/expected"
    echo "delta-rs and DuckDB agree:"
    cat "$work/expected"
    echo "Spark:"
    SPARK_LOCAL_IP=127.0.0.1 "$venv/bin/python" "$here/read_spark.py" "$work/lake" "$work/expected" "$jars"/delta-*.jar "$jars"/unitycatalog-*.jar 2>"$work/spark.log" ||
        { grep -v WARN "$work/spark.log" >&2; return 1; }
}

spark
"$here/../peers/venv.sh" "$venv" duckdb deltalake pyarrow
"$venv/bin/python" "$here/../kill/kill.py" --bin "$sluice" --kills 150
