"""What is known of each user over a long time: first and last seen, first and last bought, everything bought.

The horizon is a year of daily aggregates, or less (an option). A snapshot that reads its own yesterday would remember
longer, and would be wrong after every gap and every rebuilt older day until all days since had been built again, in
order. A window over compact aggregates is right for any day, in any order, and forgets like every other window.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.windows import check_horizon, spread
from jobs.contract import Column, DayRange, Ranked, Table, TableInput, between, no_rows_where

HORIZON = 365
LEAST = 28
"""``features.activity_decay`` holds the last 28 days against the history of the same users."""


@dataclass(frozen=True)
class Params:
    """``horizon``: days of daily aggregates that are remembered.

    Rankers hold what a pair did in a year against ``targets``: with less of these a user's own items look likelier.
    """

    horizon: int = HORIZON

    def __post_init__(self) -> None:
        check_horizon("features.user_history", self.horizon, HORIZON, least=LEAST)


CONTRACT = Table(
    name="features.user_history",
    group="features",
    owner="user-understanding",
    description="First seen, ever bought and the like, of each user of the last 365 days (option horizon), from "
    "daily aggregates.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("first_seen_ds", "date", "First day with an action or a showing, within the horizon.", nullable=False),
        Column("last_seen_ds", "date", "Last such day.", nullable=False),
        Column("days_seen", "int", "Number of such days.", "days"),
        Column("ever_bought", "boolean", "Bought anything within the horizon."),
        Column("first_bought_ds", "date", "First day with a purchase; null without."),
        Column("last_bought_ds", "date", "Last day with a purchase; null without."),
        Column("targets", "bigint", "Actions that the market counts as success."),
        Column("purchases", "bigint", "Sale lines."),
        Column("amount_minor", "bigint", "Amount of the sales.", "minor"),
        Column("bought_items", "array<bigint>", "Surrogate keys of the items bought, each once, ascending."),
    ],
    keys=["user_id"],
    inputs=[
        TableInput("silver.user_daily", days=HORIZON),
        TableInput("silver.user_item_daily", days=HORIZON),
    ],
    checks=[
        between("days_seen", 1, HORIZON),
        no_rows_where("last_seen_ds < first_seen_ds", "a user is last seen before the first time"),
    ],
    ranked=[Ranked("history_", "user_id", ["targets"])],
)


def build(user_daily: DataFrame, user_item_daily: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    bought_on = F.when(F.col("purchases") > 0, F.col("event_ds"))
    bought = (
        spread(user_item_daily.where("purchases > 0"), days, params.horizon)
        .groupBy("ds", "user_id")
        .agg(F.sort_array(F.collect_set("item_id")).alias("items"))
    )
    return (
        spread(user_daily, days, params.horizon)
        .groupBy("ds", "user_id")
        .agg(
            F.min("event_ds").alias("first_seen_ds"),
            F.max("event_ds").alias("last_seen_ds"),
            F.count(F.lit(1)).cast("int").alias("days_seen"),
            F.min(bought_on).alias("first_bought_ds"),
            F.max(bought_on).alias("last_bought_ds"),
            F.coalesce(F.sum("targets"), F.lit(0)).alias("targets"),
            F.coalesce(F.sum("purchases"), F.lit(0)).alias("purchases"),
            F.coalesce(F.sum("amount_minor"), F.lit(0)).alias("amount_minor"),
        )
        .join(bought, ["ds", "user_id"], "left")
        .withColumn("ever_bought", F.col("first_bought_ds").isNotNull())
        .withColumn("bought_items", F.coalesce("items", F.array().cast("array<bigint>")))
    )
