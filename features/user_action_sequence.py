"""What each user did last, by kind of action: the newest 50 with their times and terminals."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.windows import check_horizon, spread
from jobs.contract import Column, DayRange, Table, TableInput, between
from jobs.errors import ContractError

HORIZON = 90
LONGEST = 50


@dataclass(frozen=True)
class Params:
    """``length``: how many actions of a kind are kept of ``horizon`` days, at most the 50 that a day keeps."""

    length: int = LONGEST
    horizon: int = HORIZON

    def __post_init__(self) -> None:
        check_horizon("features.user_action_sequence", self.horizon, HORIZON)
        if not 1 <= self.length <= LONGEST:
            raise ContractError(
                f"features.user_action_sequence: length must be from 1 to {LONGEST}, which a day keeps, "
                f"not {self.length}."
            )


CONTRACT = Table(
    name="features.user_action_sequence",
    group="features",
    owner="user-understanding",
    description="The last 50 actions of each user by kind of action in 90 days (option horizon), newest first. An item "
    "comes as often as it was acted on (features.user_sequence has each once, over all positive actions).",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("action", "string", "Kind of action; a purchase is a sale line."),
        Column("items", "array<bigint>", "Surrogate item keys."),
        Column("at_ms", "array<bigint>", "Times of the actions.", unit="ms"),
        Column("terminals", "array<string>", "Terminals; null where not known, as of every sale."),
        Column("length", "int", "Number of actions."),
    ],
    keys=["user_id", "action"],
    inputs=[TableInput("silver.user_action_daily", days=HORIZON)],
    checks=[between("length", 1, LONGEST)],
)


def build(user_action_daily: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    of_day = F.arrays_zip("at_ms", "items", "terminals")
    newest = F.slice(F.sort_array(F.flatten(F.collect_list(of_day)), asc=False), 1, params.length)
    return (
        spread(user_action_daily, days, params.horizon)
        .groupBy("ds", "user_id", "action")
        .agg(newest.alias("steps"))
        .select(
            "ds",
            "user_id",
            "action",
            F.col("steps.items").alias("items"),
            F.col("steps.at_ms").alias("at_ms"),
            F.col("steps.terminals").alias("terminals"),
            F.size("steps").alias("length"),
        )
    )
