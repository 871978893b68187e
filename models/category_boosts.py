"""What search may know of taste: a factor by user and category, for the score of the search engine's own results."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between


@dataclass(frozen=True)
class Params:
    """``strength``: a user of one category has the factor ``1 + strength`` for it; ``top`` categories are kept of
    each user, from ``min_share`` of the interests on.
    """

    strength: float = 1.0
    top: int = 10
    min_share: float = 0.05


CONTRACT = Table(
    name="serving.category_boosts",
    group="serving",
    owner="serving",
    description="Search multiplies the score of a category's items by the user's factor, 1 + share of the user's "
    "interests; a category or user that is not listed has 1. Users without consent are not listed.",
    columns=[
        Column("release_id", "string", "Release."),
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("category", "string", "Primary category."),
        Column("rank", "int", "Place among the user's categories, from 1."),
        Column("boost", "double", "Factor of the score, 1 or more.", digits=4),
    ],
    keys=["user_id", "category"],
    replace_by="release_id",
    append=True,
    grain="day",
    inputs=[TableInput("features.user_interests"), TableInput("features.user_profile")],
    checks=[between("boost", 1, 100), between("rank", 1, 100)],
)


def build(user_interests: DataFrame, user_profile: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    agreed = user_profile.where("consent_personalisation").select("ds", "user_id")
    best = Window.partitionBy("ds", "user_id").orderBy(F.round("share", 6).desc(), "category")
    return (
        user_interests.where("kind = 'category'")
        .where(F.col("share") >= params.min_share)
        .join(agreed, ["ds", "user_id"], "left_semi")
        .withColumnRenamed("value", "category")
        .withColumn("rank", F.row_number().over(best))
        .where(F.col("rank") <= params.top)
        .withColumn("boost", 1 + params.strength * F.col("share"))
    )
