"""What lists must not show because of bad cases: the item for the user, or for everyone."""

from __future__ import annotations

from pyspark.sql import DataFrame

from jobs.contract import TableInput

STOP_DAYS = 7
INPUT = TableInput("features.badcases", days=STOP_DAYS, optional=True)


def without_stopped(pairs: DataFrame, badcases: DataFrame) -> DataFrame:
    """The rows of ``pairs`` (``user_id, item_id, …``) that no case of the last `STOP_DAYS` days stops."""
    stopped = badcases.where("stops AND item_id IS NOT NULL")
    of_user = stopped.where("user_id IS NOT NULL").select("user_id", "item_id").distinct()
    of_everyone = stopped.where("user_id IS NULL").select("item_id").distinct()
    return pairs.join(of_everyone, "item_id", "left_anti").join(of_user, ["user_id", "item_id"], "left_anti")
