"""How each offered item has done, up to and including ds."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.windows import spread, summed
from jobs.contract import Column, DayRange, Table, TableInput, between
from jobs.settings import Market

WINDOWS = (1, 7, 28)
SUMS = ("impressions", "clicks", "targets", "target_users", "purchases", "negatives")


@dataclass(frozen=True)
class Params:
    """Priors of the smoothed rates, and the share of items by exposure that is the head."""

    prior_impressions: float = 100.0
    prior_clicks: float = 4.0
    head_share: float = 0.2


CONTRACT = Table(
    name="features.item_stats",
    group="features",
    owner="item-understanding",
    description="Popularity windows, rates, quality, price move, age and eligibility of every known item.",
    columns=[
        Column("item_id", "bigint", "Surrogate item key."),
        *[
            Column(f"{name}_{n}d", "int", f"Sum of {name} in the {n} days ending on ds.")
            for name in SUMS
            for n in WINDOWS
        ],
        Column("ctr_28d", "double", "Clicks by showings over 28 days, smoothed by the prior.", digits=6),
        Column("completion_28d", "double", "Mean play ratio, capped at 1; null where never played.", digits=6),
        Column("negative_rate_28d", "double", "Negative actions by showings (or actions), smoothed.", digits=6),
        Column("rating_28d", "double", "Mean rating of reviews; null where there is none.", digits=4),
        Column("ratings_28d", "int", "Ratings behind it."),
        Column("price_minor", "bigint", "Price.", "minor"),
        Column("price_drop", "double", "1 - price / highest price in 28 days.", digits=6),
        Column("age_days", "int", "Days since it was first offered; null where not known.", "days"),
        Column("popularity", "double", "Percentile rank by users with a target action in 7 days, 1 is most.", digits=6),
        Column("is_long_tail", "boolean", "Outside the top 20 % of items by exposure in 28 days."),
        Column("is_eligible", "boolean", "May be recommended: active, in stock."),
    ],
    keys=["item_id"],
    inputs=[TableInput("silver.items", days=28), TableInput("silver.item_daily", days=28)],
    checks=[between("ctr_28d", 0, 1), between("price_drop", 0, 1), between("popularity", 0, 1)],
)


def build(items: DataFrame, item_daily: DataFrame, *, days: DayRange, params: Params, market: Market) -> DataFrame:
    clicks, shown = summed("clicks", 28, "double"), summed("impressions", 28, "double")
    actions = F.greatest(shown, summed("targets", 28, "double"))
    stats = (
        spread(item_daily, days, 28)
        .groupBy("ds", "item_id")
        .agg(
            *[summed(name, n).alias(f"{name}_{n}d") for name in SUMS for n in WINDOWS],
            F.least(
                F.lit(1.0), (clicks + params.prior_clicks) / (F.greatest(shown, clicks) + params.prior_impressions)
            ).alias("ctr_28d"),
            F.try_divide(F.sum("play_sum"), F.sum("plays")).alias("completion_28d"),
            (summed("negatives", 28, "double") / (actions + params.prior_impressions)).alias("negative_rate_28d"),
            F.try_divide(F.sum("rating_sum"), F.sum("ratings")).alias("rating_28d"),
            F.sum("ratings").cast("int").alias("ratings_28d"),
        )
    )
    highest = (
        spread(items.select("ds", "item_id", F.col("price_minor").alias("_price")), days, 28)
        .groupBy("ds", "item_id")
        .agg(F.max("_price").alias("_highest"))
    )
    zero = {f"{name}_{n}d": 0 for name in SUMS for n in WINDOWS} | {"ratings_28d": 0, "negative_rate_28d": 0.0}
    by_day = Window.partitionBy("ds")
    exposure = F.greatest("impressions_28d", "targets_28d")
    offered = F.from_utc_timestamp(F.timestamp_millis("created_at_ms"), market.timezone).cast("date")
    head = F.row_number().over(by_day.orderBy(exposure.desc(), "item_id"))
    known = items.where(days.where()).select("ds", "item_id", "price_minor", "stock", "status", "created_at_ms")
    return (
        known.join(stats, ["ds", "item_id"], "left")
        .join(highest, ["ds", "item_id"], "left")
        .fillna(zero)
        .fillna({"ctr_28d": params.prior_clicks / params.prior_impressions})
        .withColumn("price_drop", F.coalesce(1 - F.try_divide("price_minor", "_highest"), F.lit(0.0)))
        .withColumn("age_days", F.datediff("ds", offered))
        .withColumn("popularity", F.percent_rank().over(by_day.orderBy("target_users_7d", "target_users_28d")))
        .withColumn("is_long_tail", head > params.head_share * F.count(F.lit(1)).over(by_day))
        .withColumn(
            "is_eligible", (F.coalesce("status", F.lit("active")) == "active") & (F.coalesce("stock", F.lit(1)) > 0)
        )
    )
