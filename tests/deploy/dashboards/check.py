"""Dashboards and alert rules without a running program: layout, names, forms.

    check.py --promtool FOLDER

Needs boto3, grafana-foundation-sdk and moto.sh. Grafana itself is not run: its published model reads the dashboard and gives it back.
"""

import argparse
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import boto3
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

import names

ROOT = names.ROOT
SERVERS = ROOT / "tests/live/servers"
GRAFANA = json.loads((ROOT / "deploy/dashboards/grafana.json").read_text(encoding="utf-8"))
CLOUDWATCH = (ROOT / "deploy/dashboards/cloudwatch.json").read_text(encoding="utf-8")
TESTS = ROOT / "tests/deploy/dashboards/alerts_test.yml"
RULES = ROOT / "deploy/prometheus/alerts.yml"


def check(holds, what: str) -> None:
    if not holds:
        raise SystemExit(what)


def no_overlap(places: list[tuple[str, int, int, int, int]]) -> None:
    taken = {}
    for title, x, y, width, height in places:
        check(0 <= x and 0 < width and x + width <= 24 and 0 < height <= 1000 and y >= 0, f"{title} stands outside the grid")
        for cell in ((column, line) for column in range(x, x + width) for line in range(y, y + height)):
            check(cell not in taken, f"{title} covers {taken.get(cell)} at {cell}")
            taken[cell] = title


def queries() -> list[tuple[str, str]]:
    return [(panel["title"], target["expr"]) for panel in GRAFANA["panels"] for target in panel.get("targets", [])]


def rules() -> list[tuple[str, str, str]]:
    """Alert, expression and page of each rule; the file is plain enough to be read line by line."""
    text = RULES.read_text(encoding="utf-8")
    found = re.findall(r"- alert: (\S+)\n(?:\s+#.*\n)?\s+expr: (.+)\n(?:.*\n)*?\s+runbook_url: (\S+)", text)
    check(len(found) == text.count("- alert:"), "not every rule was read")
    return found


def metrics_exist(where: str, expression: str) -> None:
    known = names.prometheus()
    # Inside quotes stand values, and behind "by" labels.
    bare = re.sub(r'"[^"]*"', '""', expression)
    for name in re.findall(r"\b(?:sluice|process)_\w+", bare):
        check(name in known, f"{where}: no metric {name}")
        if name not in known:
            return
    allowed = {"instance", "job"}.union(*(known[name][1] for name in re.findall(r"\b(?:sluice|process)_\w+", bare) if name in known))
    for group in re.findall(r"\bby \(([^)]*)\)", bare):
        for label in group.split(","):
            check(label.strip() in allowed, f"{where}: no label {label.strip()}")
    for label in re.findall(r"[{,]\s*(\w+)\s*[=!]", bare):
        check(label in allowed, f"{where}: no label {label}")


def paths(value, at="") -> dict:
    if isinstance(value, dict):
        return {key: leaf for name, inner in value.items() for key, leaf in paths(inner, f"{at}.{name}").items()}
    if isinstance(value, list):
        return {key: leaf for number, inner in enumerate(value) for key, leaf in paths(inner, f"{at}[{number}]").items()}
    return {at: value}


def grafana() -> None:
    register_default_plugins()
    read = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(GRAFANA)))
    ours, theirs = paths(GRAFANA), paths(read)
    # A step without a value is the lowest: null there and absent here are the same.
    lost = {key: value for key, value in ours.items() if value not in (None, "", []) and theirs.get(key, "lost") != value}
    check(not lost, f"Grafana's model does not know: {dict(list(lost.items())[:5])}")
    no_overlap([(panel["title"], *(panel["gridPos"][key] for key in "xywh")) for panel in GRAFANA["panels"]])
    check(len({panel["id"] for panel in GRAFANA["panels"]}) == len(GRAFANA["panels"]), "two panels have one id")
    known = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}
    for panel in GRAFANA["panels"]:
        unit = panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "short")
        check(not known or unit in known, f"{panel['title']}: no unit {unit}")
        check(panel["type"] == "row" or panel["targets"], f"{panel['title']} asks nothing")
        page = re.search(r"[Rr]unbook: ([a-z-]+)", panel.get("description", ""))
        check(not page or page[1] in names.runbook(), f"{panel['title']}: the runbook has no {page and page[1]}")
    for title, expression in queries():
        metrics_exist(title, expression)
        check(expression.count("$instance") >= len(re.findall(r"\b(?:sluice|process)_\w+\{", expression)) > 0, f"{title} is not bounded by instance")
    print(f"grafana.json: {len(GRAFANA['panels'])} panels, {len(queries())} queries, nothing lost in Grafana's model")


