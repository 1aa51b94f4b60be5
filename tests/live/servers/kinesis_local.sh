#!/bin/sh
# Runs a command beside an emulator of Kinesis (npm package kinesis-local, pinned): kinesis_local.sh COMMAND...
#
# The emulator listens on every address, so both live in a network of their own, which has nothing but a loopback. The command
# finds it at $SLUICE_KINESIS_ENDPOINT; what is built must be built before. Needs node, npm, unshare (util-linux), ip (iproute2).
set -eu

version=0.6.2
if [ $# -lt 1 ]; then
    echo "usage: kinesis_local.sh COMMAND..." >&2
    exit 64
fi

need() {
    command -v "$1" >/dev/null || { echo "kinesis_local.sh: no $1 found (Debian: apt-get install $2)" >&2; exit 69; }
}

if [ -z "${SLUICE_KINESIS_INSIDE:-}" ]; then
    need node nodejs
    need npm npm
    need unshare util-linux
    need ip iproute2
    package="${SLUICE_SERVERS:-$HOME/.cache/sluice/servers}/kinesis-local-$version"
    if [ ! -f "$package/.complete" ]; then
        mkdir -p "$package"
        npm install --silent --no-audit --no-fund --prefix "$package" "kinesis-local@$version"
        touch "$package/.complete"
    fi
    # Without privileges a user namespace is needed too.
    user=--net
    unshare --net true 2>/dev/null || user="--net --map-root-user"
    # shellcheck disable=SC2086
    SLUICE_KINESIS_INSIDE="$package/node_modules/kinesis-local" exec unshare $user -- "$0" "$@"
fi

ip link set lo up
work=$(mktemp -d "${TMPDIR:-/tmp}/sluice-kinesis-XXXXXX")
home=$(pwd)
server=
finish() {
    [ -z "$server" ] || kill "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

cd "$SLUICE_KINESIS_INSIDE"
KINESIS_MOCK_PLAIN_PORT=4568 KINESIS_MOCK_TLS_PORT=4567 LOG_LEVEL=ERROR AWS_REGION=eu-central-1 AWS_ACCOUNT_ID=111122223333 \
    CREATE_STREAM_DURATION=50ms SPLIT_SHARD_DURATION=50ms MERGE_SHARDS_DURATION=50ms UPDATE_SHARD_COUNT_DURATION=50ms \
    REGISTER_STREAM_CONSUMER_DURATION=50ms DELETE_STREAM_DURATION=50ms \
    node main.js >"$work/log" 2>&1 &
server=$!
cd "$home"

# The loopback of a network made for this has no other server: whatever answers is ours.
tries=0
until node -e 'require("net").connect(4568, "127.0.0.1").on("connect", () => process.exit(0)).on("error", () => process.exit(1))'; do
    tries=$((tries + 1))
    if [ "$tries" -gt 150 ] || ! kill -0 "$server" 2>/dev/null; then
        echo "kinesis_local.sh: the emulator does not start:" >&2
        cat "$work/log" >&2
        exit 69
    fi
    sleep 0.2
done

status=0
SLUICE_KINESIS_ENDPOINT=http://127.0.0.1:4568 AWS_ACCESS_KEY_ID=111122223333 AWS_SECRET_ACCESS_KEY=test AWS_REGION=eu-central-1 "$@" || status=$?
[ "$status" -eq 0 ] || tail -n 40 "$work/log" >&2
exit "$status"
