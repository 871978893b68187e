"""What most people liked this week, for everyone."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import TableInput
from models.channels.channel import Channel
from models.channels.inverted import popular_first, top_of_key


@dataclass(frozen=True)
class Params:
    """``items``: how many of the most popular items everyone gets."""

    items: int = 200


CHANNEL = Channel(
    "popular",
    "Items with most different users in 7 days, then in 28.",
    [TableInput("features.item_stats"), TableInput("features.user_activity")],
    weight=0.5,
    depth=60,
    personal=False,
)


def keys(user_activity: DataFrame) -> DataFrame:
    return user_activity.select("ds", "user_id", F.lit(0).cast("bigint").alias("key"), F.lit(1.0).alias("weight"))


def postings(item_stats: DataFrame, params: Params) -> DataFrame:
    offered = item_stats.where("is_eligible").withColumn("key", F.lit(0).cast("bigint"))
    return top_of_key(offered, params.items, *popular_first())
