#!/bin/sh
# Brings Prometheus and promtool, as Debian packages them, and prints their folder: prometheus.sh
#
# Unpacked into the cache, so nothing is installed, no service begins, and no root is needed. The version is that of the distribution.
set -eu

cache=${SLUICE_SERVERS:-$HOME/.cache/sluice/servers}/prometheus
if [ ! -x "$cache/usr/bin/promtool" ]; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || { echo "no apt-get and dpkg-deb found: Debian's package prometheus is needed" >&2; exit 1; }
    mkdir -p "$cache/download"
    cd "$cache/download"
    # The lists of packages may be missing on a fresh machine.
    apt-get download prometheus >&2 2>/dev/null || { apt-get update >&2 && apt-get download prometheus >&2; }
    dpkg-deb -x prometheus_*.deb "$cache"
fi
echo "$cache/usr/bin"
