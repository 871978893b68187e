"""Channels over an inverted index: keys of users meet postings of keys, all channels in one join.

A key is what leads from a user to items: a category, a district, a creator.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as F

from features.windows import spread
from jobs.contract import DayRange
from models.channels.channel import Call

FOUND = ("ds", "channel", "user_id", "item_id", "score", "seed_item_id")
TAKEN_DAYS = 7
LONGEST_POSTING = 60


def key_of(*values: str | Column) -> Column:
    """A key of one or more values; null where one of them is."""
    columns = [F.col(v) if isinstance(v, str) else v for v in values]
    known = reduce(lambda a, b: a & b, [c.isNotNull() for c in columns])
    return F.when(known, F.xxhash64(*columns))


def recall(calls: Sequence[Call]) -> DataFrame:
    """Candidates of the channels: the sum over a user's keys of weight times the posting's score.

    Returns
    -------
    DataFrame
        ``FOUND``, the user's own items among them where a key leads there.
    """
    keys = reduce(DataFrame.unionByName, [_named(call, call("keys"), "user_id", "weight") for call in calls])
    keys = keys.where("key IS NOT NULL AND weight > 0")
    listed = [
        _named(call, call("postings"), "item_id", "score") for call in calls if "postings" in call.declared.functions
    ]
    shared = [call for call in calls if "postings" not in call.declared.functions]
    if shared:
        listed.append(_taken_by_key(shared, keys))
    part = F.round(F.col("weight") * F.col("score"), 9)
    found = (
        keys.join(F.broadcast(reduce(DataFrame.unionByName, listed)), ["ds", "channel", "key"])
        .groupBy("ds", "channel", "user_id", "item_id")
        .agg(F.sum(part).alias("score"))
        .withColumn("seed_item_id", F.lit(None).cast("bigint"))
    )
    return found.select(*FOUND)


def _named(call: Call, frame: DataFrame, *columns: str) -> DataFrame:
    return frame.select("ds", F.lit(call.channel.name).alias("channel"), "key", *columns)


def _taken_by_key(calls: Sequence[Call], keys: DataFrame) -> DataFrame:
    """Postings of the channels that have none of their own: what most users with the key took in 7 days."""
    names, days = [call.channel.name for call in calls], calls[0].days
    taken = taken_lately(calls[0].inputs["user_item_daily"], days)
    counted = (
        keys.where(F.col("channel").isin(*names))
        .join(taken, ["ds", "user_id"])
        .groupBy("ds", "channel", "key", "item_id")
        .agg(F.count(F.lit(1)).cast("double").alias("score"))
    )
    best = Window.partitionBy("ds", "channel", "key").orderBy(F.desc("score"), "item_id")
    return counted.withColumn("_nth", F.row_number().over(best)).where(F.col("_nth") <= LONGEST_POSTING).drop("_nth")


def taken_lately(user_item_daily: DataFrame, days: DayRange) -> DataFrame:
    """``ds, user_id, item_id``: who took what in the 7 days ending on each day."""
    return spread(user_item_daily.where("targets > 0"), days, TAKEN_DAYS).select("ds", "user_id", "item_id").distinct()


def top_of_key(items: DataFrame, length: int, *order: Column | str) -> DataFrame:
    """``ds, key, item_id, score``: the first ``length`` items of each key, which fall from 1 towards 0 by place.

    Scores by place make keys comparable: the best of a small category is worth what that of a large one is.
    """
    best = Window.partitionBy("ds", "key").orderBy(*order, "item_id")
    placed = items.where("key IS NOT NULL").withColumn("_nth", F.row_number().over(best))
    score = 1 - (F.col("_nth") - 1) / F.lit(length)
    return placed.where(F.col("_nth") <= length).select("ds", "key", "item_id", score.alias("score"))


def liked(user_interests: DataFrame, kind: str, n: int) -> DataFrame:
    """Keys of the ``n`` values of a kind that each user likes most, weighted by the share of them."""
    best = Window.partitionBy("ds", "user_id").orderBy(F.desc("weight"), "value")
    return (
        user_interests.where(F.col("kind") == kind)
        .withColumn("_nth", F.row_number().over(best))
        .where(F.col("_nth") <= n)
        .select("ds", "user_id", key_of("value").alias("key"), F.col("share").alias("weight"))
    )


def popular_first() -> tuple[Column, Column]:
    """Order of ``features.item_stats`` by different users in 7 days, then in 28."""
    return F.desc("target_users_7d"), F.desc("target_users_28d")


def by_creators(item_stats: DataFrame, creator_stats: DataFrame) -> DataFrame:
    """Eligible items with their category as key, their creator's ``stage_level`` and ``creator_quality``, and
    ``_of_creator``: the place among the creator's items by popularity.
    """
    creators = creator_stats.select(
        "ds", "creator_id", "stage", "stage_level", F.col("quality").alias("creator_quality")
    )
    of_creator = Window.partitionBy("ds", "creator_id").orderBy(*popular_first(), "item_id")
    return (
        item_stats.where("is_eligible")
        .join(F.broadcast(creators), ["ds", "creator_id"])
        .withColumn("_of_creator", F.row_number().over(of_creator))
        .withColumn("key", key_of("category"))
    )
