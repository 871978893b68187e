"""Where each user is active: app, mini-program and H5, and whether across several."""

from __future__ import annotations

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.windows import spread, summed
from jobs.contract import Column, DayRange, NoParams, Table, TableInput, between

WINDOWS = (1, 7, 28)
SUMS = ("actions", "impressions", "clicks", "logins")

CONTRACT = Table(
    name="features.user_terminal",
    group="features",
    owner="user-understanding",
    description="Counts of each user of the last 28 days by terminal, the terminal's share and the main one.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("terminal", "string", "app, mini_program or h5."),
        *[
            Column(f"{name}_{n}d", "int", f"Sum of {name} on the terminal in the {n} days ending on ds.")
            for name in SUMS
            for n in WINDOWS
        ],
        Column("dwell_ms_28d", "bigint", "Time spent on the terminal in 28 days.", "ms"),
        Column("share_28d", "double", "Part of the user's actions on it; null without any action.", digits=6),
        Column("is_main", "boolean", "Most actions in 28 days, then most showings, then the first by name."),
        Column("terminals_28d", "int", "Terminals that the user was on in 28 days."),
        Column("is_cross_terminal", "boolean", "The user was on more than one terminal in 28 days."),
    ],
    keys=["user_id", "terminal"],
    inputs=[TableInput("silver.user_terminal_daily", days=28)],
    checks=[between("share_28d", 0, 1), between("terminals_28d", 1, 3)],
)


def build(user_terminal_daily: DataFrame, *, days: DayRange, params: NoParams) -> DataFrame:
    of_user = Window.partitionBy("ds", "user_id")
    most_first = of_user.orderBy(F.desc("actions_28d"), F.desc("impressions_28d"), "terminal")
    return (
        spread(user_terminal_daily, days, 28)
        .groupBy("ds", "user_id", "terminal")
        .agg(
            *[summed(name, n).alias(f"{name}_{n}d") for name in SUMS for n in WINDOWS],
            summed("dwell_ms", 28, "bigint").alias("dwell_ms_28d"),
        )
        .withColumn("share_28d", F.try_divide("actions_28d", F.sum("actions_28d").over(of_user)))
        .withColumn("is_main", F.row_number().over(most_first) == 1)
        .withColumn("terminals_28d", F.count(F.lit(1)).over(of_user).cast("int"))
        .withColumn("is_cross_terminal", F.col("terminals_28d") > 1)
    )
