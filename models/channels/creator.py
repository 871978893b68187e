"""What else the creators offer whose items the user likes."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import TableInput
from models.channels.channel import Channel
from models.channels.inverted import key_of, liked, popular_first, top_of_key


@dataclass(frozen=True)
class Params:
    """``items`` of each of the user's ``creators``."""

    items: int = 20
    creators: int = 10


CHANNEL = Channel(
    "creator",
    "Popular items of the creators whose items the user likes.",
    [TableInput("features.user_interests"), TableInput("features.item_stats")],
    weight=0.5,
    depth=40,
)


def keys(user_interests: DataFrame, params: Params) -> DataFrame:
    return liked(user_interests, "creator", params.creators)


def postings(item_stats: DataFrame, params: Params) -> DataFrame:
    by_creator = item_stats.where("is_eligible").withColumn("key", key_of(F.col("creator_id").cast("string")))
    return top_of_key(by_creator, params.items, *popular_first())
