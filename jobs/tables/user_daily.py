"""``silver.user_daily``: what each user did in a day; the compact base of windows and long look-backs."""

from __future__ import annotations

from functools import reduce
from operator import add

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, NoParams, Table, TableInput, adds_up, between
from jobs.interactions import NEGATIVE, PURCHASE, count_of, interactions
from jobs.landing import TERMINALS
from jobs.settings import Market

SURVEY = "survey"
COUNTS = {
    "clicks": "click",
    "favourites": "favourite",
    "add_to_carts": "add_to_cart",
    "purchases": PURCHASE,
    "likes": "like",
    "comments": "comment",
    "shares": "share",
}

CONTRACT = Table(
    name="silver.user_daily",
    group="silver",
    owner="user-understanding",
    description="Counts of what each active user saw and did in the day.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("impressions", "int", "Items shown."),
        *[Column(name, "int", f"Actions of type {action}.") for name, action in COUNTS.items()],
        Column("negatives", "int", "Dislikes, not interested, blocked authors."),
        Column("targets", "int", "Actions that the market counts as success."),
        Column("logins", "int", "Logins."),
        Column("searches", "int", "Searches."),
        Column("surveys", "int", "Answers to surveys: what a newcomer may do first."),
        Column("dwell_ms", "bigint", "Time spent on items.", unit="ms"),
        Column("amount_minor", "bigint", "Amount of the sales.", unit="minor"),
        Column("terminals", "int", "Different terminals used."),
    ],
    keys=["user_id"],
    inputs=[
        TableInput("silver.events"),
        TableInput("silver.orders"),
        TableInput("silver.impressions"),
        TableInput("silver.surveys", optional=True),
    ],
    checks=[
        between("clicks", 0, 100_000),
        between("dwell_ms", 0, 7 * 86_400_000, verdict="warn"),
        adds_up(
            "sum(amount_minor)",
            "silver.orders",
            "sum(if(kind = 'sale', amount_minor, 0))",
            # the same sales, counted twice: what each of the booking systems has is told by gmv_order and gmv_payment
            "every sale is somebody's, whichever system booked it",
        ),
        adds_up("sum(impressions)", "silver.impressions", "count(1)", "every showing is somebody's"),
    ],
)


def build(
    events: DataFrame,
    orders: DataFrame,
    impressions: DataFrame,
    surveys: DataFrame,
    *,
    days: DayRange,
    params: NoParams,
    market: Market,
) -> DataFrame:
    acted = interactions(events, orders)
    of_items = acted.groupBy("ds", "user_id").agg(
        *[count_of(action).alias(name) for name, action in COUNTS.items()],
        count_of(*NEGATIVE).alias("negatives"),
        count_of(*market.target).alias("targets"),
        F.coalesce(F.sum("dwell_ms"), F.lit(0)).alias("dwell_ms"),
        F.coalesce(F.sum("amount_minor"), F.lit(0)).alias("amount_minor"),
    )
    answered = surveys.select("ds", "user_id", F.lit(SURVEY).alias("action"))
    outside = events.select("ds", "user_id", "action", "terminal").unionByName(answered, allowMissingColumns=True)
    visits = outside.groupBy("ds", "user_id").agg(
        count_of("login").alias("logins"),
        count_of("search").alias("searches"),
        count_of(SURVEY).alias("surveys"),
        reduce(add, [F.max(F.col("terminal") == name).cast("int") for name in TERMINALS]).alias("terminals"),
    )
    shown = impressions.groupBy("ds", "user_id").agg(F.count("*").cast("int").alias("impressions"))
    joined = of_items.join(visits, ["ds", "user_id"], "full").join(shown, ["ds", "user_id"], "full")
    return joined.fillna(0, [c.name for c in CONTRACT.columns if c.name != "user_id"])
