"""Good items that few have seen, of the categories that the user likes."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import TableInput
from models.channels.channel import Channel
from models.channels.inverted import key_of, liked, top_of_key


@dataclass(frozen=True)
class Params:
    """``items`` of each of the user's ``categories``; the quality bar is this ``bar`` among the day's items, from 0
    (the worst) to 1.
    """

    items: int = 20
    categories: int = 5
    bar: float = 0.5


CHANNEL = Channel(
    "long_tail",
    "Items of the user's categories outside the top 20 % by exposure and in the better half by quality; none where "
    "the market has no data of quality.",
    [TableInput("features.user_interests"), TableInput("features.item_stats")],
    weight=0.3,
    depth=30,
)


def keys(user_interests: DataFrame, params: Params) -> DataFrame:
    return liked(user_interests, "category", params.categories)


def postings(item_stats: DataFrame, params: Params) -> DataFrame:
    place = F.percent_rank().over(Window.partitionBy("ds").orderBy("quality"))
    good = item_stats.where("is_eligible AND quality IS NOT NULL").withColumn("_place", place)
    tail = good.where(F.col("is_long_tail") & (F.col("_place") >= params.bar))
    return top_of_key(tail.withColumn("key", key_of("category")), params.items, F.round("quality", 6).desc())
