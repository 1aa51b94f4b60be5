#!/bin/sh
# Brings Prometheus and promtool, as Debian packages them, and prints their folder: prometheus.sh
#
# Unpacked into the cache, so nothing is installed, no service begins, and no root is needed. The version is that of the distribution.
set -eu

cache=${SLUICE_SERVERS:-$HOME/.cache/sluice/servers}/prometheus
if [ ! -x "$cache/usr/bin/promtool" ]; then
    for tool in apt-get dpkg-deb; do
        command -v "$tool" >/dev/null || {
            echo "no $tool found: Debian's package prometheus is needed" >&2
            exit 1
        }
    done
    mkdir -p "$cache/download"
    cd "$cache/download"
    # The lists of packages may be missing on a fresh machine.
    apt-get download prometheus >/dev/null 2>&1 || { apt-get update >&2 && apt-get download prometheus >&2; }
    dpkg-deb -x prometheus_*.deb "$cache"
fi
echo "$cache/usr/bin"
