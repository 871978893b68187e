"""The traffic pack of creators who are not known yet: good ones get candidates by their stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.creator_stats import STAGES
from jobs.contract import TableInput
from jobs.errors import ContractError
from models.channels.channel import Channel
from models.channels.inverted import by_creators, liked, top_of_key


@dataclass(frozen=True)
class Params:
    """``pack``: items of a creator that enter, by stage; a creator needs a quality of this ``bar`` among the stages
    of the pack, from 0 to 1. ``items`` of each of the user's ``categories``.
    """

    pack: Mapping[str, int] = field(default_factory=lambda: {"novice": 3, "waist": 1})
    bar: float = 0.3
    items: int = 15
    categories: int = 5

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.pack) - set(STAGES)):
            raise ContractError(f"Channel new_creators: pack names stages {unknown}; there are {STAGES}.")


CHANNEL = Channel(
    "new_creators",
    "Items of novice creators, and a few of the next stage, above a quality bar, in the categories that the user "
    "likes.",
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
    in_pack = creator_stats.where(F.col("stage").isin(*params.pack))
    place = F.percent_rank().over(Window.partitionBy("ds").orderBy("quality"))
    good = in_pack.withColumn("_place", place).where(F.col("_place") >= params.bar)
    entries = [F.lit(x) for stage, n in params.pack.items() for x in (stage, n)]
    allowed = F.try_element_at(F.create_map(*entries), F.col("stage"))
    offered = by_creators(item_stats, good).where(F.col("_of_creator") <= allowed)
    return top_of_key(offered, params.items, "stage_level", F.round("creator_quality", 6).desc(), "_of_creator")
