"""Scores of quality from few observations: means shrunk to the market's, counts against what to expect, mixes."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F


def shrunk(total: Column, n: Column, mean: Column, prior: float) -> Column:
    """``(total + prior * mean) / (n + prior)``: the mean as if ``prior`` average cases came before it.

    Null where the market has no mean.
    """
    return (total + prior * mean) / (n + prior)


def excess(observed: Column, n: Column, mean: Column, prior: float) -> Column:
    """``(observed + prior) / (observed + expected + 2 prior)`` with ``expected = n * mean``.

    0.5 for as many as expected, near 1 for many times more. ``prior`` is counted on both sides, so rare events say
    little until several were seen. Null where the market has none of them.
    """
    expected = n * F.when(mean > 0, mean)
    return (observed + prior) / (observed + expected + 2 * prior)


def mixed(parts: Sequence[tuple[Column, float]]) -> Column:
    """Weighted mean of the parts that are known; null where none is or none has a weight."""
    total = sum((F.coalesce(part * weight, F.lit(0.0)) for part, weight in parts), F.lit(0.0))
    weights = sum((F.when(part.isNotNull(), weight).otherwise(0.0) for part, weight in parts), F.lit(0.0))
    return F.try_divide(total, weights)
