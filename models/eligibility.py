"""What may be shown to whom: regions and age limits of items, held against what is known of a person; and again.

A restriction needs proof: who has no known region or age is not shown what is restricted by it. Age
serves this rule alone; no channel and no ranker reads it.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.settings import Market

RESTRICTED = "regions IS NOT NULL OR coalesce(age_limit, 0) > 0"


def restrictions(items: DataFrame) -> DataFrame:
    """``ds, item_id, regions, age_limit`` of the items that not everyone may see."""
    return items.where(RESTRICTED).select("ds", "item_id", "regions", "age_limit")


def people(user_profile: DataFrame) -> DataFrame:
    """``ds, user_id, region, least_age``: age in years, or the youngest that the age band holds."""
    of_band = F.regexp_extract(F.coalesce("age_band", F.lit("")), r"^(\d+)", 1)
    least = F.coalesce("age_years", F.try_to_number(of_band, F.lit("999")).cast("int"))
    return user_profile.select("ds", "user_id", "region", least.alias("least_age"))


def allowed(regions: Column, age_limit: Column, region: Column, least_age: Column) -> Column:
    """True where a person of ``region`` and ``least_age`` (null: not known) may see the item.

    An item without regions and age limit (both null) may be seen by everyone.
    """
    here = regions.isNull() | F.coalesce(F.array_contains(F.split(regions, r"\|"), region), F.lit(False))
    old_enough = (F.coalesce(age_limit, F.lit(0)) <= 0) | F.coalesce(least_age >= age_limit, F.lit(False))
    return here & old_enough


def too_bad(floor: float) -> Column:
    """True where the item's ``quality`` is below the floor; one of which nothing is known is not."""
    return F.coalesce(F.col("quality") < floor, F.lit(False))


def for_people(pairs: DataFrame, items: DataFrame, user_profile: DataFrame) -> DataFrame:
    """The rows of ``pairs`` (``ds, user_id, item_id, …``) whose user may see the item."""
    joined = (
        pairs.join(F.broadcast(restrictions(items)), ["ds", "item_id"], "left")
        .join(people(user_profile).withColumnRenamed("region", "_region"), ["ds", "user_id"], "left")
        .where(allowed(F.col("regions"), F.col("age_limit"), F.col("_region"), F.col("least_age")))
    )
    return joined.select(*pairs.columns)


def repeats(category: Column, market: Market) -> Column:
    """True where what was bought of a category may be shown again at once (`Market.repeats`)."""
    if "*" in market.repeat_categories or not market.repeat_categories:
        return F.lit("*" in market.repeat_categories)
    return F.coalesce(category.isin(*market.repeat_categories), F.lit(False))
