"""What took too long to appear."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import DayRange, TableInput
from jobs.settings import Market
from quality.badcases.detector import Detector


@dataclass(frozen=True)
class Params:
    """``load_ms`` above which a showing is slow."""

    load_ms: int = 3_000


DETECTOR = Detector(
    "slow_load",
    "An item took more than 3 s to load.",
    [TableInput("silver.impressions", optional=True)],
    otherwise="delivery",
)


def detect(impressions: DataFrame, *, days: DayRange, params: Params, market: Market) -> DataFrame:
    slow = impressions.where(days.where()).where(F.col("load_ms") > params.load_ms)
    worst = slow.groupBy("ds", "user_id", "item_id").agg(
        F.max("load_ms").alias("load_ms"), F.max_by("terminal", F.struct("load_ms", "terminal")).alias("terminal")
    )
    return worst.select(
        "ds",
        "user_id",
        "item_id",
        F.lit(None).cast("string").alias("category"),
        (F.col("load_ms") / params.load_ms).alias("excess"),
        F.to_json(F.struct("load_ms", "terminal")).alias("evidence"),
    )
