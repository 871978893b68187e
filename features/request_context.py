"""When, where and how each page was looked at: the context of every request of the day.

The swipe speed of a request is held against the user's own of the 28 days before, so that a state is known
without looking ahead.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.grid import near
from features.local_time import DAY_PARTS, day_part, in_local_time, is_weekend, within
from features.user_context import HINTS
from jobs.contract import Column, DayRange, Table, TableInput, between, in_set
from jobs.interactions import mean_of
from jobs.settings import Market

PLACE_TYPES = (*HINTS, "district", "other")


@dataclass(frozen=True)
class Params:
    """Peaks as first hour and end on the user's wall; when swiping is fast.

    A request is swiped fast where its mean speed is ``fast_swipe`` or more, or above the user's own mean by more
    than ``swipe_sds`` standard deviations (known from ``min_swipes`` on), and its items were looked at for less
    than ``short_dwell_ms`` each on average.
    """

    morning_peak: tuple[int, ...] = (7, 10)
    evening_peak: tuple[int, ...] = (17, 20)
    fast_swipe: float = 2.0
    swipe_sds: float = 1.0
    min_swipes: int = 30
    short_dwell_ms: int = 3_000


CONTRACT = Table(
    name="features.request_context",
    group="features",
    owner="user-understanding",
    description="Local time, kind of place, depth, dwell and swipe speed of every request with showings in the day.",
    columns=[
        Column("request_id", "string", "The page or refresh."),
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("at_ms", "bigint", "First showing.", "ms"),
        Column("surface", "string", "Where it was shown."),
        Column("local_hour", "int", "Hour on the wall of the user's region.", "h"),
        Column("day_part", "string", "night, morning, midday, afternoon or evening."),
        Column("is_weekend", "boolean", "Saturday or Sunday there."),
        Column("peak", "string", "morning or evening in the hours of a peak; null outside."),
        Column("is_commute", "boolean", "In a peak of a weekday and not known to be at home or work, or on the way."),
        Column("place_type", "string", "home, work, transit, district, other; null where nothing is known."),
        Column("district", "string", "The district, where the hint names one."),
        Column("impressions", "int", "Items shown."),
        Column("clicks", "int", "Clicks."),
        Column("depth", "int", "Deepest position shown."),
        Column("dwell_ms", "bigint", "Time spent on its items.", "ms"),
        Column("swipe_speed", "double", "Mean speed of the swipes; null where unknown.", "screens/s", digits=4),
        Column("is_fast_swiping", "boolean", "Swiped fast and looked at shortly."),
    ],
    keys=["request_id"],
    inputs=[
        TableInput("silver.impressions"),
        TableInput("silver.events"),
        TableInput("silver.users"),
        TableInput("features.user_context", lag=1, optional=True),
    ],
    checks=[
        between("local_hour", 0, 23),
        between("impressions", 1, None),
        in_set("day_part", DAY_PARTS),
        in_set("place_type", PLACE_TYPES),
    ],
)


def build(
    impressions: DataFrame,
    events: DataFrame,
    users: DataFrame,
    user_context: DataFrame,
    *,
    days: DayRange,
    params: Params,
    market: Market,
) -> DataFrame:
    local, place = F.col("local"), F.col("place")
    usual = user_context.select(
        F.date_add("ds", 1).alias("ds"), "user_id", "home_cell", "work_cell", "swipes", "swipe_mean", "swipe_sd"
    )
    peak = F.when(within(local, params.morning_peak), "morning").when(within(local, params.evening_peak), "evening")
    stays = F.coalesce(F.col("place_type").isin("home", "work"), F.lit(False))
    on_the_way = F.coalesce(F.col("place_type") == "transit", F.lit(False))
    return (
        in_local_time(_requests(impressions, events), users, market)
        .join(usual, ["ds", "user_id"], "left")
        .withColumn("local_hour", F.hour(local))
        .withColumn("day_part", day_part(local))
        .withColumn("is_weekend", is_weekend(local))
        .withColumn("peak", peak)
        .withColumn("place_type", _place_type())
        .withColumn("is_commute", on_the_way | (peak.isNotNull() & ~F.col("is_weekend") & ~stays))
        .withColumn("district", F.when(~place.isin(*HINTS), place))
        .withColumn("is_fast_swiping", _fast(params))
    )


def _requests(impressions: DataFrame, events: DataFrame) -> DataFrame:
    """One row for each request with showings on the day; its events of the day count with it."""
    shown = impressions.where("request_id IS NOT NULL").select(
        "ds", "request_id", "user_id", "at_ms", "surface", "place", "cell", "position", "swipe_speed"
    )
    acted = events.where("request_id IS NOT NULL AND item_id IS NOT NULL").select(
        "ds", "request_id", "action", F.col("dwell_ms").alias("spent_ms")
    )
    return (
        shown.unionByName(acted, allowMissingColumns=True)
        .groupBy("ds", "request_id")
        .agg(
            F.min("user_id").alias("user_id"),
            F.min("at_ms").alias("at_ms"),
            F.min("surface").alias("surface"),
            F.mode("place", deterministic=True).alias("place"),
            F.mode("cell", deterministic=True).alias("cell"),
            F.count("position").cast("int").alias("impressions"),
            F.count_if(F.col("action") == "click").cast("int").alias("clicks"),
            F.max("position").alias("depth"),
            F.coalesce(F.sum("spent_ms"), F.lit(0)).alias("dwell_ms"),
            mean_of("swipe_speed").alias("swipe_speed"),
        )
        .where("impressions > 0")
    )


def _place_type() -> SparkColumn:
    """By the hint; without one by the cell, which is home where it is that of home or touches it."""
    place, cell = F.col("place"), F.col("cell")
    by_cell = (
        F.when(cell == F.col("work_cell"), "work")
        .when(near(cell, F.col("home_cell")), "home")
        .when(near(cell, F.col("work_cell")), "work")
        .when(cell.isNotNull(), "other")
    )
    return F.when(place.isin(*HINTS), place).when(place.isNotNull(), "district").otherwise(by_cell)


def _fast(params: Params) -> SparkColumn:
    speed = F.col("swipe_speed")
    own = F.when(F.col("swipes") >= params.min_swipes, F.col("swipe_mean") + params.swipe_sds * F.col("swipe_sd"))
    fast = (speed >= params.fast_swipe) | F.coalesce(speed > own, F.lit(False))
    short = F.col("dwell_ms") < params.short_dwell_ms * F.col("impressions")
    return F.coalesce(fast & short, F.lit(False))
