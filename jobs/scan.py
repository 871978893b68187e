"""Published rows as Spark reads them: one Parquet scan over the files that the Delta log names for the days.

Spark's Delta reader replays a table's log in Spark jobs after every commit, and runs another to prune files: for a
small table that takes longer than to build it. The log itself is a few kilobytes, which delta-rs reads in
milliseconds, and days are partitions, so choosing files is choosing days.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from functools import reduce
from pathlib import Path
from urllib.parse import unquote

from deltalake import DeltaTable
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.contract import Table, ddl
from jobs.errors import ContractError
from jobs.lake import Lake

# Else Spark lists more than 32 files by a job of its own, though each is named already.
LISTING = "spark.sql.sources.parallelPartitionDiscovery.threshold"


def published(
    spark: SparkSession, lake: Lake, contract: Table, days: Iterable[dt.date], versions: Iterable[str] | None = None
) -> DataFrame | None:
    """Rows of a table's days, of the given ``versions`` where the table is append-only; None if it was never built.

    Raises
    ------
    ContractError
        The table does not have the declared columns.
    """
    opened = lake.open(contract.name)
    if opened is None:
        return None
    if differences := lake.differences(contract, opened):
        raise ContractError(f"{contract.name} cannot be read: {'; '.join(differences)}.")
    root = lake.path(contract.name)
    within = {str(day) for day in days}
    files: dict[str | None, list[str]] = {}
    for path, partition in _files(opened):
        # the version of an append-only row is in the log alone, so each is a scan of its own
        version = partition[contract.replace_by] if contract.append else None
        if partition["ds"] in within and (version is None or versions is None or version in versions):
            files.setdefault(version, []).append(str(root / path))
    if not files:
        return spark.createDataFrame([], ddl(contract.schema))
    return reduce(DataFrame.unionByName, [_scan(spark, contract, root, files[v], v) for v in sorted(files, key=str)])


def _files(opened: DeltaTable) -> list[tuple[str, dict[str, str]]]:
    """Relative path and partition values of every live file."""
    actions = opened.get_add_actions(flatten=True)
    names = [name for name in actions.schema.names if name.startswith("partition.")]
    columns = {name: actions[name].to_pylist() for name in ["path", *names]}
    return [
        (unquote(path), {n.removeprefix("partition."): str(columns[n][at]) for n in names})
        for at, path in enumerate(columns["path"])
    ]


def _scan(spark: SparkSession, contract: Table, root: Path, files: list[str], version: str | None) -> DataFrame:
    in_path = [c for c in contract.schema if version is None or c.name != contract.replace_by]
    spark.conf.set(LISTING, str(len(files) + 1))
    # from the root on, folders that are spelt as partitions are read as columns
    rows = spark.read.schema(ddl(in_path)).option("basePath", str(root)).parquet(*sorted(files))
    if version is not None:
        rows = rows.withColumn(contract.replace_by, F.lit(version))
    return rows.select(*[c.name for c in contract.schema])
