"""What the user liked before, where it may come again: what was bought does only in categories that repeat."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.windows import decay, spread
from jobs.contract import DayRange, TableInput
from jobs.settings import Market
from models import eligibility
from models.channels.channel import Channel

HORIZON = 365


@dataclass(frozen=True)
class Params:
    """``half_life_days``: after so many days an action counts half."""

    half_life_days: float = 30.0


CHANNEL = Channel(
    "own_history",
    "The user's own items of a year, by strength that halves every 30 days: often and lately first. What he bought is "
    "among them where its category repeats.",
    [TableInput("silver.user_item_daily", days=HORIZON), TableInput("silver.items")],
    depth=200,
)


def recall(user_item_daily: DataFrame, items: DataFrame, days: DayRange, params: Params, market: Market) -> DataFrame:
    own = (
        spread(user_item_daily.where("strength > 0"), days, HORIZON)
        .groupBy("ds", "user_id", "item_id")
        .agg(
            F.sum(F.round(F.col("strength") * decay(params.half_life_days), 9)).alias("score"),
            F.max(F.col("purchases") > 0).alias("_bought"),
        )
        .withColumn("seed_item_id", F.col("item_id"))
    )
    if "*" not in market.repeat_categories:
        repeats = items.select("ds", "item_id", eligibility.repeats(F.col("category"), market).alias("_repeats"))
        own = own.join(repeats, ["ds", "item_id"], "left").where("NOT _bought OR coalesce(_repeats, false)")
    return own.select("ds", "user_id", "item_id", "score", "seed_item_id")
