#!/usr/bin/env bash
# How soon spend is seen, and what many live sessions cost. Usage: bench/live.sh BIN [spend|sessions]
set -euo pipefail
cd "$(dirname "$0")"
command -v python3 >/dev/null || { echo "python3 is needed (Debian: apt-get install python3)" >&2; exit 1; }
bin=$(realpath "$1")
case "${2:-all}" in
spend) python3 live.py --bin "$bin" spend ;;
sessions) python3 live.py --bin "$bin" sessions ;;
all) python3 live.py --bin "$bin" spend && python3 live.py --bin "$bin" sessions ;;
*) echo "modes are spend and sessions" >&2; exit 2 ;;
esac
