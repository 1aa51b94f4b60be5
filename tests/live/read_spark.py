#!/usr/bin/env python3
"""Reads a lake with Spark and prints what each table adds up to, in the lines of tests/peers/read_lake.py.

    read_spark.py LAKE EXPECTED JAR...

EXPECTED holds the lines that delta-rs and DuckDB agreed on; any difference, down to the last digit, is an error.
"""

import os
import sys
from decimal import Decimal, getcontext

from pyspark.sql import SparkSession, functions
from pyspark.sql.types import DecimalType, LongType, TimestampType

getcontext().prec = 60


def total(spark: SparkSession, path: str) -> tuple[int, int]:
    """Returns rows and the sum of all integer and money columns, money in pico-dollars."""
    table = spark.read.format("delta").load(path)
    sums = []
    for field in table.schema:
        column = functions.col(f"`{field.name}`")
        if isinstance(field.dataType, LongType):
            sums.append(functions.sum(column.cast("decimal(38,0)")))
        elif isinstance(field.dataType, DecimalType):
            if (field.dataType.precision, field.dataType.scale) != (38, 12):
                raise SystemExit(f"{field.name} is {field.dataType}, not decimal(38,12)")
            sums.append(functions.sum(column))
        elif field.name.endswith(("_time", "_at", "_event")) and not isinstance(field.dataType, TimestampType):
            raise SystemExit(f"{field.name} is {field.dataType}, not a timestamp")
    row = table.agg(functions.count("*"), *sums).collect()[0]
    amount = 0
    for kind, value in zip([field.dataType for field in table.schema if isinstance(field.dataType, (LongType, DecimalType))], row[1:]):
        amount += int((value or Decimal(0)) * (10**12 if isinstance(kind, DecimalType) else 1))
    return row[0], amount


def main() -> int:
    root, expected_path, jars = sys.argv[1], sys.argv[2], sys.argv[3:]
    with open(expected_path, encoding="utf-8") as lines:
        expected = {line.split()[0]: line.strip() for line in lines if line.strip()}
    builder = SparkSession.builder.master("local[2]").appName("read_spark").config("spark.jars", ",".join(jars))
    builder = builder.config("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
    builder = builder.config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
    builder = builder.config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC").config("spark.sql.shuffle.partitions", "2")
    builder = builder.config("spark.ui.showConsoleProgress", "false").config("spark.databricks.delta.snapshotPartitions", "1")
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    failed = False
    for name in sorted(name for name in os.listdir(root) if os.path.isdir(os.path.join(root, name, "_delta_log"))):
        rows, amount = total(spark, os.path.join(root, name))
        line = f"{name} {rows} {amount}"
        print(line, flush=True)
        if expected.pop(name, None) != line:
            failed = True
            print(f"  delta-rs and DuckDB say otherwise for {name}", file=sys.stderr)
    if expected:
        failed = True
        print(f"  Spark does not see {sorted(expected)}", file=sys.stderr)
    spark.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
