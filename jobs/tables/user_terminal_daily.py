"""``silver.user_terminal_daily``: what each user did in a day on each terminal."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, NoParams, Table, TableInput, between
from jobs.interactions import count_of

CONTRACT = Table(
    name="silver.user_terminal_daily",
    group="silver",
    owner="user-understanding",
    description="Counts of what each active user saw and did in the day on each terminal. What came without a "
    "terminal is not here, and neither are sales: their feed names none.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("terminal", "string", "app, mini_program or h5."),
        Column("actions", "int", "Events of any kind."),
        Column("impressions", "int", "Items shown."),
        Column("clicks", "int", "Clicks."),
        Column("logins", "int", "Logins."),
        Column("dwell_ms", "bigint", "Time spent on items.", unit="ms"),
    ],
    keys=["user_id", "terminal"],
    inputs=[TableInput("silver.events"), TableInput("silver.impressions")],
    checks=[between("actions", 0, None), between("dwell_ms", 0, 7 * 86_400_000, verdict="warn")],
)


def build(events: DataFrame, impressions: DataFrame, *, days: DayRange, params: NoParams) -> DataFrame:
    acted = events.select("ds", "user_id", "terminal", "action", "dwell_ms")
    shown = impressions.select(
        "ds",
        "user_id",
        "terminal",
        F.lit("impression").alias("action"),
        F.lit(None).cast("bigint").alias("dwell_ms"),
    )
    return (
        acted.unionByName(shown)
        .where("terminal IS NOT NULL")
        .groupBy("ds", "user_id", "terminal")
        .agg(
            F.count_if(F.col("action") != "impression").cast("int").alias("actions"),
            count_of("impression").alias("impressions"),
            count_of("click").alias("clicks"),
            count_of("login").alias("logins"),
            F.coalesce(F.sum("dwell_ms"), F.lit(0)).alias("dwell_ms"),
        )
    )
