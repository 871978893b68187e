"""One list of candidates per user from all channels, with where each came from."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between
from jobs.settings import Market
from models import eligibility
from models.recall import CHANNELS
from quality.badcases import stop_loss

BLOCK_DAYS = 7


@dataclass(frozen=True)
class Params:
    """``budget`` candidates per user; ``k`` damps the difference of high ranks in reciprocal rank fusion."""

    budget: int = 200
    k: int = 60


CONTRACT = Table(
    name="candidates.fused",
    group="candidates",
    owner="candidates",
    description="Channels fused by weighted reciprocal rank, sum of weight / (60 + rank) (Cormack et al., 2009); "
    "what the user may not see (region, age), rejected or bought in 7 days is out, as is what a bad case stops; bought "
    "ones stay where their category may repeat.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("item_id", "bigint", "Surrogate item key."),
        Column("rank", "int", "Place in the fused list, from 1."),
        Column("score", "double", "Fused score.", digits=9),
        Column("channel", "string", "The channel that contributed most."),
        Column("channels", "array<string>", "All channels that found it, by name."),
        Column("seed_item_id", "bigint", "The user's item that led to it in a channel that names one."),
    ],
    keys=["user_id", "item_id"],
    inputs=[
        TableInput("candidates.recall"),
        TableInput("silver.user_item_daily", days=BLOCK_DAYS),
        TableInput("silver.events", days=BLOCK_DAYS, optional=True),
        TableInput("silver.items"),
        TableInput("features.user_profile"),
        stop_loss.INPUT,
    ],
    checks=[between("rank", 1, 1000)],
    grain="day",
)


def excluded(
    user_item_daily: DataFrame, events: DataFrame, items: DataFrame, days: DayRange, market: Market
) -> DataFrame:
    """Pairs ``ds, user_id, item_id`` that must not be shown on a day: rejected, blocked or just bought."""
    day = F.lit(days.last)
    bought = F.col("purchases") > 0
    if "*" in market.repeat_categories:
        bought = F.lit(False)
    elif market.repeat_categories:
        bought = bought & ~F.col("category").isin(*market.repeat_categories)
    categories = items.select("item_id", "category")
    pairs = (
        user_item_daily.where("rejections > 0 OR purchases > 0")
        .join(categories, "item_id", "left")
        .where((F.col("rejections") > 0) | bought)
        .select(day.alias("ds"), "user_id", "item_id")
    )
    creators = items.where("creator_id IS NOT NULL").select("item_id", "creator_id")
    blocked = events.where("action = 'block_author'").join(creators, "item_id").select("user_id", "creator_id")
    theirs = blocked.distinct().join(creators, "creator_id").select(day.alias("ds"), "user_id", "item_id")
    return pairs.unionByName(theirs).distinct()


def weight_of(channel: SparkColumn) -> SparkColumn:
    pairs = [F.lit(x) for name, each in CHANNELS.items() for x in (name, each.channel.weight)]
    return F.coalesce(F.try_element_at(F.create_map(*pairs), channel), F.lit(1.0))


def build(
    recall: DataFrame,
    user_item_daily: DataFrame,
    events: DataFrame,
    items: DataFrame,
    user_profile: DataFrame,
    badcases: DataFrame,
    *,
    days: DayRange,
    params: Params,
    market: Market,
) -> DataFrame:
    part = F.round(weight_of(F.col("channel")) / (F.lit(params.k) + F.col("rank")), 9)
    fused = (
        recall.withColumn("part", part)
        .groupBy("ds", "user_id", "item_id")
        .agg(
            F.sum("part").alias("score"),
            F.max_by("channel", F.struct("part", "channel")).alias("channel"),
            F.array_sort(F.collect_set("channel")).alias("channels"),
            F.max_by("seed_item_id", F.struct(F.col("seed_item_id").isNotNull(), "part", "seed_item_id")).alias(
                "seed_item_id"
            ),
        )
    )
    out = excluded(user_item_daily, events, items, days, market)
    best = Window.partitionBy("ds", "user_id").orderBy(F.round("score", 9).desc(), "item_id")
    return (
        eligibility.for_people(stop_loss.without_stopped(fused, badcases), items, user_profile)
        .join(out, ["ds", "user_id", "item_id"], "left_anti")
        .withColumn("rank", F.row_number().over(best))
        .where(F.col("rank") <= params.budget)
    )
