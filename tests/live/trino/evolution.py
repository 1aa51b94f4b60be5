"""Lakes whose tables have other columns than the program: older files lack some, newer ones have more. Every reader sums the same.

Needs the packages deltalake, pyarrow and duckdb. Rules: docs/schema-evolution.md.
"""

import json
import pathlib
import subprocess
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

# Columns that a program of before might not have known; each stands at the end of its table.
LATER = {"calls": ["extras", "source", "ingest_time"], "spend_day": ["cost_max_usd"]}


def run(binary: str, folder: pathlib.Path, *args: str, fails: bool = False) -> str:
    done = subprocess.run([binary, *args], cwd=folder, capture_output=True, text=True)
    if (done.returncode != 0) != fails:
        raise SystemExit(f"sluice {' '.join(args)}: exit code {done.returncode}: {done.stderr}")
    return done.stderr if fails else done.stdout


def grow(binary: str, folder: pathlib.Path, lake: str, day: str, seed: int) -> None:
    """Adds a day of calls to a lake."""
    logs = f"{lake}-{day}"
    run(binary, folder, "simulate", logs, "--calls", "300", "--shape", "meta", "--files", "1", "--seed", str(seed),
        "--start", f"{day}T00:00:00Z", "--span", "20h")
    run(binary, folder, "replay", logs, "--lake", lake)


def entries(table: pathlib.Path) -> list[pathlib.Path]:
    return sorted((table / "_delta_log").glob("*.json"))


def edit_schema(table: pathlib.Path, change) -> None:
    """Changes the columns that the log of a table names."""
    for path in entries(table):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            if "metaData" in line:
                schema = json.loads(line["metaData"]["schemaString"])
                schema["fields"] = change(schema["fields"])
                line["metaData"]["schemaString"] = json.dumps(schema)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def rewrite_files(table: pathlib.Path, change) -> None:
    """Writes every file of a table again, with other columns."""
    sizes = {}
    for path in table.glob("dt=*/*.parquet"):
        pq.write_table(change(pq.read_table(path, partitioning=None)), path)
        sizes[str(path.relative_to(table))] = path.stat().st_size
    for path in entries(table):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            if line.get("add", {}).get("path") in sizes:
                line["add"]["size"] = sizes[line["add"]["path"]]
                stats = json.loads(line["add"]["stats"])
                line["add"]["stats"] = json.dumps({"numRecords": stats["numRecords"]})
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def sums(engine, binary: str, folder: pathlib.Path, lake: str, table: str, column: str) -> tuple:
    """Rows, cost and how many rows have the column, as four programs see it; they must agree."""
    own = json.loads(run(binary, folder, "query", f"SELECT count(*) AS n, sum(cost_usd) AS usd, count({column}) AS filled FROM {table}",
                         "--lake", lake, "--format", "json"))[0]
    found = {"sluice": (own["n"], Decimal(own["usd"]), own["filled"])}
    delta = DeltaTable(str(folder / lake / table))
    rows = pa.table(delta.to_pyarrow_dataset().to_table())
    cost = sum((value for value in rows["cost_usd"].to_pylist() if value is not None), Decimal(0))
    found["delta-rs"] = (rows.num_rows, cost, rows.num_rows - rows[column].null_count)
    files = [uri.removeprefix("file://") for uri in delta.file_uris()]
    source = duckdb.connect().read_parquet(files, hive_partitioning=True, union_by_name=True)
    found["DuckDB"] = tuple(source.aggregate(f"count(*), sum(cost_usd), count({column})").fetchall()[0])
    schema = lake.replace("-", "_")
    engine.ask(f"CREATE SCHEMA IF NOT EXISTS {schema}")
    if table not in [row[0] for row in engine.ask(f"SHOW TABLES FROM {schema}")[1]]:
        engine.register(lake, table, schema)
    found["Trino"] = tuple(engine.ask(f"SELECT count(*), sum(cost_usd), count({column}) FROM {schema}.{table}")[1][0])
    if len(set(found.values())) != 1:
        raise SystemExit(f"{lake}/{table}, {column}: {found}")
    return found["sluice"]


def check_older_files(engine, binary: str, folder: pathlib.Path) -> None:
    grow(binary, folder, "old-lake", "2026-10-01", 1)
    before = {}
    for table, columns in LATER.items():
        place = folder / "old-lake" / table
        edit_schema(place, lambda fields, gone=columns: [field for field in fields if field["name"] not in gone])
        rewrite_files(place, lambda rows, gone=columns: rows.drop_columns(gone))
        own = json.loads(run(binary, folder, "query", f"SELECT count(*) AS n, sum(cost_usd) AS usd FROM {table}", "--lake", "old-lake",
                             "--format", "json"))[0]
        before[table] = (own["n"], Decimal(own["usd"]))
    # This program gives the tables their columns when it opens them for writing; the files of before stay as they are.
    grow(binary, folder, "old-lake", "2026-10-03", 2)
    for table, columns in LATER.items():
        rows, cost, filled = sums(engine, binary, folder, "old-lake", table, columns[-1])
        if rows - filled != before[table][0] or cost <= before[table][1]:
            raise SystemExit(f"{table}: {rows} rows, {filled} with {columns[-1]}, {before[table]} of before")
    # New calls of the old day: its files are merged with new ones.
    grow(binary, folder, "old-lake", "2026-10-01", 3)
    for table, columns in LATER.items():
        rows, _, filled = sums(engine, binary, folder, "old-lake", table, columns[-1])
        if rows - filled > before[table][0]:
            raise SystemExit(f"{table}: a value was lost: {rows} rows, {filled} with {columns[-1]}")
    print("older files, which lack columns: sluice, delta-rs, DuckDB and Trino agree, before and after they are merged")


def check_newer_files(engine, binary: str, folder: pathlib.Path) -> None:
    grow(binary, folder, "new-lake", "2026-10-01", 1)
    place = folder / "new-lake" / "calls"
    field = {"name": "from_tomorrow", "type": "string", "nullable": True, "metadata": {}}
    edit_schema(place, lambda fields: [*fields[:-1], field, fields[-1]])
    rewrite_files(place, lambda rows: rows.append_column("from_tomorrow", pa.array(["x"] * rows.num_rows)))
    first, _, filled = sums(engine, binary, folder, "new-lake", "calls", "from_tomorrow")
    grow(binary, folder, "new-lake", "2026-10-03", 2)
    rows, _, still = sums(engine, binary, folder, "new-lake", "calls", "from_tomorrow")
    if not first == filled == still or rows <= first:
        raise SystemExit(f"a column this program does not know: {filled} of {first} values, then {still} of {rows}")
    print("newer files, with a column that this program does not know: read by all, and kept when it writes")


def check_refusals(binary: str, folder: pathlib.Path) -> None:
    grow(binary, folder, "retyped-lake", "2026-10-01", 1)
    place = folder / "retyped-lake" / "calls"
    edit_schema(place, lambda fields: [{**field, "type": "double"} if field["name"] == "cost_usd" else field for field in fields])
    said = run(binary, folder, "replay", "retyped-lake-2026-10-01", "--lake", "retyped-lake", fails=True)
    if "cost_usd" not in said:
        raise SystemExit(f"a retyped column was refused with: {said}")
    print("a column of another type: refused, and named")


def check(engine, binary: str, folder: pathlib.Path) -> None:
    check_older_files(engine, binary, folder)
    check_newer_files(engine, binary, folder)
    check_refusals(binary, folder)
