"""What most people liked this week, for everyone."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import DayRange, TableInput
from jobs.settings import Market
from models.channels.channel import Channel


@dataclass(frozen=True)
class Params:
    """``items``: how many of the most popular items everyone gets."""

    items: int = 60


CHANNEL = Channel(
    "popular",
    "Items with most different users in 7 days, then in 28.",
    [TableInput("features.item_stats"), TableInput("features.user_activity")],
    weight=0.5,
)


def top(item_stats: DataFrame, items: int) -> DataFrame:
    """The most popular eligible items of each day: ``ds, item_id, score`` and ``place`` from 1."""
    score = F.col("target_users_7d") + F.col("target_users_28d") / 1000
    best = Window.partitionBy("ds").orderBy(F.col("score").desc(), "item_id")
    return (
        item_stats.where("is_eligible")
        .select("ds", "item_id", score.alias("score"))
        .withColumn("place", F.row_number().over(best))
        .where(F.col("place") <= items)
    )


def recall(
    item_stats: DataFrame, user_activity: DataFrame, *, days: DayRange, params: Params, market: Market
) -> DataFrame:
    best = top(item_stats, params.items)
    return (
        user_activity.select("ds", "user_id")
        .join(F.broadcast(best), "ds")
        .select("ds", "user_id", "item_id", "score", F.lit(None).cast("bigint").alias("seed_item_id"))
    )
