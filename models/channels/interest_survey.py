"""What is popular in the categories that the user named in a survey: for newcomers, who did nothing else yet."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.windows import spread
from jobs.contract import DayRange, TableInput
from models.channels.channel import Channel
from models.channels.inverted import key_of, popular_first, top_of_key

HORIZON = 90


@dataclass(frozen=True)
class Params:
    """``items`` of each named category."""

    items: int = 20


CHANNEL = Channel(
    "interest_survey",
    "Popular items of the categories that the user named in the last interest survey of 90 days.",
    [TableInput("silver.surveys", days=HORIZON, optional=True), TableInput("features.item_stats")],
    weight=0.5,
    depth=30,
)


def keys(surveys: DataFrame, days: DayRange) -> DataFrame:
    newest = Window.partitionBy("ds", "user_id").orderBy(F.desc("at_ms"), F.desc("survey_id"))
    named = F.explode(F.array_distinct(F.split("answer", r"\|")))
    return (
        spread(surveys.where("kind = 'interests' AND answer IS NOT NULL"), days, HORIZON)
        .withColumn("_nth", F.row_number().over(newest))
        .where("_nth = 1")
        .select("ds", "user_id", named.alias("category"))
        .select("ds", "user_id", key_of("category").alias("key"), F.lit(1.0).alias("weight"))
    )


def postings(item_stats: DataFrame, params: Params) -> DataFrame:
    by_category = item_stats.where("is_eligible").withColumn("key", key_of("category"))
    return top_of_key(by_category, params.items, *popular_first())
