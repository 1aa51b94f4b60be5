#!/usr/bin/env python3
"""Reads a lake with two programs that had no part in writing it, and prints what each table adds up to.

    pip install deltalake duckdb pyarrow
    read_lake.py LAKE [EXPECTED]

delta-rs reads the Delta log and says which files are part of a table; DuckDB reads those files; delta-rs reads them a second time.
Per table one line: name, rows, and the sum of all integer and money columns with money in pico-dollars. EXPECTED holds such lines;
any difference, down to the last digit, is an error.
"""

import decimal
import os
import sys
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

decimal.getcontext().prec = 60
PICO = Decimal(10) ** 12


def arrow_total(table: DeltaTable) -> tuple[int, int]:
    """Sums a table as delta-rs reads it."""
    rows, total = 0, 0
    data = pa.table(table.to_pyarrow_dataset().to_table())
    rows = data.num_rows
    for field in data.schema:
        if field.type == pa.int64():
            total += pc.sum(data[field.name]).as_py() or 0
        elif pa.types.is_decimal(field.type):
            if (field.type.precision, field.type.scale) != (38, 12):
                raise SystemExit(f"{field.name} is {field.type}, not decimal(38, 12)")
            total += int((pc.sum(data[field.name]).as_py() or Decimal(0)) * PICO)
        elif pa.types.is_timestamp(field.type) and (field.type.unit, field.type.tz) != ("us", "UTC"):
            raise SystemExit(f"{field.name} is {field.type}, not microseconds in UTC")
    return rows, total


def duckdb_total(table: DeltaTable) -> tuple[int, int]:
    """Sums the files of a table as DuckDB reads them."""
    files = [uri.removeprefix("file://") for uri in table.file_uris()]
    if not files:
        return 0, 0
    connection = duckdb.connect()
    source = connection.read_parquet(files, hive_partitioning=True)
    sums = []
    for name, kind in zip(source.columns, source.types):
        if str(kind) == "BIGINT":
            sums.append(f'coalesce(sum("{name}"::hugeint), 0)::varchar')
        elif str(kind).startswith("DECIMAL"):
            sums.append(f'(coalesce(sum("{name}"), 0) * 1)::varchar')
    picked = [f"{text} AS s{index}" for index, text in enumerate(sums)]
    row = source.aggregate(", ".join(["count(*) AS n", *picked])).fetchall()[0]
    total = 0
    for text in row[1:]:
        total += int(Decimal(text) * PICO) if "." in text else int(text)
    return row[0], total


def main() -> int:
    root = sys.argv[1]
    expected = {}
    if len(sys.argv) > 2:
        with open(sys.argv[2], encoding="utf-8") as lines:
            expected = {line.split()[0]: line.strip() for line in lines if line.strip()}
    failed = False
    names = sorted(name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name, "_delta_log")))
    for name in names:
        table = DeltaTable(os.path.join(root, name))
        protocol = table.protocol()
        if (protocol.min_reader_version, protocol.min_writer_version) != (1, 2):
            raise SystemExit(f"{name}: protocol {protocol}")
        by_arrow, by_duckdb = arrow_total(table), duckdb_total(table)
        line = f"{name} {by_duckdb[0]} {by_duckdb[1]}"
        print(line)
        if by_arrow != by_duckdb:
            failed = True
            print(f"  delta-rs says {by_arrow}, DuckDB says {by_duckdb}", file=sys.stderr)
        if expected and expected.get(name) != line:
            failed = True
            print(f"  expected {expected.get(name)}", file=sys.stderr)
    if expected.keys() - set(names):
        failed = True
        print(f"  missing {sorted(expected.keys() - set(names))}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
