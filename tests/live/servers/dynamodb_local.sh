#!/bin/sh
# Starts DynamoDB Local, in memory, on loopback: dynamodb_local.sh [PORT [PIDFILE]]
#
# Installs it, pinned, at the first start. Prints its URL once it listens; how it ends stands in DynamoDbLocal.java. It is one
# process: $! of the shell that starts it is its pid.
set -eu

here=$(dirname "$0")
cache=${SLUICE_SERVERS:-$HOME/.cache/sluice/servers}
jars="$cache/dynamodb_local-2.6.1"
command -v javac >/dev/null || { echo "DynamoDB Local: no JDK found (Debian: apt-get install openjdk-17-jdk-headless)" >&2; exit 1; }
mkdir -p "$jars"
# Two tests that start it at the same time install it once.
(
    if command -v flock >/dev/null; then flock 9; fi
    if [ ! -f "$jars/.complete" ]; then
        command -v mvn >/dev/null || { echo "DynamoDB Local: no mvn found (Debian: apt-get install maven)" >&2; exit 1; }
        mvn -q -B -f "$here/dynamodb_local.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$jars" >&2
        touch "$jars/.complete"
    fi
) 9>"$cache/dynamodb_local.lock"
exec java -Xmx512m -Djava.library.path="$jars" -cp "$jars/*" "$here/DynamoDbLocal.java" "$@" 2>"$jars/log"
