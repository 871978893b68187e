"""How each offered item has done, up to and including ds."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.quality import excess, mixed, shrunk
from features.windows import spread, summed
from jobs.contract import Column, DayRange, Ranked, Table, TableInput, between
from jobs.settings import Market

WINDOWS = (1, 7, 28)
TAKEDOWN_DAYS = 400
"""How long a takedown holds by itself; by then the source has delisted the item."""
SUMS = ("impressions", "clicks", "targets", "target_users", "purchases", "negatives")
_TOTALS = ("_play_sum", "_plays", "_rating_sum", "ratings_28d", "negatives_28d", "_seen")


@dataclass(frozen=True)
class Params:
    """Priors of the smoothed rates, the share of items by exposure that is the head, weights of the quality."""

    prior_impressions: float = 100.0
    prior_clicks: float = 4.0
    prior_plays: float = 20.0
    prior_ratings: float = 5.0
    prior_negatives: float = 5.0
    head_share: float = 0.2
    completion_weight: float = 0.4
    rating_weight: float = 0.4
    negative_weight: float = 0.2


CONTRACT = Table(
    name="features.item_stats",
    group="features",
    owner="item-understanding",
    description="What every known item is, its popularity windows, rates, quality, price move, age and "
    "eligibility. Quality is the weighted mean of completion, rating / 5 and refusals as 1 - x, held against the "
    "market's mean (features.quality); a part that the market has no data of is left out.",
    columns=[
        Column("item_id", "bigint", "Surrogate item key."),
        Column("category", "string", "Primary category."),
        Column("brand", "string", "Brand."),
        Column("creator_id", "bigint", "Creator, seller or manufacturer."),
        *[
            Column(f"{name}_{n}d", "int", f"Sum of {name} in the {n} days ending on ds.")
            for name in SUMS
            for n in WINDOWS
        ],
        Column(
            "ctr_28d",
            "double",
            "Clicks by showings over 28 days, smoothed by the prior; null where the market showed nothing.",
            digits=6,
        ),
        Column("completion_28d", "double", "Mean play ratio, capped at 1; null where never played.", digits=6),
        Column(
            "negative_rate_28d",
            "double",
            "Negative actions by showings (or actions), smoothed; null where the market has none.",
            digits=6,
        ),
        Column("rating_28d", "double", "Mean rating of reviews; null where there is none.", digits=4),
        Column("ratings_28d", "int", "Ratings behind it."),
        Column("quality_completion", "double", "Mean play ratio in 28 days, shrunk.", digits=6),
        Column("quality_rating", "double", "Mean rating in 28 days, shrunk.", digits=6),
        Column(
            "quality_negative", "double", "Refusals against those to expect of the showings: 0.5 is as many.", digits=6
        ),
        Column("quality", "double", "Weighted mean of the parts, from 0 to 1.", digits=6),
        Column("price_minor", "bigint", "Price.", "minor"),
        Column("highest_price_minor", "bigint", "Highest price in 28 days.", "minor"),
        Column("price_drop", "double", "1 - price / highest price in 28 days.", digits=6),
        Column("discount_28d", "double", "Part of the full amount that sales of 28 days were discounted.", digits=6),
        Column("age_days", "int", "Days since it was first offered; null where not known.", "days"),
        Column("popularity", "double", "Percentile rank by users with a target action in 7 days, 1 is most.", digits=6),
        Column("is_long_tail", "boolean", "Outside the top 20 % of items by exposure in 28 days."),
        Column("is_eligible", "boolean", "May be recommended: active, in stock, not taken down."),
    ],
    keys=["item_id"],
    inputs=[
        TableInput("silver.items", days=28),
        TableInput("silver.item_daily", days=28),
        TableInput("ops.takedown", days=TAKEDOWN_DAYS, optional=True),
    ],
    checks=[
        between("ctr_28d", 0, 1),
        between("price_drop", 0, 1),
        between("discount_28d", 0, 1),
        between("popularity", 0, 1),
        between("quality", 0, 1),
    ],
    ranked=[
        Ranked(
            "item_",
            "item_id",
            [
                "impressions_7d",
                "targets_1d",
                "targets_7d",
                "targets_28d",
                "target_users_7d",
                "target_users_28d",
                "purchases_28d",
                "ctr_28d",
                "completion_28d",
                "rating_28d",
                "ratings_28d",
                "quality",
                "price_minor",
                "price_drop",
                "discount_28d",
                "age_days",
                "popularity",
            ],
        )
    ],
)


def on_offer() -> SparkColumn:
    """True for an item (of ``silver.items``) that is active and in stock."""
    return (F.coalesce("status", F.lit("active")) == "active") & (F.coalesce("stock", F.lit(1)) > 0)


def taken_down(takedown: DataFrame, days: DayRange) -> DataFrame:
    """``ds, item_id`` of the items that the last given of the orders up to the end of each day takes down.

    Orders follow each other by time and not by day: after a rollback they are of an earlier day than those before.
    """
    newest = F.max_by("active", F.struct("at_ms", "active"))
    orders = spread(takedown, days, TAKEDOWN_DAYS).groupBy("ds", "item_id").agg(newest.alias("active"))
    return orders.where("active").select("ds", "item_id")


def build(
    items: DataFrame,
    item_daily: DataFrame,
    takedown: DataFrame,
    *,
    days: DayRange,
    params: Params,
    market: Market,
) -> DataFrame:
    highest = (
        spread(items.select("ds", "item_id", F.col("price_minor").alias("_price")), days, 28)
        .groupBy("ds", "item_id")
        .agg(F.max("_price").alias("highest_price_minor"))
    )
    counts = [f"{name}_{n}d" for name in SUMS for n in WINDOWS]
    by_day = Window.partitionBy("ds")
    exposure = F.greatest("impressions_28d", "targets_28d")
    offered = F.from_utc_timestamp(F.timestamp_millis("created_at_ms"), market.timezone).cast("date")
    head = F.row_number().over(by_day.orderBy(exposure.desc(), "item_id"))
    of_market = {name: F.sum(name).over(by_day) for name in (*_TOTALS, "impressions_28d")}
    return (
        items.where(days.where())
        .join(_sums(item_daily, days, params), ["ds", "item_id"], "left")
        .join(highest, ["ds", "item_id"], "left")
        .fillna(0, [*counts, *_TOTALS])
        .withColumns(_rates(params, of_market) | _parts(params, of_market))
        .withColumn("quality", _quality(params))
        .withColumn("price_drop", F.coalesce(1 - F.try_divide("price_minor", "highest_price_minor"), F.lit(0.0)))
        .withColumn("age_days", F.datediff("ds", offered))
        .withColumn("popularity", F.percent_rank().over(by_day.orderBy("target_users_7d", "target_users_28d")))
        .withColumn("is_long_tail", head > params.head_share * F.count(F.lit(1)).over(by_day))
        .join(F.broadcast(taken_down(takedown, days).withColumn("_down", F.lit(True))), ["ds", "item_id"], "left")
        .withColumn("is_eligible", on_offer() & F.col("_down").isNull())
    )


def _sums(item_daily: DataFrame, days: DayRange, params: Params) -> DataFrame:
    clicks, shown = summed("clicks", 28, "double"), summed("impressions", 28, "double")
    seen = F.greatest(shown, summed("targets", 28, "double"))
    discount = F.sum("discount_minor")
    return (
        spread(item_daily, days, 28)
        .groupBy("ds", "item_id")
        .agg(
            *[summed(name, n).alias(f"{name}_{n}d") for name in SUMS for n in WINDOWS],
            F.least(
                F.lit(1.0), (clicks + params.prior_clicks) / (F.greatest(shown, clicks) + params.prior_impressions)
            ).alias("ctr_28d"),
            F.try_divide(F.sum("play_sum"), F.sum("plays")).alias("completion_28d"),
            (summed("negatives", 28, "double") / (seen + params.prior_impressions)).alias("negative_rate_28d"),
            F.try_divide(F.sum("rating_sum"), F.sum("ratings")).alias("rating_28d"),
            F.sum("ratings").cast("int").alias("ratings_28d"),
            F.try_divide(discount, F.sum("amount_minor") + discount).alias("discount_28d"),
            F.sum("play_sum").alias("_play_sum"),
            F.sum("plays").alias("_plays"),
            F.sum("rating_sum").alias("_rating_sum"),
            seen.alias("_seen"),
        )
    )


def _rates(params: Params, of_market: dict[str, SparkColumn]) -> dict[str, SparkColumn]:
    """The smoothed rates, the prior's for an item that nothing happened to; null where the market cannot know any."""
    prior = F.lit(params.prior_clicks / params.prior_impressions)
    return {
        "ctr_28d": F.when(of_market["impressions_28d"] > 0, F.coalesce("ctr_28d", prior)),
        "negative_rate_28d": F.when(of_market["negatives_28d"] > 0, F.coalesce("negative_rate_28d", F.lit(0.0))),
    }


def _parts(params: Params, of_market: dict[str, SparkColumn]) -> dict[str, SparkColumn]:
    """The three parts of the quality; null where the market has no data of them."""
    completion = F.try_divide(of_market["_play_sum"], of_market["_plays"])
    rating = F.try_divide(of_market["_rating_sum"], of_market["ratings_28d"])
    refusals = F.try_divide(of_market["negatives_28d"], of_market["_seen"])
    return {
        "quality_completion": shrunk(F.col("_play_sum"), F.col("_plays"), completion, params.prior_plays),
        "quality_rating": shrunk(F.col("_rating_sum"), F.col("ratings_28d"), rating, params.prior_ratings),
        "quality_negative": excess(F.col("negatives_28d"), F.col("_seen"), refusals, params.prior_negatives),
    }


def _quality(params: Params) -> SparkColumn:
    return mixed(
        [
            (F.col("quality_completion"), params.completion_weight),
            (F.col("quality_rating") / 5, params.rating_weight),
            (1 - F.col("quality_negative"), params.negative_weight),
        ]
    )
