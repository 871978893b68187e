"""What operations want shown: approved entries of the curated pool, within their window."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import DayRange, TableInput
from jobs.settings import Market
from models.channels.channel import Channel
from models.surfaces import surfaces


@dataclass(frozen=True)
class Params:
    """``items``: so many items of the pool at most are offered to everyone, those with the largest boost."""

    items: int = 50


CHANNEL = Channel(
    "curated",
    "Items of the curated pool for surfaces with lists whose window holds the day on which these are served, by boost.",
    [TableInput("silver.curated", optional=True), TableInput("features.user_activity")],
    weight=0.5,
    personal=False,
)


def in_force(market: Market) -> SparkColumn:
    """True for an entry whose window holds the day after ``ds``, on which the lists of ``ds`` are served."""

    def day(column: str) -> SparkColumn:
        return F.from_utc_timestamp(F.timestamp_millis(column), market.timezone).cast("date")

    return F.date_add("ds", 1).between(day("starts_at_ms"), day("ends_at_ms"))


def recall(
    curated: DataFrame, user_activity: DataFrame, *, days: DayRange, params: Params, market: Market
) -> DataFrame:
    strongest = Window.partitionBy("ds").orderBy(F.round("score", 6).desc(), "item_id")
    pool = (
        curated.where(in_force(market) & F.col("surface").isin(*surfaces(market)))
        .where("cap IS NULL OR cap > 0")
        .groupBy("ds", "item_id")
        .agg(F.max(F.coalesce("boost", F.lit(0.0))).alias("score"))
        .withColumn("_place", F.row_number().over(strongest))
        .where(F.col("_place") <= params.items)
    )
    return (
        user_activity.select("ds", "user_id")
        .join(F.broadcast(pool), "ds")
        .select("ds", "user_id", "item_id", "score", F.lit(None).cast("bigint").alias("seed_item_id"))
    )
