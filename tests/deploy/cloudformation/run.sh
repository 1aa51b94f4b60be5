#!/bin/sh
# Checks the templates of CloudFormation: run.sh VENV
#
# Lints (cfn-lint, checkov), that the committed templates are what build.py makes, every policy, every combination of choices, the handlers of custom
# resources, the cost tables. Installs what it needs, pinned, into VENV and VENV-checkov, whose requirements contradict each other.
set -eu

if [ $# -ne 1 ]; then
    echo "usage: run.sh VENV" >&2
    exit 64
fi
venv=$1
here=$(dirname "$0")
root=$(cd "$here/../../.." && pwd)
templates=$root/deploy/cloudformation

"$root/tests/peers/venv.sh" "$venv" boto3 pyyaml cfn-lint policy-sentry parliament
"$root/tests/peers/venv.sh" "$venv-checkov" checkov

"$venv/bin/cfn-lint" -t "$templates/sluice.yaml" "$templates/member.yaml"
# Without the network it checks the same; what it would ask for are links to its guidelines. Each skip stands with its reason in the template.
BC_SKIP_MAPPING=TRUE LOG_LEVEL=CRITICAL "$venv-checkov/bin/checkov" -f "$templates/sluice.yaml" "$templates/member.yaml" --framework cloudformation \
    --compact --quiet --skip-download
cd "$here"
PATH="$venv/bin:$PATH" "$venv/bin/python" -W ignore -m unittest discover -p 'test_*.py'
