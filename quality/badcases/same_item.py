"""The same item, again and again."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import DayRange, TableInput
from jobs.settings import Market
from quality.badcases.detector import CANDIDATES, POLICY, RANKING, Detector


@dataclass(frozen=True)
class Params:
    """``showings`` of one item to one person in a day that are too many; one that was clicked is no nuisance."""

    showings: int = 3


DETECTOR = Detector(
    "same_item",
    "An item was shown to the same person 3 or more times in a day, without a click.",
    [TableInput("silver.user_item_daily")],
    layers=(POLICY, CANDIDATES, RANKING),
    stops=True,
    label=0,
)


def detect(user_item_daily: DataFrame, *, days: DayRange, params: Params, market: Market) -> DataFrame:
    often = user_item_daily.where(days.where()).where(
        (F.col("impressions") >= params.showings) & (F.col("clicks") == 0) & (F.col("targets") == 0)
    )
    return often.select(
        "ds",
        "user_id",
        "item_id",
        F.lit(None).cast("string").alias("category"),
        (F.col("impressions") / params.showings).alias("excess"),
        F.to_json(F.struct(F.col("impressions").alias("showings"))).alias("evidence"),
    )
