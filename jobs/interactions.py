"""What counts as an interaction: one definition for every aggregate, feature and label."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

PURCHASE = "purchase"
SAVE = "favourite"
NEGATIVE = ("dislike", "not_interested", "block_author")
REFUSALS = (*NEGATIVE, "already_purchased")
"""What asks not to see an item: it leaves the lists within minutes, and stays away for a week."""
FOLLOW, UNFOLLOW = ("follow_author",), ("unfollow_author", "block_author")
"""What begins and what ends that a user follows the creator of an item."""
STRENGTH: Mapping[str, float] = MappingProxyType(
    {
        "click": 1.0,
        "view": 0.5,
        SAVE: 3.0,
        "add_to_cart": 4.0,
        PURCHASE: 5.0,
        "like": 2.0,
        "comment": 2.0,
        "share": 3.0,
        "follow_author": 3.0,
    }
)
"""Strength of a preference by action; an action that is not listed says nothing of taste."""


def interactions(events: DataFrame, orders: DataFrame) -> DataFrame:
    """Events on items, and sales as the action ``purchase``: a purchase is a sale line, whoever tracked it.

    Returns
    -------
    DataFrame
        ``ds, user_id, item_id, at_ms, action, dwell_ms, play_ratio, amount_minor``.
    """
    acted = events.where(F.col("item_id").isNotNull() & (F.col("action") != PURCHASE)).select(
        "ds",
        "user_id",
        "item_id",
        "at_ms",
        "action",
        "dwell_ms",
        "play_ratio",
        F.lit(None).cast("bigint").alias("amount_minor"),
    )
    sold = orders.where("kind = 'sale'").select(
        "ds",
        "user_id",
        "item_id",
        "at_ms",
        F.lit(PURCHASE).alias("action"),
        F.lit(None).cast("bigint").alias("dwell_ms"),
        F.lit(None).cast("double").alias("play_ratio"),
        "amount_minor",
    )
    return acted.unionByName(sold)


def strength(action: Column) -> Column:
    """Strength of an action's preference, 0 for actions that say nothing of taste."""
    pairs = [F.lit(x) for item in STRENGTH.items() for x in item]
    return F.coalesce(F.try_element_at(F.create_map(*pairs), action), F.lit(0.0))


def mean_of(column: str) -> Column:
    """Mean of a measured number, the same in any order of the rows.

    It is of decimals: a mean of numbers with few digits may lie on the edge of rounding, where the order of a sum of
    doubles decides. What is too large for any measurement counts as not known.
    """
    return F.avg(F.col(column).try_cast("decimal(18,6)")).cast("double")


def count_of(*actions: str) -> Column:
    """Number of rows with one of the actions, as INT."""
    return F.count_if(F.col("action").isin(*actions)).cast("int")
