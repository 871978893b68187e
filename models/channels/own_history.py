"""What the user liked before, where it may come again."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.windows import decay, spread
from jobs.contract import DayRange, TableInput
from models.channels.channel import Channel

HORIZON = 365


@dataclass(frozen=True)
class Params:
    """``half_life_days``: after so many days an action counts half."""

    half_life_days: float = 30.0


CHANNEL = Channel(
    "own_history",
    "The user's own items of a year, by strength that halves every 30 days: often and lately first.",
    [TableInput("silver.user_item_daily", days=HORIZON)],
    depth=200,
)


def recall(user_item_daily: DataFrame, days: DayRange, params: Params) -> DataFrame:
    return (
        spread(user_item_daily.where("strength > 0"), days, HORIZON)
        .groupBy("ds", "user_id", "item_id")
        .agg(F.sum(F.round(F.col("strength") * decay(params.half_life_days), 9)).alias("score"))
        .withColumn("seed_item_id", F.col("item_id"))
    )
