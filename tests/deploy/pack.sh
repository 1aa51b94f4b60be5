#!/bin/sh
# What a release, the image, the units of systemd and the Terraform module promise: pack.sh BINARY [--quick]
#
# BINARY is any program with the clients; it is stripped into a copy. Installs what it needs, pinned, into SLUICE_SERVERS or
# ~/.cache/sluice/servers. Terraform and its AWS provider it does not install: without them it says so (an error where SLUICE_LIVE=1 or
# CI=true). The parts run side by side. With --quick the Terraform module is not applied.
set -eu

if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    echo "usage: pack.sh BINARY [--quick]" >&2
    exit 64
fi
[ -x "$1" ] || { echo "$1 is no program: build one with --features aws,kafka" >&2; exit 1; }
binary=$(realpath "$1")
quick=${2:-}
cd "$(dirname "$0")/../.."
cache=${SLUICE_SERVERS:-$HOME/.cache/sluice/servers}
mkdir -p "$cache"
(
    if command -v flock >/dev/null; then flock 9; fi
    tests/peers/venv.sh "$cache/pack" hadolint shellcheck cyclonedx
    tests/peers/venv.sh "$cache/checkov" checkov
    tests/peers/venv.sh "$cache/moto" moto
) 9>"$cache/pack.lock"

work=$(mktemp -d)
running=
trap 'if [ -n "$running" ]; then kill "$running" 2>/dev/null || :; fi; rm -rf "$work"' EXIT
strip -o "$work/sluice" "$binary"

"$cache/pack/bin/shellcheck" deploy/dist/*.sh deploy/container/*.sh tests/deploy/pack.sh tests/deploy/systemd/*.sh
echo "ok  shellcheck finds nothing"

# shellcheck disable=SC2086
"$cache/moto/bin/python" tests/deploy/terraform/terraform.py --checkov "$cache/checkov/bin/checkov" $quick >"$work/terraform" 2>&1 &
running=$!
failed=
part() {
    name=$1
    shift
    echo "-- $name"
    if ! "$@"; then failed="$failed $name"; fi
}
part systemd tests/deploy/systemd/units.sh "$work/sluice"
part container python3 tests/deploy/container/image.py --bin "$work/sluice" --hadolint "$cache/pack/bin/hadolint"
part dist python3 tests/deploy/dist/dist.py --bin "$work/sluice" --cyclonedx "$cache/pack/bin/python"
wait "$running" || failed="$failed terraform"
running=
echo "-- terraform"
cat "$work/terraform"
[ -z "$failed" ] || { echo "FAILED:$failed" >&2; exit 1; }
