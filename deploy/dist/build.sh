#!/bin/sh
# Builds the program as it is released: build.sh OUT
#
# Profile ship, every client, no symbols, and a glibc no newer than 2.34 (glibc_floor.c). The commit that --version tells is
# SLUICE_COMMIT, or that of the tree if it is a clone without changes. Needs cargo, a C compiler, make, perl, pkg-config and OpenSSL
# with its headers (Debian: build-essential perl pkg-config libssl-dev zlib1g-dev). Builds into CARGO_TARGET_DIR or target.
set -eu

if [ $# -ne 1 ]; then
    echo "usage: build.sh OUT" >&2
    exit 64
fi
here=$(cd "$(dirname "$0")" && pwd)
out=$1
mkdir -p "$(dirname "$out")"
out=$(cd "$(dirname "$out")" && pwd)/$(basename "$out")
cd "$here/../.."
target=${CARGO_TARGET_DIR:-target}

if [ -z "${SLUICE_COMMIT:-}" ] && commit=$(git rev-parse --short=12 HEAD 2>/dev/null); then
    [ -z "$(git status --porcelain)" ] || commit="$commit+changes"
    SLUICE_COMMIT=$commit
fi
export SLUICE_COMMIT="${SLUICE_COMMIT:-}"
export CARGO_INCREMENTAL=0

mkdir -p "$target/dist"
floor=$(cd "$target/dist" && pwd)/glibc_floor.o
"${CC:-cc}" -O2 -fPIC -c "$here/glibc_floor.c" -o "$floor"
# For every crate. Paths in messages of panics start at the registry's folder: they tell nothing of the machine, and are the same bytes on any.
CARGO_ENCODED_RUSTFLAGS=$(printf -- '--remap-path-prefix=%s/registry/src=registry' "${CARGO_HOME:-$HOME/.cargo}")
export CARGO_ENCODED_RUSTFLAGS
# Arguments of the last link alone. Where rustc links with lld, functions that came out the same are kept once.
set -- -C "link-arg=$floor"
case $(rustc -vV | sed -n 's/^host: //p') in
x86_64-unknown-linux-gnu) set -- "$@" -C link-arg=-Wl,--icf=all ;;
esac
"${CARGO:-cargo}" rustc --locked --profile ship --features aws,kafka --bin sluice --timings -- "$@"
cp "$target/ship/sluice" "$out"
strip "$out"
