"""How small and middle categories fare in what people are shown, this week against the week before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import DayRange
from quality.intervals import Estimate, difference, student
from quality.lists import between_days, days_before

WEEK, HISTORY = 7, 28
LARGE, MIDDLE = 0.5, 0.8
"""The most shown categories that together hold half of the showings are large; up to four fifths, middle."""


def counts(item_daily: DataFrame, of_item: DataFrame, days: DayRange) -> DataFrame:
    """``day, shown_category, showings`` of the last `HISTORY` days."""
    recent = item_daily.where(between_days(days_before(days.last, HISTORY - 1), days.last) & (F.col("impressions") > 0))
    return (
        recent.join(of_item, "item_id")
        .groupBy(F.col("ds").alias("day"), F.col("category").alias("shown_category"))
        .agg(F.sum("impressions").alias("showings"))
    )


def tiers(showings: dict[str, int]) -> dict[str, str]:
    """Small, middle or large for each category.

    Examples
    --------
    Of 100 showings a has 50, which makes half: all that reach further are no longer large.

    >>> tiers({"a": 50, "b": 25, "c": 15, "d": 10})
    {'a': 'large', 'b': 'middle', 'c': 'middle', 'd': 'small'}
    """
    total, before, found = sum(showings.values()), 0, {}
    for name in sorted(showings, key=lambda c: (-showings[c], c)):
        share = before / total
        found[name] = "large" if share < LARGE else "middle" if share < MIDDLE else "small"
        before += showings[name]
    return found


def figures(table: pa.Table, days: DayRange) -> Iterator[tuple[str, Estimate, int]]:
    """Metric, value with interval over days, and number of days, for the rows of `counts`."""
    rows = table.filter(table["showings"].is_valid()).select(["day", "shown_category", "showings"]).to_pylist()
    total: dict[str, int] = {}
    by_day: dict[int, dict[str, int]] = {}
    for row in rows:
        age = (days.last - row["day"]).days
        total[row["shown_category"]] = total.get(row["shown_category"], 0) + row["showings"]
        by_day.setdefault(age, {})[row["shown_category"]] = row["showings"]
    tier = tiers(total) if total else {}
    for name in ("small", "middle"):
        now, before = (
            np.array([_share(by_day[age], tier, name) for age in sorted(by_day) if first <= age < first + WEEK])
            for first in (0, WEEK)
        )
        if now.size:
            yield f"{name}_category_share", _mean(now), now.size
        if now.size > 1 and before.size > 1:
            yield f"{name}_category_trend", difference(_mean(now), _mean(before)), now.size + before.size


def _share(of_day: dict[str, int], tier: dict[str, str], name: str) -> float:
    return sum(n for category, n in of_day.items() if tier[category] == name) / sum(of_day.values())


def _mean(shares: np.ndarray) -> Estimate:
    return float(shares.mean()), *student(shares)
