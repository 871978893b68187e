"""What lists must not show because of bad cases: the item for the user, or for everyone."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import TableInput

STOP_DAYS = 7
INPUT = TableInput("features.badcases", days=STOP_DAYS, optional=True)


def without_stopped(rows: DataFrame, badcases: DataFrame, item: str = "item_id") -> DataFrame:
    """The rows that no case of the last `STOP_DAYS` days stops.

    Every list is made of what this leaves: candidates, fallback lists and lists of similar items.

    Parameters
    ----------
    rows
        What would be shown, in the column ``item``; with ``user_id`` also to whom.
    badcases
        As `INPUT` reads them.
    """
    stopped = badcases.where("stops AND item_id IS NOT NULL").select("user_id", F.col("item_id").alias(item))
    kept = rows.join(stopped.where("user_id IS NULL").select(item).distinct(), item, "left_anti")
    if "user_id" not in rows.columns:
        # whom a list without a user reaches is not known, so what is stopped for one person is not stopped in it
        return kept
    return kept.join(stopped.where("user_id IS NOT NULL").distinct(), ["user_id", item], "left_anti")
