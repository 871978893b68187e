"""What each user is after, by the texts that they wrote, and which categories of the market serve it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.text.lexicon import NeedCategories, need_categories
from features.windows import check_horizon, decay, spread
from jobs.contract import WARN, Column, DayRange, Table, TableInput, between, no_rows_where

HORIZON = 180
_LATIN = re.compile(r"[\x00-\u02ff]+$")


@dataclass(frozen=True)
class Params:
    """``horizon`` days of texts, each worth half after ``half_life_days``; ``categories``: mapping of this market.

    The mapping is below the installation's home; empty for the packaged one.
    """

    horizon: int = 90
    half_life_days: float = 30.0
    categories: str = ""

    def __post_init__(self) -> None:
        check_horizon("features.user_needs", self.horizon, HORIZON)


CONTRACT = Table(
    name="features.user_needs",
    group="features",
    owner="user-understanding",
    description="Strength of each need of each user over 90 days of their texts, with the categories that serve it.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("need", "string", "Name of the need in the need lexicon."),
        Column("strength", "double", "Sum over texts of the need's weight times 2^(-age/half-life).", digits=6),
        Column("share", "double", "Part of the user's strength over all needs.", digits=6),
        Column("texts", "int", "Texts behind it."),
        Column("days_since", "int", "Days since the last of them.", "days"),
        Column("categories", "array<string>", "Categories of the day's items that serve the need, sorted."),
        Column("mapping", "string", "Version of the mapping to categories, with a hash of its content."),
    ],
    keys=["user_id", "need"],
    inputs=[TableInput("features.review_signals", days=HORIZON), TableInput("silver.items")],
    checks=[
        between("strength", 0, None),
        between("share", 0, 1),
        between("texts", 1, None),
        no_rows_where("size(categories) = 0", "a need that no category of the market serves", verdict=WARN),
    ],
)


def build(review_signals: DataFrame, items: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    mapping = need_categories(params.categories)
    weights = (
        spread(review_signals.where("size(needs) > 0"), days, params.horizon)
        .select("ds", "user_id", "age", F.explode("needs").alias("need", "weight"))
        .groupBy("ds", "user_id", "need")
        .agg(
            F.sum(F.col("weight") * decay(params.half_life_days)).alias("strength"),
            F.count(F.lit(1)).cast("int").alias("texts"),
            F.min("age").alias("days_since"),
        )
    )
    of_user = Window.partitionBy("ds", "user_id")
    return (
        weights.withColumn("share", F.col("strength") / F.sum("strength").over(of_user))
        .join(F.broadcast(serving(items, mapping)), ["ds", "need"], "left")
        .withColumn("categories", F.coalesce("categories", F.array().cast("array<string>")))
        .withColumn("mapping", F.lit(mapping.version))
    )


def serving(items: DataFrame, mapping: NeedCategories) -> DataFrame:
    """``ds``, ``need`` and the sorted ``categories`` of the day's items that a name of the mapping matches."""
    needs = [F.when(matches(F.lower("category"), names), F.lit(need)) for need, names in mapping.names.items() if names]
    matched = F.explode(F.array_compact(F.array(*needs)))
    return (
        items.select("ds", "category")
        .distinct()
        .select("ds", "category", matched.alias("need"))
        .groupBy("ds", "need")
        .agg(F.sort_array(F.collect_set("category")).alias("categories"))
    )


def matches(category: SparkColumn, names: tuple[str, ...]) -> SparkColumn:
    """True where the category holds a name: as words in Latin script, anywhere in others."""
    patterns = [rf"\b{re.escape(n.lower())}\b" if _LATIN.match(n) else re.escape(n) for n in names]
    return category.rlike("|".join(patterns))
