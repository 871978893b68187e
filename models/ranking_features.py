"""The inputs of every ranker: one definition for training and scoring, so they cannot drift apart.

``assemble`` joins what was known of a user, an item and the pair at the end of a day (``ds``). Sensitive
attributes are not among the features; a test holds this list against the contracts.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.user_interests import KINDS, price_band
from features.windows import decay, spread
from jobs.contract import DayRange, TableInput

PAIR_HORIZON = 90
USER = (
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
)
ITEM = (
    "impressions_7d",
    "targets_1d",
    "targets_7d",
    "targets_28d",
    "target_users_7d",
    "target_users_28d",
    "purchases_28d",
    "ctr_28d",
    "completion_28d",
    "negative_rate_28d",
    "rating_28d",
    "ratings_28d",
    "price_minor",
    "price_drop",
    "age_days",
    "popularity",
)
PROFILE = ("tenure_days", "city_tier")
PAIR = ("pair_strength", "pair_targets", "pair_purchases", "pair_impressions", "pair_age_days")
INTEREST = tuple(f"share_{kind}" for kind in KINDS)
CONTEXT = ("position",)
FEATURES = (
    *[f"user_{c}" for c in USER],
    *[f"item_{c}" for c in ITEM],
    *[f"profile_{c}" for c in PROFILE],
    *PAIR,
    *INTEREST,
    *CONTEXT,
)


def inputs(lag: int = 0, days: int = 1) -> list[TableInput]:
    """The tables that ``assemble`` reads, for days that end ``lag`` before the built day."""
    return [
        TableInput("features.user_activity", lag=lag, days=days),
        TableInput("features.user_profile", lag=lag, days=days),
        TableInput("features.user_interests", lag=lag, days=days),
        TableInput("features.item_stats", lag=lag, days=days),
        TableInput("silver.items", lag=lag, days=days),
        TableInput("silver.user_item_daily", lag=lag, days=PAIR_HORIZON + days - 1),
    ]


def assemble(
    pairs: DataFrame,
    days: DayRange,
    user_activity: DataFrame,
    user_profile: DataFrame,
    user_interests: DataFrame,
    item_stats: DataFrame,
    items: DataFrame,
    user_item_daily: DataFrame,
) -> DataFrame:
    """Add the features to pairs.

    Parameters
    ----------
    pairs
        ``ds`` (the day at whose end things were known), ``user_id``, ``item_id``, ``position`` and any more.
    days
        The days that occur in ``pairs``.

    Returns
    -------
    DataFrame
        ``pairs`` with every column of ``FEATURES`` as FLOAT; unknown is null.
    """
    history = (
        spread(user_item_daily, days, PAIR_HORIZON)
        .join(pairs.select("ds", "user_id", "item_id").distinct(), ["ds", "user_id", "item_id"], "left_semi")
        .groupBy("ds", "user_id", "item_id")
        .agg(
            F.round(F.sum(F.col("strength") * decay(14.0)), 6).alias("pair_strength"),
            F.sum("targets").alias("pair_targets"),
            F.sum("purchases").alias("pair_purchases"),
            F.sum("impressions").alias("pair_impressions"),
            F.min(F.when(F.col("strength") > 0, F.col("age"))).alias("pair_age_days"),
        )
    )
    shares = user_interests.groupBy("ds", "user_id").agg(
        F.map_from_entries(F.collect_list(F.struct(F.concat_ws(":", "kind", "value"), "share"))).alias("_shares")
    )
    named = items.select(
        "ds",
        "item_id",
        "category",
        "brand",
        F.col("creator_id").cast("string").alias("creator"),
        price_band(F.col("price_minor")).alias("price_band"),
    )
    users = user_activity.select("ds", "user_id", *[F.col(c).alias(f"user_{c}") for c in USER])
    profiles = user_profile.select("ds", "user_id", *[F.col(c).alias(f"profile_{c}") for c in PROFILE])
    stats = item_stats.select("ds", "item_id", *[F.col(c).alias(f"item_{c}") for c in ITEM])
    joined = (
        pairs.join(users, ["ds", "user_id"], "left")
        .join(profiles, ["ds", "user_id"], "left")
        .join(shares, ["ds", "user_id"], "left")
        .join(stats, ["ds", "item_id"], "left")
        .join(named, ["ds", "item_id"], "left")
        .join(history, ["ds", "user_id", "item_id"], "left")
    )
    share = {
        f"share_{kind}": F.coalesce(F.try_element_at("_shares", F.concat_ws(":", F.lit(kind), F.col(kind))), F.lit(0.0))
        for kind in KINDS
    }
    kept = [c for c in pairs.columns if c not in FEATURES]
    return joined.withColumns(share).select(*kept, *[F.col(c).cast("float").alias(c) for c in FEATURES])
