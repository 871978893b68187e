"""What rankers learn of bad cases: the pairs that a case is about are training rows with its label and weight.

The cases of the day of the showing are read (``features.badcases``, known at its end), so a row of ``ds`` knows none
that was found later. They are the cases of ``audit.badcase``, which says what caused each; that table is made after
the lists, from models that were fitted before, so no training row can be made from it.
"""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F


def with_cases(pairs: DataFrame, badcases: DataFrame, items: DataFrame) -> DataFrame:
    """Give each pair that a case of its day names the case's label and weight; all others have weight 1.

    A case names the pair of its user and item; every pair of its item, where it is an item's fault; or, where an
    interest was missed, what the person took of its category. Where several name a pair, "shown wrongly" (label 0)
    goes before "missed" (1), then the greatest weight.

    Parameters
    ----------
    pairs
        ``shown_ds, user_id, item_id, label, …``.
    badcases, items
        Rows of ``features.badcases`` and ``silver.items`` of the days of the showings.

    Returns
    -------
    DataFrame
        ``pairs`` with ``weight`` and ``case_id`` (null for an ordinary row), and ``label`` as it should be learnt.
    """
    cases = badcases.where("label IS NOT NULL").withColumn("shown_ds", F.col("ds"))
    kinds = items.select(F.col("ds").alias("shown_ds"), "item_id", "category")
    missed = F.when(F.col("label") == 1, F.col("_of_interest"))
    return (
        pairs.join(kinds, ["shown_ds", "item_id"], "left")
        .join(_first(cases, "_of_pair", "user_id", "item_id"), ["shown_ds", "user_id", "item_id"], "left")
        .join(_first(cases.where("user_id IS NULL"), "_of_item", "item_id"), ["shown_ds", "item_id"], "left")
        .join(
            _first(cases.where("item_id IS NULL"), "_of_interest", "user_id", "category"),
            ["shown_ds", "user_id", "category"],
            "left",
        )
        # the least of those that are not null
        .withColumn("_case", F.least("_of_pair", "_of_item", missed))
        .withColumn("label", F.coalesce("_case.label", "label"))
        .withColumn("weight", F.coalesce(-F.col("_case.lightness"), F.lit(1.0)))
        .withColumn("case_id", F.col("_case.case_id"))
        .drop("category", "_of_pair", "_of_item", "_of_interest", "_case")
    )


def _first(cases: DataFrame, name: str, *by: str) -> DataFrame:
    """``shown_ds, *by``, and as ``name`` the case that counts: label 0 before 1, then the heaviest."""
    named = cases.where(" AND ".join(f"{key} IS NOT NULL" for key in by))
    case = F.struct("label", (-F.col("weight")).alias("lightness"), "case_id")
    return named.groupBy("shown_ds", *by).agg(F.min(case).alias(name))
