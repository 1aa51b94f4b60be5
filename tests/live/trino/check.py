"""Athena's queries on the engine Athena is made of: every one runs over a lake that has rows for it, and gives what sluice query gives.

    check.py --bin SLUICE [--calls N]      # needs the packages trino and sqlglot in this Python

Trino stands for Athena engine version 3, which is Trino; the two differ in the catalogue (Glue there, files here) and in who starts them.
Money is compared to the last digit. Tables are held against what `sluice lake tables` tells a catalogue, and every query must name a
range of dt for every table it scans. Then lakes whose files have other columns, and one whose log begins with a checkpoint.
"""

import argparse
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal

import sqlglot
import trino

import checkpoint
import evolution
from lake import Maker

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
QUERIES = sorted((ROOT / "deploy/athena/queries").glob("*.sql"))
# Types as a catalogue writes them, and as Trino reads them from the Delta log.
TYPES = {"string": "varchar", "int": "integer", "timestamp": "timestamp(3) with time zone", "binary": "varbinary",
         "map<string,string>": "map(varchar, varchar)"}
# What sluice query writes in other words than Athena.
OTHER_WORDS = [
    (re.compile(r"element_at\((\w+), ('\w+')\)"), r"\1[\2]"),
    (re.compile(r"approx_percentile\("), "approx_percentile_cont("),
    (re.compile(r"date_diff\('second', (\w+), (\w+)\)"), r"cast(date_part('epoch', \2) - date_part('epoch', \1) AS bigint)"),
]


