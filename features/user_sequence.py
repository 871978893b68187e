"""What each user did last: the newest items with a positive action, newest first."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.windows import check_horizon, spread
from jobs.contract import Column, DayRange, Table, TableInput, between

HORIZON = 90


@dataclass(frozen=True)
class Params:
    """``length``: how many items are kept, of the last ``horizon`` days."""

    length: int = 50
    horizon: int = HORIZON

    def __post_init__(self) -> None:
        check_horizon("features.user_sequence", self.horizon, HORIZON)


CONTRACT = Table(
    name="features.user_sequence",
    group="features",
    owner="user-understanding",
    description="The last 50 items of each user with a positive action in 90 days (option horizon), newest first, "
    "each once.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("items", "array<bigint>", "Surrogate item keys."),
        Column("last_ms", "array<bigint>", "Time of the last action on each.", "ms"),
        Column("strengths", "array<double>", "Summed strength of the actions on each."),
        Column("length", "int", "Number of items."),
    ],
    keys=["user_id"],
    inputs=[TableInput("silver.user_item_daily", days=HORIZON)],
    checks=[between("length", 1, 1000)],
)


def build(user_item_daily: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    newest = (
        spread(user_item_daily.where("strength > 0"), days, params.horizon)
        .groupBy("ds", "user_id", "item_id")
        .agg(F.max("last_ms").alias("last_ms"), F.round(F.sum("strength"), 4).alias("strength"))
    )
    step = F.struct((-F.col("last_ms")).alias("order"), "item_id", "last_ms", "strength")
    steps = F.slice(F.sort_array(F.collect_list(step)), 1, params.length)
    return (
        newest.groupBy("ds", "user_id")
        .agg(steps.alias("steps"))
        .select(
            "ds",
            "user_id",
            F.col("steps.item_id").alias("items"),
            F.col("steps.last_ms").alias("last_ms"),
            F.col("steps.strength").alias("strengths"),
            F.size("steps").alias("length"),
        )
    )
