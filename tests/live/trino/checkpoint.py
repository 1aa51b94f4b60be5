"""A table that is old enough for a checkpoint: Trino must find in it what the entries of the log said, for those are deleted in time."""

import json
import pathlib
import subprocess
from decimal import Decimal

# Each replay adds two entries to the log of calls; a checkpoint is written every 50.
REPLAYS = 28


def check(engine, binary: str, folder: pathlib.Path) -> None:
    def sluice(*args: str) -> str:
        return subprocess.run([binary, *args], cwd=folder, capture_output=True, text=True, check=True).stdout

    sluice("simulate", "many", "--calls", "300", "--shape", "meta", "--files", str(REPLAYS), "--start", "2026-10-01T00:00:00Z")
    for part in sorted((folder / "many").glob("*.jsonl")):
        sluice("replay", str(part), "--lake", "many-lake")
    log = folder / "many-lake/calls/_delta_log"
    pointer = json.loads((log / "_last_checkpoint").read_text())
    for entry in log.glob("*.json"):
        if int(entry.stem) <= pointer["version"]:
            entry.unlink()
    engine.ask("CREATE SCHEMA IF NOT EXISTS many_lake")
    engine.register("many-lake", "calls", "many_lake")
    found = engine.ask("SELECT count(*), sum(cost_usd), count(DISTINCT dt), max(event_time) IS NOT NULL FROM many_lake.calls")[1][0]
    own = json.loads(sluice("query", "SELECT count(*) AS n, sum(cost_usd) AS usd, count(DISTINCT dt) AS days FROM calls", "--lake", "many-lake",
                            "--format", "json"))[0]
    if tuple(found) != (own["n"], Decimal(own["usd"]), own["days"], True):
        raise SystemExit(f"from a checkpoint at version {pointer['version']}: {found}, sluice query says {own}")
    print(f"a log that begins with a checkpoint, at version {pointer['version']}: {found[0]} calls, the same sum")