class Engine:
    """A Trino server over the lakes below a folder."""

    def __init__(self, folder: pathlib.Path):
        script = HERE.parent / "servers/trino.sh"
        self.process = subprocess.Popen([str(script), str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        url = self.process.stdout.readline().strip()
        if not url:
            self.process.wait()
            out = folder / ".trino/out"
            raise LookupError(out.read_text()[-2000:] if out.exists() else "Trino could not be installed")
        port = int(url.rsplit(":", 1)[1])
        self.connection = trino.dbapi.connect(host="127.0.0.1", port=port, user="sluice", catalog="delta", schema="sluice")
        self.ask("CREATE SCHEMA IF NOT EXISTS sluice")

    def ask(self, sql: str) -> tuple[list[str], list[list]]:
        cursor = self.connection.cursor()
        cursor.execute(sql)
        rows = cursor.fetchall()
        return [column[0] for column in cursor.description or []], rows

    def register(self, lake: str, table: str, schema: str = "sluice") -> None:
        self.ask(f"CALL delta.system.register_table('{schema}', '{table}', 'local:///{lake}/{table}')")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def dates(sql: str, today: date, now: datetime) -> str:
    """Puts moments in place of what an engine says the time is."""
    sql = re.sub(r"cast\(current_date - interval '(\d+)' day AS varchar\)", lambda m: f"'{today - timedelta(days=int(m[1]))}'", sql)
    sql = sql.replace("cast(current_date AS varchar)", f"'{today}'")
    sql = sql.replace("cast(date_trunc('month', current_date) AS varchar)", f"'{today.replace(day=1)}'")
    sql = re.sub(r"cast\(\(SELECT day FROM change\) AS varchar\)", f"'{today - timedelta(days=1)}'", sql)
    hour = now.replace(minute=0, second=0, microsecond=0)
    sql = sql.replace("date_trunc('hour', current_timestamp)", f"timestamp '{hour:%Y-%m-%dT%H:%M:%SZ}'")
    return sql


def plain(value):
    """A value in the one form both sides are compared in."""
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc)
    return value


def same(there, here) -> bool:
    there, here = plain(there), plain(here)
    if there is None or here is None:
        return there is None and here is None
    if isinstance(there, Decimal):
        return there == Decimal(here)
    if isinstance(there, datetime):
        # Trino rounds microseconds to milliseconds.
        return abs(there - datetime.fromisoformat(here)) <= timedelta(milliseconds=1)
    if isinstance(there, float):
        return math.isclose(there, float(here), rel_tol=1e-6, abs_tol=0.011)
    if isinstance(there, int) and isinstance(here, (int, float)):
        return abs(there - here) <= (0 if isinstance(here, int) else 1)
    return str(there) == str(here)


def check_header(path: pathlib.Path, sql: str) -> None:
    lines = sql.splitlines()
    if not re.match(r"-- name: \S", lines[0]) or not re.match(r"-- description: \S", lines[1]) or sql.rstrip().endswith(";"):
        raise SystemExit(f"{path.name}: a query begins with -- name: and -- description:, and has no semicolon")
    for dialect in ["athena", "trino"]:
        sqlglot.parse_one(sql, read=dialect)


def check_pruned(engine: Engine, name: str, sql: str) -> None:
    """Every scan has a range of dt, known before the first file is opened."""
    plan = json.loads(engine.ask(f"EXPLAIN (TYPE IO, FORMAT JSON) {sql}")[1][0][0])
    for scan in plan["inputTableColumnInfos"]:
        constraint = scan.get("constraint", {})
        if not any(column["columnName"] == "dt" for column in constraint.get("columnConstraints", [])):
            raise SystemExit(f"{name}: {scan['table']['schemaTable']['table']} is read whole, over every dt")


def compare(name: str, columns: list[str], rows: list[list], own: list[dict]) -> int:
    """Compares row by row; returns how many amounts of money were compared."""
    if len(rows) != len(own):
        raise SystemExit(f"{name}: {len(rows)} rows, sluice query has {len(own)}")
    money = 0
    for at, (row, mine) in enumerate(zip(rows, own)):
        for column, value in zip(columns, row):
            approximate = "percentile" in column or "_p95_" in column
            if approximate and value is not None and mine[column] is not None:
                fits = math.isclose(value, float(mine[column]), rel_tol=0.05, abs_tol=5)
            else:
                fits = same(value, mine[column])
            if not fits:
                raise SystemExit(f"{name}: row {at}, {column}: {value!r}, sluice query says {mine[column]!r}")
            money += isinstance(value, Decimal)
    return money


def check_queries(engine: Engine, maker: Maker) -> None:
    for path in QUERIES:
        sql = path.read_text(encoding="utf-8")
        check_header(path, sql)
        check_pruned(engine, path.name, sql)
        while True:
            before = engine.ask("SELECT date_trunc('hour', current_timestamp)")[1][0][0]
            columns, rows = engine.ask(sql)
            after = engine.ask("SELECT date_trunc('hour', current_timestamp)")[1][0][0]
            if before == after:
                break
        if not rows:
            raise SystemExit(f"{path.name}: no row")
        # The command line takes what begins with -- for an option.
        own = dates(re.sub(r"^--.*\n", "", sql, flags=re.MULTILINE), before.date(), before)
        for words, others in OTHER_WORDS:
            own = words.sub(others, own)
        money = compare(path.name, columns, rows, maker.query(own))
        print(f"{path.name}: {len(rows)} rows, {money} amounts agree")


def check_tables(engine: Engine, maker: Maker) -> None:
    """Columns and types in Trino are those that a catalogue is told."""
    told: dict[str, dict[str, str]] = {}
    for row in json.loads(maker.sluice("lake", "tables", "--format", "json", "--config", str(maker.config))):
        told.setdefault(row["table"], {})[row["column"]] = row["type"]
    for table, columns in told.items():
        engine.register("lake", table)
        found = {row[0]: row[1] for row in engine.ask(f"DESCRIBE {table}")[1]}
        wanted = {column: TYPES.get(kind, kind.replace(",", ", ") if kind.startswith("decimal") else kind) for column, kind in columns.items()}
        found = {column: re.sub(r"\((\d+),\s*(\d+)\)", r"(\1, \2)", kind) for column, kind in found.items()}
        if found != wanted:
            raise SystemExit(f"{table}: {found}, a catalogue is told {wanted}")
        rows = engine.ask(f"SELECT count(*) FROM {table}")[1][0][0]
        if rows != maker.number(f"SELECT count(*) AS n FROM {table}"):
            raise SystemExit(f"{table}: {rows} rows")
    statements = maker.sluice("lake", "tables", "--format", "ddl", "--location", "s3://bucket/lake", "--config", str(maker.config))
    for statement in filter(str.strip, statements.split(";\n")):
        sqlglot.parse_one(statement, read="athena")
        if "VIEW" in statement:
            engine.ask(statement.replace("CREATE OR REPLACE VIEW sluice.", "CREATE OR REPLACE VIEW delta.sluice."))
    newest = engine.ask("SELECT count(*), sum(cost_usd) FROM errors_by_model_latest")[1][0]
    own = maker.query("SELECT count(*) AS n, sum(cost_usd) AS usd FROM errors_by_model_latest")[0]
    if (newest[0], newest[1]) != (own["n"], Decimal(own["usd"])):
        raise SystemExit(f"errors_by_model_latest: {newest}, sluice query says {own}")
    print(f"{len(told)} tables have the columns and rows that a catalogue is told of")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--calls", type=int, default=4000)
    args = parser.parse_args()
    for path in QUERIES:
        check_header(path, path.read_text(encoding="utf-8"))
    print(f"{len(QUERIES)} queries parse in Athena's dialect")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-trino-"))
    try:
        engine = Engine(folder)
    except LookupError as error:
        shutil.rmtree(folder)
        print(f"Trino: not run: {error}", file=sys.stderr)
        return 1 if os.environ.get("SLUICE_LIVE") == "1" or os.environ.get("CI") == "true" else 0
    try:
        maker = Maker(os.path.abspath(args.bin), folder, args.calls)
        maker.make()
        check_tables(engine, maker)
        check_queries(engine, maker)
        evolution.check(engine, os.path.abspath(args.bin), folder)
        checkpoint.check(engine, os.path.abspath(args.bin), folder)
    finally:
        engine.stop()
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
