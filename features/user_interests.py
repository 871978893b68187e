"""What each user likes: decayed strength by category, brand, creator and price band."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.windows import check_horizon, decay, spread
from jobs.contract import Column, DayRange, Table, TableInput, between, in_set

KINDS = ("category", "brand", "creator", "price_band")
HORIZON = 90


@dataclass(frozen=True)
class Params:
    """``horizon`` days of actions, each worth half after ``half_life_days``; ``top`` values kept per user and kind."""

    half_life_days: float = 14.0
    top: int = 20
    horizon: int = HORIZON

    def __post_init__(self) -> None:
        check_horizon("features.user_interests", self.horizon, HORIZON)


CONTRACT = Table(
    name="features.user_interests",
    group="features",
    owner="user-understanding",
    description="Decayed strength of each user's preference by category, brand, creator and price band, "
    "from 90 days (option horizon) of daily aggregates.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("kind", "string", "category, brand, creator or price_band."),
        Column("value", "string", "The category, brand, creator key or price band."),
        Column("weight", "double", "Sum of strengths times 2^(-age/half-life).", digits=6),
        Column("share", "double", "Part of the user's weight within the kind.", digits=6),
    ],
    keys=["user_id", "kind", "value"],
    inputs=[TableInput("silver.user_item_daily", days=HORIZON), TableInput("silver.items")],
    checks=[between("share", 0, 1), in_set("kind", KINDS)],
)


def build(user_item_daily: DataFrame, items: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    taste = (
        spread(user_item_daily.where("strength > 0"), days, params.horizon)
        .groupBy("ds", "user_id", "item_id")
        .agg(F.sum(F.col("strength") * decay(params.half_life_days)).alias("weight"))
    )
    named = items.select(
        "ds",
        "item_id",
        "category",
        "brand",
        F.col("creator_id").cast("string").alias("creator"),
        price_band(F.col("price_minor")).alias("price_band"),
    )
    values = F.explode(F.map_from_arrays(F.array(*[F.lit(k) for k in KINDS]), F.array(*KINDS)))
    weights = (
        taste.join(named, ["ds", "item_id"])
        .select("ds", "user_id", "weight", values.alias("kind", "value"))
        .where("value IS NOT NULL")
        .groupBy("ds", "user_id", "kind", "value")
        .agg(F.sum("weight").alias("weight"))
    )
    of_kind = Window.partitionBy("ds", "user_id", "kind")
    best_first = of_kind.orderBy(F.round("weight", 6).desc(), "value")
    return (
        weights.withColumn("share", F.col("weight") / F.sum("weight").over(of_kind))
        .withColumn("_rank", F.row_number().over(best_first))
        .where(F.col("_rank") <= params.top)
    )


def price_band(price_minor):
    """Price on a scale of doublings: band b holds prices in ``[2^b, 2^(b+1))`` minor units."""
    return F.when(price_minor > 0, F.floor(F.log2(price_minor)).cast("string"))
