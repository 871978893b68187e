"""How active each user has been, up to and including ds."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features import half_life as half_lives
from features.half_life import acted, tuned
from features.windows import decay, seen_in_market, spread, summed
from jobs.contract import Column, DayRange, Ranked, Table, TableInput, between
from jobs.errors import ContractError

WINDOWS = (1, 7, 28)
SUMS = (
    "impressions",
    "clicks",
    "targets",
    "purchases",
    "negatives",
    "favourites",
    "add_to_carts",
    "likes",
    "comments",
    "shares",
    "logins",
)
RATES = {
    "favourite_rate_28d": ("favourites", "clicks"),
    "add_to_cart_rate_28d": ("add_to_carts", "clicks"),
    "purchase_rate_28d": ("purchases", "clicks"),
    "like_rate_28d": ("likes", "clicks"),
    "comment_rate_28d": ("comments", "clicks"),
    "share_rate_28d": ("shares", "clicks"),
    "negative_rate_28d": ("negatives", "impressions"),
}
"""Plain quotients, as (numerator, denominator)."""


@dataclass(frozen=True)
class Params:
    """Options.

    Parameters
    ----------
    half_life_days, min_targets
        Half-life of the activity score where fewer than ``min_targets`` of the last 28 days were forecast
        (``features.half_life``); else the tuned one.
    prior_impressions, prior_clicks
        Prior of the smoothed click rate.
    active_logins, active_clicks, active_days
        An active user has so many logins and clicks within so many days: by default those of the metric
        ``active_users`` in force, which a test holds equal.
    """

    half_life_days: float = 7.0
    min_targets: int = 500
    prior_impressions: float = 50.0
    prior_clicks: float = 2.0
    active_logins: int = 3
    active_clicks: int = 10
    active_days: int = 7

    def __post_init__(self) -> None:
        if not 1 <= self.active_days <= 28:
            raise ContractError(
                f"features.user_activity: active_days must be from 1 to 28, the days that it reads, "
                f"not {self.active_days}."
            )


CONTRACT = Table(
    name="features.user_activity",
    group="features",
    owner="user-understanding",
    description="How active each user of the last 28 days has been: counts and rates by window, recency, decayed "
    "activity, and who is an active user.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        *[
            Column(f"{name}_{n}d", "int", f"Sum of {name} in the {n} days ending on ds.")
            for name in SUMS
            for n in WINDOWS
        ],
        Column("active_days_7d", "int", "Days with any action in the 7 days ending on ds.", "days"),
        Column("active_days_28d", "int", "The same over 28 days.", "days"),
        Column("days_since_active", "int", "Days since the last action, showing or answer to a survey.", "days"),
        Column("dwell_ms_7d", "bigint", "Time spent in 7 days.", "ms"),
        Column("amount_minor_28d", "bigint", "Amount bought in 28 days.", "minor"),
        Column(
            "ctr_28d",
            "double",
            "Clicks by showings over 28 days, smoothed by the prior; null where nobody was shown anything.",
            digits=6,
        ),
        *[
            Column(name, "double", f"{top.capitalize()} by {bottom} over 28 days; null without {bottom}.", digits=6)
            for name, (top, bottom) in RATES.items()
        ],
        Column(
            "is_active",
            "boolean",
            "Active user: 3 or more logins and 10 or more clicks in the last 7 days (options active_*). Null where "
            "nobody logged in during those days: such data has no logins, and cannot say.",
        ),
        Column("activity", "double", "Actions weighted by 2^(-age/half-life), by the tuned half-life.", digits=6),
    ],
    keys=["user_id"],
    inputs=[
        TableInput("silver.user_daily", days=28),
        TableInput("features.half_life", days=half_lives.WINDOW, optional=True),
    ],
    checks=[
        between("clicks_7d", 0, 500_000, verdict="warn"),
        between("ctr_28d", 0, 1),
        between("active_days_28d", 0, 28),
    ],
    ranked=[
        Ranked(
            "user_",
            "user_id",
            [
                "clicks_1d",
                "clicks_7d",
                "clicks_28d",
                "targets_7d",
                "targets_28d",
                "purchases_28d",
                "negatives_28d",
                "active_days_7d",
                "active_days_28d",
                "days_since_active",
                "ctr_28d",
                "activity",
            ],
        )
    ],
)


def build(user_daily: DataFrame, half_life: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    by_day = tuned(half_life, days, params.min_targets).withColumnRenamed("half_life_days", "tuned")
    # data such as a shop's receipts has neither on any day
    known = seen_in_market(
        user_daily, days, {"has_logins": ("logins", params.active_days), "has_showings": ("impressions", 28)}
    )
    rows = (
        spread(user_daily, days, 28)
        .join(F.broadcast(by_day), "ds", "left")
        .join(F.broadcast(known), "ds", "left")
        .withColumn("weight", decay(F.coalesce("tuned", F.lit(params.half_life_days))))
    )
    did = acted() + sum(F.col(c) for c in ("favourites", "add_to_carts", "likes", "comments", "shares", "negatives"))
    clicks, shown = summed("clicks", 28, "double"), summed("impressions", 28, "double")
    logged_in, clicked = summed("logins", params.active_days), summed("clicks", params.active_days)
    is_active = (logged_in >= params.active_logins) & (clicked >= params.active_clicks)
    # who clicked outside of any showing has a rate within [0, 1] all the same
    ctr = (clicks + params.prior_clicks) / (F.greatest(shown, clicks) + params.prior_impressions)
    return rows.groupBy("ds", "user_id").agg(
        *[summed(name, n).alias(f"{name}_{n}d") for name in SUMS for n in WINDOWS],
        # a user has one row a day
        F.count_if((did > 0) & (F.col("age") < 7)).cast("int").alias("active_days_7d"),
        F.count_if(did > 0).cast("int").alias("active_days_28d"),
        F.min("age").alias("days_since_active"),
        summed("dwell_ms", 7, "bigint").alias("dwell_ms_7d"),
        summed("amount_minor", 28, "bigint").alias("amount_minor_28d"),
        F.when(F.max("has_showings"), F.least(F.lit(1.0), ctr)).alias("ctr_28d"),
        *[F.try_divide(summed(top, 28), summed(bottom, 28)).alias(name) for name, (top, bottom) in RATES.items()],
        F.when(F.max("has_logins"), is_active).alias("is_active"),
        F.sum(acted() * F.col("weight")).alias("activity"),
    )
