#!/bin/sh
# Starts moto, one request at a time, on loopback: moto.sh [PORT [PIDFILE]]
#
# Installs it, pinned, at the first start. Prints its URL once it listens; how it ends stands in moto.py. It is one process:
# $! of the shell that starts it is its pid.
set -eu

here=$(dirname "$0")
cache=${SLUICE_SERVERS:-$HOME/.cache/sluice/servers}
mkdir -p "$cache"
# Two tests that start it at the same time install it once.
(
    if command -v flock >/dev/null; then flock 9; fi
    "$here/../../peers/venv.sh" "$cache/moto" moto >&2
) 9>"$cache/moto.lock"
# -I: the folder of the script, where its own name hides the package, is not searched.
exec "$cache/moto/bin/python" -I "$here/moto.py" "$@"
