"""``silver.content_daily``: how each kind of content was received in a day; what fusion weights are adjusted by."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, NoParams, Table, TableInput, between

UNKNOWN = "unknown"

CONTRACT = Table(
    name="silver.content_daily",
    group="silver",
    owner="ranking",
    description="Showings, clicks, sales and dwell of each content type in the day.",
    columns=[
        Column("content_type", "string", f"Kind of content of silver.items; {UNKNOWN} where it is not told."),
        Column("impressions", "bigint", "Times shown."),
        Column("clicks", "bigint", "Clicks."),
        Column("purchases", "bigint", "Sale lines."),
        Column("dwell_ms", "bigint", "Time spent.", unit="ms"),
    ],
    keys=["content_type"],
    inputs=[TableInput("silver.item_daily"), TableInput("silver.items")],
    checks=[between("purchases", 0, None)],
)


def build(item_daily: DataFrame, items: DataFrame, *, days: DayRange, params: NoParams) -> DataFrame:
    kinds = items.select("ds", "item_id", "content_type")
    sums = [F.sum(name).cast("bigint").alias(name) for name in ("impressions", "clicks", "purchases", "dwell_ms")]
    named = F.coalesce("content_type", F.lit(UNKNOWN)).alias("content_type")
    return item_daily.join(kinds, ["ds", "item_id"], "left").groupBy("ds", named).agg(*sums)
