"""What every published row is held against, derived anew from the tables and not from what the rules did."""

from __future__ import annotations

from collections.abc import Mapping

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from models import eligibility
from models.rules.category_share import CategoryShare
from models.surfaces import Surface


def with_violations(rows: DataFrame, excluded: DataFrame, plans: Mapping[tuple[str, str], Surface]) -> DataFrame:
    """The rows with ``violations``, the rules of every list that a row breaks.

    Parameters
    ----------
    rows
        Whole lists: ``surface, user_id, context, rank, item_id, category, regions, age_limit, region, least_age,
        is_eligible, consents``.
    excluded
        ``user_id, item_id`` that must not be shown: refused, of a blocked author, just bought.
    plans
        By surface and context, with the length of a list and the ceiling of a category (`models.variants.plans`).
    """
    same_item = Window.partitionBy("surface", "user_id", "item_id")
    same_category = Window.partitionBy("surface", "user_id", "category")
    key = F.concat_ws("/", "surface", "context")
    broken = {
        "the user did not consent": ~F.coalesce("consents", F.lit(False)),
        "not on offer": ~F.coalesce("is_eligible", F.lit(False)),
        "not for the user's region or age": ~eligibility.allowed(
            F.col("regions"), F.col("age_limit"), F.col("region"), F.col("least_age")
        ),
        "refused, of a blocked author or just bought": F.coalesce("_excluded", F.lit(False)),
        "twice in the list": F.count(F.lit(1)).over(same_item) > 1,
        "beyond the list's length": F.col("rank") > F.element_at(_by_context(plans, _length), key),
        "on a rank kept for ads": F.array_contains(F.element_at(_by_context(plans, _ad_slots), key), F.col("rank")),
        "above the ceiling of its category": F.col("category").isNotNull()
        & (F.count(F.lit(1)).over(same_category) > F.element_at(_by_context(plans, _ceiling), key)),
    }
    marked = excluded.select("user_id", "item_id", F.lit(True).alias("_excluded")).distinct()
    named = [F.when(holds, F.lit(name)) for name, holds in broken.items()]
    return (
        rows.join(marked, ["user_id", "item_id"], "left")
        .withColumn("violations", F.array_compact(F.array(*named)))
        .drop("_excluded")
    )


def _by_context(plans: Mapping[tuple[str, str], Surface], of):
    """A map from surface/context to a literal."""
    pairs = [(F.lit(f"{name}/{context}"), of(surface)) for (name, context), surface in plans.items()]
    return F.create_map(*[part for pair in pairs for part in pair])


def _length(surface: Surface):
    return F.lit(surface.length)


def _ad_slots(surface: Surface):
    return F.array(*[F.lit(n) for n in surface.ad_slots]).cast("array<int>")


def _ceiling(surface: Surface):
    """Items of one category that a list may have; its whole length where no rule says otherwise."""
    options = surface.rules.get("category_share")
    share = 1.0 if options is None else options.get("ceiling", CategoryShare.ceiling)
    return F.lit(max(1, int(share * surface.length + 1e-9)))
