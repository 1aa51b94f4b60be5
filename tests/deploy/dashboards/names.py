"""What there is to be named: metrics of deploy/metrics.md (which a test of the program compares with its own list) and alarms of the runbook."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[3]
METRICS = (ROOT / "deploy/metrics.md").read_text(encoding="utf-8")

# Alarms that only CloudWatch can raise, because AWS alone has their metrics.
CLOUDWATCH_ONLY = {"events-undelivered", "log-delivery-failing", "stream-write-throttled"}
# Rules that only Prometheus has.
PROMETHEUS_ONLY = {"not-ready", "spoofed-calls", "overshoot-exceeded"}


def prometheus() -> dict[str, tuple[str, set[str]]]:
    """Name as it stands in queries -> (type, labels)."""
    found = {}
    for name, kind, labels in re.findall(r"^\| `((?:sluice|process)_\w+)` \| (\w+) \| [^|]* \| ([^|]*) \|", METRICS, re.M):
        keys = {label.strip() for label in labels.split(",")} - {"–"}
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"], "gauge": [""]}[kind]
        for suffix in suffixes:
            found[name.removesuffix(suffix) + suffix] = (kind, keys | ({"le"} if suffix == "_bucket" else set()))
    assert len(found) > 50, "the table of metrics is not read any more"
    return found


def emf() -> set[str]:
    table = METRICS.split("## CloudWatch", 1)[1].split("## OTLP", 1)[0]
    found = set(re.findall(r"^\| `(\w+)` \|", table, re.M))
    code = set(re.findall(r'^    metric\(\s*"(\w+)"', (ROOT / "src/operate/emf.rs").read_text(encoding="utf-8"), re.M))
    assert found == code, f"deploy/metrics.md and the program differ: {found ^ code}"
    return found


def runbook() -> list[str]:
    """Headings of the alarms, in order."""
    text = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    return re.findall(r"^## ([a-z0-9-]+)$", text.split("# Alarms", 1)[1].split("# Situations", 1)[0], re.M)


def anchors(path: pathlib.Path) -> set[str]:
    """Anchors of a Markdown file's headings, as GitHub makes them."""
    found, fenced = set(), False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("```") or line.strip().startswith("```"):
            fenced = not fenced
        elif not fenced and line.startswith("#"):
            title = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip()).replace("`", "").lower()
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found
