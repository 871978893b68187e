"""Stages: what an attempt built and nobody reads yet, as Parquet below the table's own folder.

A published file stays where it was staged, so the folder of a stage is never used twice.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.contract import Check, Column, DayRange, Table, ddl
from jobs.errors import CheckFailed, ContractError
from jobs.lake import Lake
from jobs.reconcile import Reconciliation
from jobs.staged_sql import identifier, literal, staged_rows

REJECT, RAW, FILE = "_reject", "_raw", "_file"


@dataclass(frozen=True)
class Staged:
    """What an attempt built of one table and has not published yet.

    ``remarks`` by day are for the operator. ``replaces`` has the files by day that may be replaced; None: any.
    """

    table: str
    days: DayRange
    attempt: str
    seconds: float
    rows: dict[str, int]
    inputs: dict[str, Any]
    params_hash: str
    reconciliation: Reconciliation | None = None
    remarks: dict[str, str] = field(default_factory=dict)
    replaces: dict[str, list[str]] | None = None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "days": [str(self.days.first), str(self.days.last)]}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Staged:
        first, last = (dt.date.fromisoformat(d) for d in plain["days"])
        found = plain["reconciliation"]
        return cls(
            **{
                **plain,
                "days": DayRange(first, last),
                "reconciliation": None if found is None else Reconciliation(**found),
            }
        )


@dataclass(frozen=True)
class Stages:
    """The staged files of a lake, written and read by Spark."""

    lake: Lake
    spark: SparkSession

    def folder(self, contract: Table, attempt: str) -> Path:
        return self.lake.stage_folder(contract.name, attempt)

    def kept(self, contract: Table, attempt: str) -> Path:
        """The folder of the rows to publish: a row-preserving step has those that it refused beside it."""
        folder = self.folder(contract, attempt)
        return folder / "kept=true" if contract.rejects else folder

    def write(self, contract: Table, frame: DataFrame, attempt: str) -> None:
        """Write a build's rows.

        Raises
        ------
        ContractError
            A column is missing or has another type than declared.
        """
        partitions = (["kept"] if contract.rejects else []) + stage_partitions(contract)
        writer = conform(contract, frame).hint("rebalance", *[F.col(p) for p in partitions])
        writer.write.mode("append").partitionBy(*partitions).parquet(str(self.folder(contract, attempt)))

    def frame(self, contract: Table, attempt: str) -> DataFrame:
        """The rows to publish."""
        schema = ddl(stage_schema(contract))
        folder = self.kept(contract, attempt)
        if not any(folder.rglob("*.parquet")):
            return self.spark.createDataFrame([], schema)
        return self.spark.read.schema(schema).option("basePath", str(folder)).parquet(str(folder))

    def refused(self, contract: Table, attempt: str) -> DataFrame:
        """The rows that a row-preserving step refused, with the rule, the row as delivered and its file."""
        return self.spark.read.parquet(str(self.folder(contract, attempt) / "kept=false"))

    def check(self, contract: Table, days: DayRange, attempt: str, checks: Sequence[Check] = ()) -> dict[str, int]:
        """Rows per day, after one aggregation that proves keys, NOT NULL columns, days and ``checks`` of rows.

        Raises
        ------
        ContractError
            The build made rows of days that it was not asked for.
        CheckFailed
            A key is null or not unique, or a check does not hold.
        """
        required = [c.name for c in stage_schema(contract) if not c.nullable and c.name != "ds"]
        found = staged_rows(self.kept(contract, attempt), _count_query(contract, required, checks))
        for row in found:
            if row["ds"] not in set(days):
                raise ContractError(f"{contract.name}: the build made rows of {row['ds']}, asked for {days}.")
            for name in required:
                if row[f"null_{name}"]:
                    raise CheckFailed(f"{contract.name} {row['ds']}: {row[f'null_{name}']} rows have no {name}.")
            if contract.keys and row["repeated"]:
                raise CheckFailed(
                    f"{contract.name} {row['ds']}: {row['repeated']} rows repeat a key ({', '.join(contract.keys)})."
                )
            for at, check in enumerate(checks):
                if row[f"broken_{at}"]:
                    raise CheckFailed(f"{contract.name} {row['ds']}: {row[f'broken_{at}']} rows break {check.name}.")
        return {str(d): 0 for d in days} | {str(row["ds"]): row["rows"] for row in found}


def _count_query(contract: Table, required: list[str], checks: Sequence[Check]) -> str:
    """SQL that counts a stage by day: rows, rows whose key another row has, NULLs by required column, broken checks."""
    broken = [identifier(f"broken_{at}") for at in range(len(checks))]
    counts = [f"count_if({identifier(name)} IS NULL)" for name in required] + [f"count_if({name})" for name in broken]
    names = [identifier(f"null_{name}") for name in required] + broken
    # apart from the counts, because a condition may compare a row with others
    judged = ", ".join(["*", *(f"({_breaks(check)}) AS {name}" for check, name in zip(checks, broken, strict=True))])
    keys = [identifier(name) for name in (*contract.keys, *stage_partitions(contract)[1:])] if contract.keys else []
    by_key = ", ".join([identifier("ds"), *dict.fromkeys(keys)])
    inner = ", ".join([by_key, "count(*) AS _rows", *map(" AS ".join, zip(counts, names, strict=True))])
    outer = ", ".join(
        [
            "CAST(ds AS DATE) AS ds",
            "CAST(sum(_rows) AS BIGINT) AS rows",
            "CAST(sum(_rows - 1) AS BIGINT) AS repeated",
            *(f"CAST(sum({name}) AS BIGINT) AS {name}" for name in names),
        ]
    )
    return f"SELECT {outer} FROM (SELECT {inner} FROM (SELECT {judged} FROM staged) GROUP BY {by_key}) GROUP BY ds"


def _breaks(check: Check) -> str:
    """SQL that is true of a row that breaks a check, one of `jobs.contract.OF_ROWS`."""
    if check.kind == "no_rows_where":
        return check.args["condition"]
    column = identifier(check.column or "")
    if check.kind == "in_set":
        return f"{column} NOT IN ({', '.join(literal(str(value)) for value in check.args['values'])})"
    bounds = [
        f"{column} {sign} {check.args[end]}"
        for sign, end in (("<", "low"), (">", "high"))
        if check.args[end] is not None
    ]
    return " OR ".join(bounds) or "false"


def stage_schema(contract: Table) -> list[Column]:
    """The columns that a build makes: all but the version key of an append-only table."""
    return [c for c in contract.schema if not (contract.append and c.name == contract.replace_by)]


def stage_partitions(contract: Table) -> list[str]:
    return ["ds"] if contract.append else list(contract.partitions)


def row_hash(contract: Table) -> SparkColumn:
    """A hash of a row's content, the same whatever file holds it and whichever release it is served in."""
    nested = ("array<struct", "struct", "map")
    columns = stage_schema(contract)
    return F.xxhash64(*[F.to_json(c.name) if c.type.startswith(nested) else F.col(c.name) for c in columns])


def conform(contract: Table, frame: DataFrame) -> DataFrame:
    """Select the declared columns in order, rounded as declared; a row-preserving step's marks too.

    Raises
    ------
    ContractError
        A column is missing or has another type than declared.
    """
    types = {f.name: f.dataType.simpleString() for f in frame.schema.fields}
    wrong = [
        f"{c.name} is {types.get(c.name, 'missing')}, declared {c.type}"
        for c in stage_schema(contract)
        if types.get(c.name) != c.type.replace(" ", "")
    ]
    if wrong:
        raise ContractError(f"{contract.name}: the build does not keep its contract: {'; '.join(wrong)}.")
    selected = [_rounded(c) for c in stage_schema(contract)]
    if contract.rejects:
        selected += [F.col(REJECT).isNull().alias("kept"), F.col(REJECT), F.col(RAW), F.col(FILE)]
    return frame.select(*selected)


def _rounded(column: Column) -> SparkColumn:
    if column.digits is None:
        return F.col(column.name)
    return F.round(column.name, column.digits).cast(column.type).alias(column.name)