def cloudwatch() -> None:
    body = json.loads(CLOUDWATCH)
    left = set(re.findall(r"\$\{([^}]*)\}", CLOUDWATCH))
    check(left == {"Instance", "Region"}, f"placeholders: {left}")
    no_overlap([(one["properties"].get("title", "text"), one["x"], one["y"], one["width"], one["height"]) for one in body["widgets"]])
    own = names.emf()
    used = set()
    for widget in body["widgets"]:
        properties = widget["properties"]
        check(widget["type"] in {"metric", "text", "log"}, widget["type"])
        if widget["type"] == "metric":
            check(properties["view"] in {"timeSeries", "singleValue"} and properties["region"] == "${Region}" and properties["title"], properties)
        for metric in properties.get("metrics", []):
            check(isinstance(metric, list) and metric, f"{properties['title']}: {metric}")
            options = metric[-1] if isinstance(metric[-1], dict) else {}
            if "expression" in options:
                check(options["expression"].count("(") == options["expression"].count(")") and options["expression"].count("'") % 2 == 0, options)
                continue
            named = [part for part in metric if isinstance(part, str)]
            check(len(named) >= 2 and len(named) % 2 == 0, f"{properties['title']}: {metric}")
            if named[0] == "Sluice":
                check(named[1] in own and named[2:] == ["Instance", "${Instance}"], f"{properties['title']}: no metric {named}")
                used.add(named[1])
    check(not names.emf() - used, f"on no graph: {names.emf() - used}")
    filled = CLOUDWATCH.replace("${Instance}", "sluice").replace("${Region}", "us-east-1")
    moto = subprocess.Popen([SERVERS / "moto.sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        client = boto3.client("cloudwatch", endpoint_url=moto.stdout.readline().strip(), region_name="us-east-1", aws_access_key_id="test",
                              aws_secret_access_key="test")
        said = client.put_dashboard(DashboardName="sluice", DashboardBody=filled).get("DashboardValidationMessages", [])
        check(not said, said)
        check(json.loads(client.get_dashboard(DashboardName="sluice")["DashboardBody"]) == json.loads(filled), "not what was put")
    finally:
        moto.stdin.close()
        moto.wait(10)
    print(f"cloudwatch.json: {len(body['widgets'])} widgets, all {len(names.emf())} metrics of namespace Sluice")


def alerts(promtool: pathlib.Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for file in [RULES, TESTS]:
            shutil.copy(file, folder)
        for words in [["check", "rules", RULES.name], ["test", "rules", TESTS.name]]:
            done = subprocess.run([promtool / "promtool", *words], cwd=folder, capture_output=True, text=True, check=False)
            check(done.returncode == 0, done.stdout + done.stderr)
    alarms = set(names.runbook())
    found, tests = set(), TESTS.read_text(encoding="utf-8")
    for alert, expression, page in rules():
        found.add(alert)
        metrics_exist(alert, expression)
        check(f"alertname: {alert}" in tests or f'alertname="{alert}"' in tests, f"{alert} is not tried")
        check(page == f"docs/runbook.md#{alert}" and alert in alarms, f"{alert}: no page {page}")
    check(found == alarms - names.CLOUDWATCH_ONLY, f"rules and runbook differ: {found ^ (alarms - names.CLOUDWATCH_ONLY)}")
    print(f"alerts.yml: {len(found)} rules, each tried on made series, each with its section in the runbook")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--promtool", required=True, type=pathlib.Path)
    args = parser.parse_args()
    subprocess.run([sys.executable, ROOT / "deploy/dashboards/build.py", "--check"], check=True)
    grafana()
    cloudwatch()
    alerts(args.promtool)
    return 0


if __name__ == "__main__":
    sys.exit(main())
