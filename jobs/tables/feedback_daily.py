"""``silver.feedback_daily``: refusals of the day, told and untold, by user, item and creator."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, in_set, no_rows_where
from jobs.interactions import NEGATIVE, count_of

KINDS = ("user", "item", "creator")
_OF_EACH = "stack(3, 'user', user_id, 'item', item_id, 'creator', creator_id)"


@dataclass(frozen=True)
class Params:
    """A fast skip is a showing without a click that was swiped past at ``fast_swipe`` screens a second or more,
    or a click left within ``short_dwell_ms``.
    """

    fast_swipe: float = 2.0
    short_dwell_ms: int = 2_000


CONTRACT = Table(
    name="silver.feedback_daily",
    group="silver",
    owner="item-understanding",
    description="Showings, refusals and fast skips of each user, item and creator in the day.",
    columns=[
        Column("kind", "string", "user, item or creator."),
        Column("id", "bigint", "Surrogate key of the user, item or creator.", subject=True),
        Column("exposures", "int", "Showings, and clicks outside of any."),
        *[Column(action, "int", f"Actions of type {action}.") for action in NEGATIVE],
        Column("fast_skips", "int", "Swiped past fast without a click, or left at once after it."),
    ],
    keys=["kind", "id"],
    inputs=[TableInput("silver.impressions"), TableInput("silver.events"), TableInput("silver.items")],
    checks=[
        in_set("kind", KINDS),
        between("exposures", 0, None),
        no_rows_where("fast_skips > exposures", "more was skipped than was seen"),
    ],
)


def build(impressions: DataFrame, events: DataFrame, items: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    shown = impressions.select(
        "ds",
        F.col("impression_id").alias("showing"),
        "user_id",
        "item_id",
        F.lit("impression").alias("action"),
        "swipe_speed",
    )
    acted = events.where("item_id IS NOT NULL").select(
        "ds", F.coalesce("impression_id", "event_id").alias("showing"), "user_id", "item_id", "action", "dwell_ms"
    )
    swiped = (F.col("clicks") == 0) & (F.col("swipe_speed") >= params.fast_swipe)
    left = (F.col("clicks") > 0) & (F.col("dwell_ms") < params.short_dwell_ms)
    showings = (
        shown.unionByName(acted, allowMissingColumns=True)
        .groupBy("ds", "showing", "user_id", "item_id")
        .agg(
            count_of("click").alias("clicks"),
            F.max("swipe_speed").alias("swipe_speed"),
            F.sum("dwell_ms").alias("dwell_ms"),
            F.max(F.col("action").isin("impression", "click").cast("int")).alias("exposures"),
            *[count_of(action).alias(action) for action in NEGATIVE],
        )
        .withColumn("fast_skips", F.coalesce(swiped | left, F.lit(False)).cast("int"))
    )
    return (
        showings.join(items.select("ds", "item_id", "creator_id"), ["ds", "item_id"], "left")
        .select("ds", F.expr(_OF_EACH).alias("kind", "id"), "exposures", *NEGATIVE, "fast_skips")
        .where("id IS NOT NULL")
        .groupBy("ds", "kind", "id")
        .agg(*[F.sum(c).cast("int").alias(c) for c in ("exposures", *NEGATIVE, "fast_skips")])
    )
