"""What goes with the items that the user liked last."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import DayRange, TableInput
from jobs.settings import Market
from models.channels.channel import Channel


@dataclass(frozen=True)
class Params:
    """``seeds``: how many of the user's newest items lead on; each step back counts ``step_decay`` as much."""

    seeds: int = 30
    step_decay: float = 0.95


CHANNEL = Channel(
    "item_cf",
    "Neighbours of the user's last items by co-occurrence.",
    [TableInput("features.user_sequence"), TableInput("candidates.item_neighbours")],
    weight=1.0,
)


def recall(
    user_sequence: DataFrame, item_neighbours: DataFrame, *, days: DayRange, params: Params, market: Market
) -> DataFrame:
    seeds = user_sequence.select(
        "ds",
        "user_id",
        F.posexplode(F.slice(F.arrays_zip("items", "strengths"), 1, params.seeds)).alias("step", "seed"),
    ).select(
        "ds",
        "user_id",
        F.col("seed.items").alias("seed_item_id"),
        (F.log1p("seed.strengths") * F.pow(F.lit(params.step_decay), "step")).alias("weight"),
    )
    reached = seeds.join(item_neighbours.withColumnRenamed("item_id", "seed_item_id"), ["ds", "seed_item_id"])
    part = F.round(F.col("similarity") * F.col("weight"), 9)
    scored = reached.groupBy("ds", "user_id", F.col("neighbour_id").alias("item_id")).agg(
        F.sum(part).alias("score"),
        F.max_by("seed_item_id", F.struct(part, "seed_item_id")).alias("seed_item_id"),
    )
    own = seeds.select("ds", "user_id", F.col("seed_item_id").alias("item_id"))
    return scored.join(own, ["ds", "user_id", "item_id"], "left_anti")
