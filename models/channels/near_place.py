"""What is offered where the user goes: items that belong to a place, such as a restaurant to a business district."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import TableInput
from models.channels.channel import Channel
from models.channels.inverted import key_of, popular_first, top_of_key


@dataclass(frozen=True)
class Params:
    """``items`` of each district; a user's next district counts ``step_decay`` as much as the one before."""

    items: int = 30
    step_decay: float = 0.7


CHANNEL = Channel(
    "near_place",
    "Popular items of the districts where the user mostly is.",
    [TableInput("features.user_context"), TableInput("features.item_stats"), TableInput("silver.items")],
    weight=0.3,
    depth=30,
)


def keys(user_context: DataFrame, params: Params) -> DataFrame:
    return user_context.select("ds", "user_id", F.posexplode("districts").alias("step", "place")).select(
        "ds", "user_id", key_of("place").alias("key"), F.pow(F.lit(params.step_decay), "step").alias("weight")
    )


def postings(item_stats: DataFrame, items: DataFrame, params: Params) -> DataFrame:
    placed = items.where("place IS NOT NULL").select("ds", "item_id", key_of("place").alias("key"))
    return top_of_key(item_stats.where("is_eligible").join(placed, ["ds", "item_id"]), params.items, *popular_first())
