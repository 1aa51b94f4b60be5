#!/bin/sh
# The units of deploy/systemd: well formed, well fenced, and the program lives with it: units.sh BINARY
#
# Needs systemd-analyze (Debian: systemd) and, for the calls the program makes, strace. Without systemd-analyze it says so, and fails where
# SLUICE_LIVE=1 or CI=true.
set -eu

if [ $# -ne 1 ]; then
    echo "usage: units.sh BINARY" >&2
    exit 64
fi
binary=$(realpath "$1")
units=$(cd "$(dirname "$0")/../../../deploy/systemd" && pwd)

missing() {
    if [ "${SLUICE_LIVE:-}" = 1 ] || [ "${CI:-}" = true ]; then
        echo "FAILED: $1" >&2
        exit 1
    fi
    echo "not run: $1"
    exit 0
}
command -v systemd-analyze >/dev/null || missing "there is no systemd-analyze here (Debian: apt-get install systemd)"

work=$(mktemp -d)
daemon=
trap 'if [ -n "$daemon" ]; then kill "$daemon" 2>/dev/null || :; fi; rm -rf "$work"' EXIT
mkdir "$work/units" "$work/standby"
for unit in sluice.service sluice-worker@.service; do
    sed "s|/usr/bin/sluice|$binary|; /^Documentation/d" "$units/$unit" >"$work/units/$unit"
done
cp "$work/units/sluice.service" "$work/standby/sluice.service"
mkdir "$work/standby/sluice.service.d"
sed "s|/usr/bin/sluice|$binary|" "$units/sluice.service.d/standby.conf" >"$work/standby/sluice.service.d/standby.conf"

# What a unit says and systemd does not know is a warning, and a warning is a fault.
check() {
    if ! said=$(systemd-analyze verify --man=no "$@" 2>&1) || printf '%s\n' "$said" | grep -q "$work"; then
        printf '%s\n' "$said" >&2
        exit 1
    fi
}
check "$work/units/sluice.service"
check "$work/units/sluice-worker@.service"
SYSTEMD_UNIT_PATH="$work/standby:" check "$work/standby/sluice.service"
echo "ok  systemd knows every line of the units"

# 2.0 of 10 is "OK" at its best end; a unit without any fence has 9.6.
for unit in sluice.service sluice-worker@.service; do
    if ! said=$(systemd-analyze security --offline=true --threshold=20 --no-pager "$work/units/$unit" 2>&1); then
        printf '%s\n' "$said" >&2
        exit 1
    fi
    printf 'ok  %s: %s\n' "$unit" "$(printf '%s\n' "$said" | sed -n 's/.*Overall exposure level.*: \([0-9.]* [A-Z]*\).*/exposure \1/p')"
done
[ "$(systemd-sysusers --dry-run "$units/sluice.sysusers" >/dev/null 2>&1; echo $?)" = 0 ] || { echo "systemd-sysusers refuses sluice.sysusers" >&2; exit 1; }

if ! command -v strace >/dev/null; then
    missing "there is no strace here, so the filter of system calls is not compared with those of the program (Debian: apt-get install strace)"
fi
allowed="$work/allowed"
# Groups that end up in the list: what @system-service holds, less @privileged and @resources, groups within groups resolved.
expand() { systemd-analyze syscall-filter "$1" | sed -n 's/^ *\([@a-z0-9_-]*\)$/\1/p' | while read -r name; do
    [ "$name" = "$1" ] && continue
    case $name in @*) expand "$name" ;; *) echo "$name" ;; esac
done; }
expand @system-service | sort -u >"$work/service"
{ expand @privileged; expand @resources; } | sort -u >"$work/denied"
comm -23 "$work/service" "$work/denied" >"$allowed"

cat >"$work/sluice.toml" <<END
[lake]
path = "$work/lake"
[files]
paths = ["$work/logs"]
[operate]
listen = "127.0.0.1:0"
END
"$binary" simulate "$work/logs" --duration 2s --seed 1 >/dev/null 2>&1 || mkdir -p "$work/logs"
strace -f -qq -o "$work/calls" "$binary" run --config "$work/sluice.toml" >"$work/said" 2>&1 &
daemon=$!
tries=0
until "$binary" status --config "$work/sluice.toml" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 60 ] || { cat "$work/said" >&2; echo "the daemon did not become ready" >&2; exit 1; }
    sleep 1
done
# strace hands the signal on; the program's own code is strace's.
pkill -TERM -P "$daemon"
code=0
wait "$daemon" || code=$?
daemon=
case $code in 0 | 3) ;; *) cat "$work/said" >&2; echo "the daemon ended with $code" >&2; exit 1 ;; esac
sed -n 's/^[0-9]* *\([a-z0-9_]*\)(.*/\1/p' "$work/calls" | sort -u >"$work/used"
refused=$(comm -23 "$work/used" "$allowed" | tr '\n' ' ')
# Of these the program and its allocator take no for an answer.
for name in $refused; do
    case $name in mbind | sched_setaffinity | setpriority | set_mempolicy) ;; *) echo "the units forbid $name, which the program calls" >&2; exit 1 ;; esac
done
echo "ok  $(wc -l <"$work/used") kinds of system call, all of them allowed${refused:+ but $refused}"
