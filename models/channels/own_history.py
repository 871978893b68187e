"""What the user liked before, where it may come again."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import DayRange, TableInput
from jobs.settings import Market
from models.channels.channel import Channel


@dataclass(frozen=True)
class Params:
    """``step_decay``: how much less each older item counts."""

    step_decay: float = 0.97


CHANNEL = Channel(
    "own_history",
    "The user's own items of 90 days, strongest and newest first.",
    [TableInput("features.user_sequence")],
    weight=1.0,
)


def recall(user_sequence: DataFrame, *, days: DayRange, params: Params, market: Market) -> DataFrame:
    steps = user_sequence.select("ds", "user_id", F.posexplode(F.arrays_zip("items", "strengths")).alias("step", "own"))
    return steps.select(
        "ds",
        "user_id",
        F.col("own.items").alias("item_id"),
        (F.log1p("own.strengths") * F.pow(F.lit(params.step_decay), "step")).alias("score"),
        F.col("own.items").alias("seed_item_id"),
    )
