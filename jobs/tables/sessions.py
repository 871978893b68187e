"""``silver.sessions``: a user's visits; a gap of half an hour ends one, and so does midnight."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, adds_up, between, no_rows_where
from jobs.interactions import mean_of
from jobs.landing import TERMINALS


@dataclass(frozen=True)
class Params:
    """``gap_minutes`` without any action or showing ends a session."""

    gap_minutes: int = 30


CONTRACT = Table(
    name="silver.sessions",
    group="silver",
    owner="user-understanding",
    description="Visits: consecutive actions and showings of a user with no gap of 30 minutes.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("started_ms", "bigint", "First action or showing.", unit="ms"),
        Column("ended_ms", "bigint", "Last action or showing.", unit="ms"),
        Column("actions", "int", "Events of any kind."),
        Column("clicks", "int", "Clicks."),
        Column("impressions", "int", "Items shown."),
        Column("depth", "int", "Deepest position shown; 0 where nothing was."),
        Column("dwell_ms", "bigint", "Time spent on items.", unit="ms"),
        Column("swipe_speed", "double", "Mean speed of the swipes past items; null if unknown.", "screens/s", digits=4),
        Column("terminal", "string", "Terminal of most actions and showings, the first by name of several."),
        Column("terminals", "int", "Different terminals used."),
    ],
    keys=["user_id", "started_ms"],
    inputs=[TableInput("silver.events"), TableInput("silver.impressions")],
    checks=[
        no_rows_where("ended_ms < started_ms", "a session ends before it starts"),
        between("depth", 0, None),
        adds_up("sum(actions)", "silver.events", "count(1)", "every event is in one session"),
        adds_up("sum(impressions)", "silver.impressions", "count(1)", "every showing is in one session"),
    ],
)


def most_used() -> SparkColumn:
    """The terminal of most rows, of equally used ones the last by name; null where none is known.

    Counted terminal by terminal: an aggregate over any values keeps a map a session and is many times slower.
    """
    counts = [F.struct(used(name).alias("rows"), F.lit(name).alias("name")) for name in TERMINALS]
    most = F.array_max(F.array(*counts))
    return F.when(most["rows"] > 0, most["name"])


def used(terminal: str) -> SparkColumn:
    """Rows from a terminal."""
    return F.count_if(F.col("terminal") == terminal)


def build(events: DataFrame, impressions: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    def rows(source: DataFrame, **given: SparkColumn) -> DataFrame:
        kept = ("ds", "user_id", "at_ms", "terminal", "action", "position", "dwell_ms", "swipe_speed")
        return source.select(*[given[c].alias(c) if c in given else F.col(c) for c in kept])

    acted = rows(events, position=F.lit(0), swipe_speed=F.lit(None).cast("double"))
    shown = rows(impressions, action=F.lit("impression"), dwell_ms=F.lit(None).cast("bigint"))
    of_user = Window.partitionBy("ds", "user_id").orderBy("at_ms")
    gap = F.col("at_ms") - F.lag("at_ms").over(of_user)
    starts = (gap.isNull() | (gap >= params.gap_minutes * 60_000)).cast("int")
    numbered = (
        acted.unionByName(shown)
        .withColumn("_starts", starts)
        .withColumn(
            "_session", F.sum("_starts").over(of_user.rangeBetween(Window.unboundedPreceding, Window.currentRow))
        )
    )
    return numbered.groupBy("ds", "user_id", "_session").agg(
        F.min("at_ms").alias("started_ms"),
        F.max("at_ms").alias("ended_ms"),
        F.count_if(F.col("action") != "impression").cast("int").alias("actions"),
        F.count_if(F.col("action") == "click").cast("int").alias("clicks"),
        F.count_if(F.col("action") == "impression").cast("int").alias("impressions"),
        F.max("position").alias("depth"),
        F.coalesce(F.sum("dwell_ms"), F.lit(0)).alias("dwell_ms"),
        mean_of("swipe_speed").alias("swipe_speed"),
        most_used().alias("terminal"),
        reduce(add, [(used(name) > 0).cast("int") for name in TERMINALS]).alias("terminals"),
    )
