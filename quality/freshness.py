"""``audit.freshness``: values that should move and do not, as when a source delivers the same file every day.

For a few columns of snapshots the share of keys whose value is another one than the day before is counted for ds and
for the days before. A column is *frozen* when nothing moved on ds, although something moved on each of the days
before that can say so, at least ``least_days`` of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, in_set

BACK = 8
OK, FROZEN, NO_HISTORY = "ok", "frozen", "no_history"
WATCHED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "items": ("item_id", ("price_minor", "stock")),
    "creators": ("creator_id", ("followers",)),
}
"""Snapshots of silver with their keys and the columns that live."""


@dataclass(frozen=True)
class Params:
    """``least_days``: days before ds, on each of which something moved, that the verdict needs."""

    least_days: int = 3


CONTRACT = Table(
    name="audit.freshness",
    group="audit",
    owner="quality",
    description="Share of items and creators whose price, stock or followers moved since the day before: a column "
    "that always moved and stands still is frozen.",
    columns=[
        Column("table", "string", "The snapshot."),
        Column("column", "string", "The watched column."),
        Column("n", "bigint", "Keys with a value on ds and on the day before."),
        Column("moved", "bigint", "Those of them whose value is another one."),
        Column("days", "int", "Days before ds that can say whether something moved.", unit="days"),
        Column("moved_days", "int", "Those of them on which something moved.", unit="days"),
        Column("share_before", "double", "Mean share of keys that moved on the days before.", digits=6),
        Column("verdict", "string", "ok, frozen or no_history.", nullable=False),
    ],
    keys=["table", "column"],
    inputs=[TableInput(f"silver.{name}", days=BACK, optional=True) for name in WATCHED],
    checks=[in_set("verdict", (OK, FROZEN, NO_HISTORY)), between("share_before", 0, 1)],
    grain="day",
)


def build(items: DataFrame, creators: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    frames = {"items": items, "creators": creators}
    found = reduce(DataFrame.unionByName, [moved(frames[name], name) for name in WATCHED])
    today = F.col("ds") == F.lit(days.last)
    before = ~today & (F.col("n") > 0)
    made = found.groupBy("table", "column").agg(
        F.sum(F.when(today, F.col("n"))).alias("n"),
        F.sum(F.when(today, F.col("moved"))).alias("moved"),
        F.count_if(before).cast("int").alias("days"),
        F.count_if(before & (F.col("moved") > 0)).cast("int").alias("moved_days"),
        F.avg(F.when(before, F.round(F.col("moved") / F.col("n"), 9))).alias("share_before"),
    )
    always = (F.col("moved_days") == F.col("days")) & (F.col("days") >= params.least_days)
    verdict = F.when(always & (F.col("moved") == 0), FROZEN).when(F.col("days") < params.least_days, NO_HISTORY)
    return made.where("n > 0").select(
        F.lit(days.last).alias("ds"), "*", F.coalesce(verdict, F.lit(OK)).alias("verdict")
    )


def moved(frame: DataFrame, name: str) -> DataFrame:
    """Keys with a value on a day and the day before, and how many of the values differ.

    Returns
    -------
    DataFrame
        ``ds, table, column, n, moved``.
    """
    key, columns = WATCHED[name]
    pairs = F.explode(
        F.array(*[F.struct(F.lit(c).alias("column"), F.col(c).cast("bigint").alias("value")) for c in columns])
    )
    of_key = Window.partitionBy(key, "column").orderBy("ds")
    # a key that was not there the day before has no yesterday, whatever its row before says
    yesterday = F.when(F.date_diff("ds", F.lag("ds").over(of_key)) == 1, F.lag("value").over(of_key))
    return (
        frame.select("ds", key, pairs.alias("pair"))
        .select("ds", key, "pair.*")
        .withColumn("yesterday", yesterday)
        .where("value IS NOT NULL AND yesterday IS NOT NULL")
        .groupBy("ds", "column")
        .agg(F.count(F.lit(1)).alias("n"), F.count_if(F.col("value") != F.col("yesterday")).alias("moved"))
        .withColumn("table", F.lit(f"silver.{name}"))
    )
