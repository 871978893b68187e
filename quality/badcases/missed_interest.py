"""An interest that somebody shows plainly, and the list does not know."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import DayRange, TableInput
from jobs.settings import Market
from quality.badcases.detector import CANDIDATES, POLICY, RANKING, Detector


@dataclass(frozen=True)
class Params:
    """``clicks`` in a row on one category that is not among the first ``top`` places shown on ``surface`` that day.

    Somebody who was shown none of these places was not served badly by them, and is no case.
    """

    clicks: int = 5
    top: int = 10
    surface: str = "feed"


DETECTOR = Detector(
    "missed_interest",
    "A person clicked 5 times in a row on a category that none of the first 10 places of the feed shown to them that "
    "day had.",
    [
        TableInput("silver.events", optional=True),
        TableInput("silver.impressions", optional=True),
        TableInput("silver.items"),
    ],
    layers=(CANDIDATES, RANKING, POLICY),
    label=1,
)


def detect(
    events: DataFrame,
    impressions: DataFrame,
    items: DataFrame,
    *,
    days: DayRange,
    params: Params,
    market: Market,
) -> DataFrame:
    of_item = items.where(days.where()).select("ds", "item_id", "category")
    clicks = (
        events.where(days.where()).where("action = 'click' AND item_id IS NOT NULL").join(of_item, ["ds", "item_id"])
    )
    in_order = Window.partitionBy("ds", "user_id").orderBy("at_ms", "event_id")
    of_category = Window.partitionBy("ds", "user_id", "category").orderBy("at_ms", "event_id")
    # within a run both numbers rise by one, so their difference names the run
    run = F.row_number().over(in_order) - F.row_number().over(of_category)
    runs = (
        clicks.withColumn("run", run)
        .groupBy("ds", "user_id", "category", "run")
        .agg(F.count("*").alias("clicks"))
        .groupBy("ds", "user_id", "category")
        .agg(F.max("clicks").alias("clicks"))
        .where(F.col("clicks") >= params.clicks)
    )
    first_places = impressions.where(days.where()).where(
        (F.col("surface") == params.surface) & (F.col("position") <= params.top)
    )
    seen = first_places.join(of_item, ["ds", "item_id"]).select("ds", "user_id", "category")
    served = runs.join(first_places, ["ds", "user_id"], "left_semi")
    return served.join(seen, ["ds", "user_id", "category"], "left_anti").select(
        "ds",
        "user_id",
        F.lit(None).cast("bigint").alias("item_id"),
        "category",
        (F.col("clicks") / params.clicks).alias("excess"),
        F.to_json(F.struct(F.col("clicks").alias("clicks_in_a_row"))).alias("evidence"),
    )
