"""What somebody asked not to see, shown again."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import DayRange, TableInput
from jobs.settings import Market
from quality.badcases.detector import Detector

LOOK_BACK = 7


@dataclass(frozen=True)
class Params:
    """``actions`` that ask not to see an item again."""

    actions: tuple[str, ...] = ("not_interested",)


DETECTOR = Detector(
    "repeat_after_rejection",
    f"An item was shown again within {LOOK_BACK} days after the person said that it is of no interest.",
    [
        TableInput("silver.impressions", optional=True),
        TableInput("silver.events", days=LOOK_BACK + 1, optional=True),
    ],
    stops=True,
    label=0,
)


def detect(impressions: DataFrame, events: DataFrame, *, days: DayRange, params: Params, market: Market) -> DataFrame:
    refused = (
        events.where(F.col("action").isin(*params.actions) & F.col("item_id").isNotNull())
        .select("user_id", "item_id", F.col("ds").alias("refused_ds"), F.col("at_ms").alias("refused_ms"))
        .distinct()
    )
    again = (
        impressions.where(days.where())
        .select("ds", "impression_id", "user_id", "item_id", "at_ms")
        .join(refused, ["user_id", "item_id"])
        .where((F.col("at_ms") > F.col("refused_ms")) & (F.date_diff("ds", "refused_ds") <= LOOK_BACK))
        .groupBy("ds", "user_id", "item_id")
        .agg(F.count_distinct("impression_id").alias("showings"), F.max("refused_ds").alias("refused_ds"))
    )
    return again.select(
        "ds",
        "user_id",
        "item_id",
        F.lit(None).cast("string").alias("category"),
        F.col("showings").cast("double").alias("excess"),
        F.to_json(F.struct("showings", "refused_ds")).alias("evidence"),
    )
