"""How active each user has been, up to and including ds."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.windows import decay, spread, summed
from jobs.contract import Column, DayRange, Table, TableInput, between

WINDOWS = (1, 7, 28)
SUMS = ("impressions", "clicks", "targets", "purchases", "negatives")


@dataclass(frozen=True)
class Params:
    """``half_life_days`` of the activity score; prior of the smoothed click rate as showings and clicks."""

    half_life_days: float = 7.0
    prior_impressions: float = 50.0
    prior_clicks: float = 2.0


CONTRACT = Table(
    name="features.user_activity",
    group="features",
    owner="user-understanding",
    description="How active each user of the last 28 days has been: counts by window, recency, decayed activity.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        *[
            Column(f"{name}_{n}d", "int", f"Sum of {name} in the {n} days ending on ds.")
            for name in SUMS
            for n in WINDOWS
        ],
        Column("active_days_7d", "int", "Days with any action in the 7 days ending on ds.", "days"),
        Column("active_days_28d", "int", "The same over 28 days.", "days"),
        Column("days_since_active", "int", "Days since the last action or showing.", "days"),
        Column("dwell_ms_7d", "bigint", "Time spent in 7 days.", "ms"),
        Column("amount_minor_28d", "bigint", "Amount bought in 28 days.", "minor"),
        Column("ctr_28d", "double", "Clicks by showings over 28 days, smoothed by the prior.", digits=6),
        Column("activity", "double", "Actions weighted by 2^(-age/half-life).", digits=6),
    ],
    keys=["user_id"],
    inputs=[TableInput("silver.user_daily", days=28)],
    checks=[
        between("clicks_7d", 0, 500_000, verdict="warn"),
        between("ctr_28d", 0, 1),
        between("active_days_28d", 0, 28),
    ],
)


def build(user_daily: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    acted = F.col("clicks") + F.col("targets") + F.col("purchases") + F.col("logins")
    is_active = F.when(acted > 0, F.col("event_ds"))
    clicks, shown = summed("clicks", 28, "double"), summed("impressions", 28, "double")
    return (
        spread(user_daily, days, 28)
        .groupBy("ds", "user_id")
        .agg(
            *[summed(name, n).alias(f"{name}_{n}d") for name in SUMS for n in WINDOWS],
            F.count_distinct(F.when(F.col("age") < 7, is_active)).cast("int").alias("active_days_7d"),
            F.count_distinct(is_active).cast("int").alias("active_days_28d"),
            F.min("age").alias("days_since_active"),
            summed("dwell_ms", 7, "bigint").alias("dwell_ms_7d"),
            summed("amount_minor", 28, "bigint").alias("amount_minor_28d"),
            # data without impressions has clicks or sales all the same: the rate stays within [0, 1]
            F.least(
                F.lit(1.0), (clicks + params.prior_clicks) / (F.greatest(shown, clicks) + params.prior_impressions)
            ).alias("ctr_28d"),
            F.sum(acted * decay(params.half_life_days)).alias("activity"),
        )
    )
