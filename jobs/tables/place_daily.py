"""``silver.place_daily``: where and how each user looked at items in a day; the base of home, work and districts.

Presence is counted in hours of the user's own wall clock, as bits: an hour with fifty showings is one hour.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.local_time import in_local_time, is_weekend, within
from jobs.contract import Column, DayRange, Table, TableInput, between
from jobs.settings import Market

NOWHERE = "none"
NO_CELL = -1


@dataclass(frozen=True)
class Params:
    """Hours of the night and of work, first and end, on the user's wall; work is on weekdays."""

    night: tuple[int, ...] = (22, 6)
    work: tuple[int, ...] = (9, 18)


CONTRACT = Table(
    name="silver.place_daily",
    group="silver",
    owner="user-understanding",
    description="Hours that each user was seen at each place in the day, and the swipes there.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("place", "string", "Place hint: home, work, transit, a district; none where there was no hint."),
        Column("cell", "bigint", "Grid cell of about 500 m; -1 where there were no coordinates.", subject=True),
        Column("hours", "int", "Different hours with a showing, or with an action outside of any.", "h"),
        Column("night_hours", "int", "Those at night.", "h"),
        Column("work_hours", "int", "Those in working hours of a weekday.", "h"),
        Column("impressions", "int", "Items shown."),
        Column("swipes", "int", "Showings with a swipe speed."),
        Column("swipe_sum", "double", "Sum of the swipe speeds.", "screens/s", digits=6),
        Column("swipe_square_sum", "double", "Sum of their squares.", digits=6),
    ],
    keys=["user_id", "place", "cell"],
    inputs=[TableInput("silver.impressions"), TableInput("silver.events"), TableInput("silver.users")],
    checks=[between("hours", 1, 24), between("night_hours", 0, 24), between("work_hours", 0, 24)],
)


def build(
    impressions: DataFrame, events: DataFrame, users: DataFrame, *, days: DayRange, params: Params, market: Market
) -> DataFrame:
    shown = impressions.select("ds", "user_id", "at_ms", "place", "cell", "swipe_speed", F.lit(1).alias("shown"))
    # an action on something shown says no more of the place than the showing did
    outside = events.where("place IS NOT NULL AND impression_id IS NULL AND request_id IS NULL")
    seen = shown.unionByName(outside.select("ds", "user_id", "at_ms", "place"), allowMissingColumns=True)
    local = F.col("local")
    return (
        in_local_time(seen, users, market)
        .groupBy(
            "ds",
            "user_id",
            F.coalesce("place", F.lit(NOWHERE)).alias("place"),
            F.coalesce("cell", F.lit(NO_CELL)).cast("bigint").alias("cell"),
        )
        .agg(
            _hours(F.lit(True)).alias("hours"),
            _hours(within(local, params.night)).alias("night_hours"),
            _hours(within(local, params.work) & ~is_weekend(local)).alias("work_hours"),
            F.count("shown").cast("int").alias("impressions"),
            F.count("swipe_speed").cast("int").alias("swipes"),
            F.coalesce(F.sum("swipe_speed"), F.lit(0.0)).alias("swipe_sum"),
            F.coalesce(F.sum(F.col("swipe_speed") * F.col("swipe_speed")), F.lit(0.0)).alias("swipe_square_sum"),
        )
    )


def _hours(when: SparkColumn) -> SparkColumn:
    """Number of different hours among the rows that meet ``when``."""
    return F.coalesce(F.bit_count(F.bit_or(F.when(when, F.expr("shiftleft(1, hour(local))")))), F.lit(0))
