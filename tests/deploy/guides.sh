#!/bin/sh
# Dashboards, alert rules, consumers of messages and guides: guides.sh SLUICE VENV
#
# SLUICE is a build with the features aws and kafka; VENV a folder for a Python environment. About a minute. What needs Prometheus is not run,
# and says so, where that cannot be had; with CI=true or SLUICE_LIVE=1 that is a failure.
set -eu

if [ $# -ne 2 ]; then
    echo "usage: guides.sh SLUICE VENV" >&2
    exit 64
fi
sluice=$1 python=$2/bin/python
here=$(dirname "$0")

"$here/../peers/venv.sh" "$2" boto3 grafana-foundation-sdk jsonschema
if prometheus=$("$here/../live/servers/prometheus.sh"); then
    "$python" "$here/dashboards/check.py" --promtool "$prometheus"
    "$python" "$here/dashboards/live.py" --bin "$sluice" --prometheus "$prometheus"
elif [ "${CI:-}" = true ] || [ "${SLUICE_LIVE:-}" = 1 ]; then
    exit 1
else
    echo "not run: dashboards and alert rules, for there is no Prometheus"
fi
"$python" "$here/consumers/check.py" --bin "$sluice"
"$python" "$here/consumers/forms.py" --bin "$sluice"
"$python" "$here/docs/check.py" --bin "$sluice"
"$python" "$here/docs/quick_start.py" --bin "$sluice"
"$python" "$here/docs/queries.py" --bin "$sluice"
