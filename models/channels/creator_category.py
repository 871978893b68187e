"""The best creators of the categories that the user likes, a few items of each."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import TableInput
from models.channels.channel import Channel
from models.channels.inverted import by_creators, liked, top_of_key


@dataclass(frozen=True)
class Params:
    """``items`` of each of the user's ``categories``, of one creator ``per_creator``."""

    items: int = 20
    categories: int = 3
    per_creator: int = 3


CHANNEL = Channel(
    "creator_category",
    "Items of the best creators (by quality) of the categories that the user likes.",
    [
        TableInput("features.user_interests"),
        TableInput("features.item_stats"),
        TableInput("features.creator_stats"),
    ],
    weight=0.3,
    depth=30,
)


def keys(user_interests: DataFrame, params: Params) -> DataFrame:
    return liked(user_interests, "category", params.categories)


def postings(item_stats: DataFrame, creator_stats: DataFrame, params: Params) -> DataFrame:
    offered = by_creators(item_stats, creator_stats).where(F.col("_of_creator") <= params.per_creator)
    return top_of_key(offered, params.items, F.round("creator_quality", 6).desc(), "_of_creator")
