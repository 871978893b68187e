"""What else the creators offer whose items the user likes, or whom they follow."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.contract import TableInput
from models.channels.channel import Channel
from models.channels.inverted import key_of, liked, popular_first, top_of_key


@dataclass(frozen=True)
class Params:
    """``items`` of each of the user's ``creators``; one that they follow counts ``followed`` more in share of taste."""

    items: int = 20
    creators: int = 10
    followed: float = 0.2


CHANNEL = Channel(
    "creator",
    "Popular items of the creators whose items the user likes, or whom they follow.",
    [
        TableInput("features.user_interests"),
        TableInput("features.user_follows", optional=True),
        TableInput("features.item_stats"),
    ],
    weight=0.5,
    depth=40,
)


def keys(user_interests: DataFrame, user_follows: DataFrame, params: Params) -> DataFrame:
    key, weight = _key().alias("key"), F.lit(params.followed).alias("weight")
    # of a creator who is liked as well both weights count
    return liked(user_interests, "creator", params.creators).unionByName(
        user_follows.select("ds", "user_id", key, weight)
    )


def postings(item_stats: DataFrame, params: Params) -> DataFrame:
    by_creator = item_stats.where("is_eligible").withColumn("key", _key())
    return top_of_key(by_creator, params.items, *popular_first())


def _key() -> Column:
    return key_of(F.col("creator_id").cast("string"))
