"""Whether what each person is shown narrows from week to week."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.contract import DayRange
from quality.intervals import Estimate, bootstrap, wilson
from quality.lists import between_days, days_before

WEEK, DAYS = 7, 14
WEEKS = ("now", "before")


def changes(user_item_daily: DataFrame, of_item: DataFrame, days: DayRange, min_showings: int) -> DataFrame:
    r"""How the variety of what people saw changed from the week before to this one.

    Variety is the chance that two showings are of different categories,
    :math:`1 - \sum_c n_c (n_c - 1) / (N (N - 1))`: unlike entropy it does not depend on how much a person was
    shown (Simpson, Measurement of diversity, Nature 163, 1949).

    Returns
    -------
    DataFrame
        ``change, people``: this week's variety less that of the week before, to 3 decimals, and how many had it.
    """
    window = between_days(days_before(days.last, DAYS - 1), days.last)
    week = F.when(F.date_diff(F.lit(days.last), "ds") < WEEK, "now").otherwise("before")
    of_category = (
        user_item_daily.where(window & (F.col("impressions") > 0))
        .join(F.broadcast(of_item), "item_id")
        .groupBy("user_id", "category")
        .agg(
            *[F.sum(F.when(week == name, F.col("impressions")).otherwise(0)).alias(name) for name in ("now", "before")]
        )
    )
    of_user = of_category.groupBy("user_id").agg(*[_variety(name, min_showings) for name in ("now", "before")])
    return (
        of_user.where("now IS NOT NULL AND before IS NOT NULL")
        .groupBy(F.round(F.col("now") - F.col("before"), 3).alias("change"))
        .agg(F.count("*").alias("people"))
    )


def _variety(week: str, min_showings: int) -> Column:
    n = F.col(week)
    total = F.sum(n)
    return F.when(total >= min_showings, 1 - F.sum(n * (n - 1)) / (total * (total - 1))).alias(week)


def figures(table: pa.Table, narrowed: float) -> Iterator[tuple[str, Estimate, int]]:
    """Metric, value with interval, and number of people, for the rows of `changes`."""
    rows = table.filter(table["change"].is_valid()).select(["change", "people"]).sort_by("change")
    change, people = rows["change"].to_numpy(), rows["people"].to_numpy()
    n = int(people.sum())
    if not n:
        return
    yield "variety_change", (float(change @ people / n), *bootstrap(change, people)), n
    reached = np.cumsum(people)
    for percent in (10, 50, 90):
        # the least change that so many people have at most
        value = float(change[np.searchsorted(reached * 100, percent * n)])
        yield f"variety_change_p{percent}", (value, float("nan"), float("nan")), n
    fell = int(people[change < -narrowed].sum())
    yield "narrowed_share", (fell / n, *wilson(fell, n)), n
