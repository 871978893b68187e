"""``silver.user_action_daily``: each user's newest actions of a day, in order, by kind of action."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, NoParams, Table, TableInput, between
from jobs.interactions import PURCHASE

LENGTH = 50
"""Actions kept a day; the longest sequence that can be put together from days."""

CONTRACT = Table(
    name="silver.user_action_daily",
    group="silver",
    owner="user-understanding",
    description="The newest 50 actions on items of each user, kind of action and day, newest first; the compact "
    "base of sequences. At one moment the greater key comes first.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("action", "string", "Kind of action; a purchase is a sale line."),
        Column("actions", "int", "Actions of the day, kept or not."),
        Column("items", "array<bigint>", "Surrogate item keys."),
        Column("at_ms", "array<bigint>", "Times of the actions.", unit="ms"),
        Column("terminals", "array<string>", "Terminals; null where not known, as of every sale."),
    ],
    keys=["user_id", "action"],
    inputs=[TableInput("silver.events"), TableInput("silver.orders")],
    checks=[between("actions", 1, None)],
)


def build(events: DataFrame, orders: DataFrame, *, days: DayRange, params: NoParams) -> DataFrame:
    acted = events.where(F.col("item_id").isNotNull() & (F.col("action") != PURCHASE)).select(
        "ds", "user_id", "action", "at_ms", "item_id", "terminal"
    )
    sold = orders.where("kind = 'sale'").select(
        "ds",
        "user_id",
        F.lit(PURCHASE).alias("action"),
        "at_ms",
        "item_id",
        F.lit(None).cast("string").alias("terminal"),
    )
    step = F.struct("at_ms", "item_id", "terminal")
    return (
        acted.unionByName(sold)
        .groupBy("ds", "user_id", "action")
        # a heap of 50: whoever acts a million times a day costs no more memory than anybody else
        .agg(F.count(F.lit(1)).cast("int").alias("actions"), F.max_by(step, step, LENGTH).alias("steps"))
        .select(
            "ds",
            "user_id",
            "action",
            "actions",
            F.col("steps.item_id").alias("items"),
            F.col("steps.at_ms").alias("at_ms"),
            F.col("steps.terminal").alias("terminals"),
        )
    )
