"""In which context each active user will look at each surface on the day after ds."""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.local_time import WEEKEND
from features.windows import spread
from jobs.contract import Column, DayRange, NoParams, Table, TableInput, between
from jobs.settings import Market
from models.surfaces import OF_THE_DAY, SIGNALS
from models.variants import Pipeline, by_pipeline, pipelines

REQUEST_DAYS = 7

CONTRACT = Table(
    name="candidates.contexts",
    group="candidates",
    owner="serving",
    description="The context of each active user on each surface on the day after ds, on which its list is shown: "
    "the first of the surface's contexts whose conditions hold (models/surfaces), usual where none does.",
    columns=[
        Column("surface", "string", "Where the list is shown."),
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column(
            "context",
            "string",
            "Name of the context; behind an @ the variants of experiments whose pipeline the user has.",
            nullable=False,
        ),
        *OF_THE_DAY,
    ],
    keys=["surface", "user_id"],
    inputs=[
        TableInput("features.user_activity"),
        TableInput("features.user_profile"),
        TableInput("features.user_context", optional=True),
        TableInput("features.request_context", days=REQUEST_DAYS, optional=True),
        TableInput("silver.campaigns", optional=True),
    ],
    checks=[between("commute_share", 0, 1), between("fast_share", 0, 1), between("spending_rank", 0, 1)],
)


def build(
    user_activity: DataFrame,
    user_profile: DataFrame,
    user_context: DataFrame,
    request_context: DataFrame,
    campaigns: DataFrame,
    *,
    days: DayRange,
    params: NoParams,
    market: Market,
) -> DataFrame:
    people = (
        user_activity.join(user_profile, ["ds", "user_id"], "left")
        .join(user_context, ["ds", "user_id"], "left")
        .join(_requests(request_context, days), ["ds", "user_id"], "left")
        .join(F.broadcast(_running(campaigns, market)), "ds", "left")
        .fillna(0, ["requests_7d", "campaigns"])
        .withColumns(_of_the_day())
        .select("ds", "user_id", *SIGNALS)
    )
    kept = [c.name for c in OF_THE_DAY]

    def context(surface: str) -> SparkColumn:
        def of(pipeline: Pipeline) -> SparkColumn:
            suffix = F.lit(pipeline.named(""))
            return F.concat(pipeline.surfaces[surface].context, suffix)

        return by_pipeline(market, days.last, F.col("user_id"), of)

    on = [
        people.select("ds", F.lit(name).alias("surface"), "user_id", context(name).alias("context"), *kept)
        for name in pipelines(market, days.last)[0].surfaces
    ]
    return reduce(DataFrame.unionByName, on)


def _of_the_day() -> dict:
    shown_on = F.date_add("ds", 1)
    spending = F.percent_rank().over(Window.partitionBy("ds").orderBy(F.coalesce("amount_minor_28d", F.lit(0))))
    return {
        "weekday": F.weekday(shown_on),
        "is_weekend": F.weekday(shown_on).isin(*WEEKEND),
        "spending_rank": F.round(spending, 4),
    }


def _requests(request_context: DataFrame, days: DayRange) -> DataFrame:
    """What each user's requests of the week were like; shares are of requests."""
    return (
        spread(request_context, days, REQUEST_DAYS)
        .groupBy("ds", "user_id")
        .agg(
            F.count(F.lit(1)).cast("int").alias("requests_7d"),
            F.round(F.avg(F.col("is_commute").cast("int")), 4).alias("commute_share"),
            F.round(F.avg(F.col("is_fast_swiping").cast("int")), 4).alias("fast_share"),
        )
    )


def _running(campaigns: DataFrame, market: Market) -> DataFrame:
    """How many campaigns without a segment run on the day after ds, in the market's days."""

    def day(column: str):
        return F.from_utc_timestamp(F.timestamp_millis(column), market.timezone).cast("date")

    runs = F.date_add("ds", 1).between(day("starts_at_ms"), day("ends_at_ms"))
    return (
        campaigns.where(F.col("segment").isNull() & runs)
        .groupBy("ds")
        .agg(F.count(F.lit(1)).cast("int").alias("campaigns"))
    )
