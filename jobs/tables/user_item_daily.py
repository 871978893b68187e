"""``silver.user_item_daily``: what each user did with each item in a day; the base of collaborative models."""

from __future__ import annotations

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, NoParams, Table, TableInput, between, in_set
from jobs.interactions import FOLLOW, NEGATIVE, PURCHASE, REFUSALS, UNFOLLOW, count_of, interactions, strength
from jobs.landing import allowed, feed
from jobs.settings import Market

CONTRACT = Table(
    name="silver.user_item_daily",
    group="silver",
    owner="user-understanding",
    description="Showings, actions and strength of preference of each user and item in the day.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("item_id", "bigint", "Surrogate item key."),
        Column("impressions", "int", "Times shown."),
        Column("shown_on", "array<string>", "Surfaces on which it was shown."),
        Column("clicks", "int", "Clicks."),
        Column("targets", "int", "Actions that the market counts as success."),
        Column("purchases", "int", "Sale lines."),
        Column("negatives", "int", "Dislikes, not interested, blocked authors."),
        Column("rejections", "int", "Not interested, dislike, blocked author, already purchased: asked not to see it."),
        Column(
            "follows",
            "int",
            "The creator, by the day's last such action on the item: 1 followed, -1 unfollowed or blocked, 0 none.",
        ),
        Column("strength", "double", "Sum of the strengths of the actions (jobs.interactions).", digits=4),
        Column("dwell_ms", "bigint", "Time spent.", unit="ms"),
        Column("last_ms", "bigint", "Last action or showing.", unit="ms"),
    ],
    keys=["user_id", "item_id"],
    inputs=[TableInput("silver.events"), TableInput("silver.orders"), TableInput("silver.impressions")],
    checks=[between("strength", 0, None), in_set("follows", (-1, 0, 1))],
)


def build(
    events: DataFrame, orders: DataFrame, impressions: DataFrame, *, days: DayRange, params: NoParams, market: Market
) -> DataFrame:
    shown = impressions.select(
        "ds",
        "user_id",
        "item_id",
        "at_ms",
        "surface",
        F.lit("impression").alias("action"),
        F.lit(None).cast("bigint").alias("dwell_ms"),
    )
    nowhere = F.lit(None).cast("string")
    acted = interactions(events, orders).withColumn("surface", nowhere).select(*shown.columns)
    # one maximum a surface: an aggregation that collects is slower
    surfaces = sorted(allowed(feed("impressions").field("surface"), market))
    shown_on = F.array(*[F.when(F.max(F.col("surface") == name), F.lit(name)) for name in surfaces])
    return (
        acted.unionByName(shown)
        .groupBy("ds", "user_id", "item_id")
        .agg(
            count_of("impression").alias("impressions"),
            F.array_compact(shown_on).alias("shown_on"),
            count_of("click").alias("clicks"),
            count_of(*market.target).alias("targets"),
            count_of(PURCHASE).alias("purchases"),
            count_of(*NEGATIVE).alias("negatives"),
            count_of(*REFUSALS).alias("rejections"),
            _follows().alias("follows"),
            F.sum(strength(F.col("action"))).alias("strength"),
            F.coalesce(F.sum("dwell_ms"), F.lit(0)).alias("dwell_ms"),
            F.max("at_ms").alias("last_ms"),
        )
    )


def _follows() -> SparkColumn:
    """By the last of the actions; of two at the same moment, the one that ends it."""
    followed, ended = (F.max(F.when(F.col("action").isin(*names), F.col("at_ms"))) for names in (FOLLOW, UNFOLLOW))
    return F.when(followed.isNull() & ended.isNull(), 0).when(followed > F.coalesce(ended, F.lit(-1)), 1).otherwise(-1)
