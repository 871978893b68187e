"""``silver.item_daily``: what happened to each item in a day."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, NoParams, Table, TableInput, between
from jobs.interactions import NEGATIVE, PURCHASE, count_of, interactions
from jobs.settings import Market

ENGAGED = ("favourite", "add_to_cart", "like", "comment", "share", PURCHASE)

CONTRACT = Table(
    name="silver.item_daily",
    group="silver",
    owner="item-understanding",
    description="Exposure, actions, sales, dwell and ratings of each item in the day.",
    columns=[
        Column("item_id", "bigint", "Surrogate item key."),
        Column("impressions", "int", "Times shown."),
        Column("clicks", "int", "Clicks."),
        Column("targets", "int", "Actions that the market counts as success."),
        Column("target_users", "int", "Different users with such an action."),
        Column("purchases", "int", "Sale lines."),
        Column("amount_minor", "bigint", "Amount of the sales.", unit="minor"),
        Column("discount_minor", "bigint", "Discount that the sales were given.", unit="minor"),
        Column("engagements", "int", "Actions that go beyond a look: " + ", ".join(ENGAGED) + "."),
        Column("negatives", "int", "Dislikes, not interested, blocked authors."),
        Column("dwell_ms", "bigint", "Time spent on it.", unit="ms"),
        Column("play_sum", "double", "Sum of the play ratios, capped at 1 each.", digits=6),
        Column("plays", "int", "Views with a play ratio."),
        Column("rating_sum", "double", "Sum of ratings in reviews.", digits=4),
        Column("ratings", "int", "Reviews with a rating."),
    ],
    keys=["item_id"],
    inputs=[
        TableInput("silver.events"),
        TableInput("silver.orders"),
        TableInput("silver.impressions"),
        TableInput("silver.reviews"),
    ],
    checks=[between("purchases", 0, None)],
)


def build(
    events: DataFrame,
    orders: DataFrame,
    impressions: DataFrame,
    reviews: DataFrame,
    *,
    days: DayRange,
    params: NoParams,
    market: Market,
) -> DataFrame:
    played = F.col("play_ratio").isNotNull()
    is_target = F.col("action").isin(*market.target)
    shown = impressions.select("ds", "item_id", F.lit("impression").alias("action"))
    rated = reviews.where("item_id IS NOT NULL").select("ds", "item_id", F.lit("review").alias("action"), "rating")
    sold = orders.where("kind = 'sale'").select("ds", "item_id", F.lit("line").alias("action"), "discount_minor")
    rows = interactions(events, orders)
    for more in (shown, rated, sold):
        rows = rows.unionByName(more, allowMissingColumns=True)
    return rows.groupBy("ds", "item_id").agg(
        count_of("impression").alias("impressions"),
        count_of("click").alias("clicks"),
        count_of(*market.target).alias("targets"),
        F.count_distinct(F.when(is_target, F.col("user_id"))).cast("int").alias("target_users"),
        count_of(PURCHASE).alias("purchases"),
        F.coalesce(F.sum("amount_minor"), F.lit(0)).alias("amount_minor"),
        F.coalesce(F.sum("discount_minor"), F.lit(0)).alias("discount_minor"),
        count_of(*ENGAGED).alias("engagements"),
        count_of(*NEGATIVE).alias("negatives"),
        F.coalesce(F.sum("dwell_ms"), F.lit(0)).alias("dwell_ms"),
        # least() skips nulls: without the guard an action that plays nothing counts as played to the end
        F.coalesce(F.sum(F.when(played, F.least("play_ratio", F.lit(1.0)))), F.lit(0.0)).alias("play_sum"),
        F.count("play_ratio").cast("int").alias("plays"),
        F.coalesce(F.sum("rating"), F.lit(0.0)).alias("rating_sum"),
        F.count("rating").cast("int").alias("ratings"),
    )
