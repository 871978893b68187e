"""Scores of quality from few observations: rates shrunk to the market's mean, held against it, and mixed."""

from __future__ import annotations

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F


def shrunk(total: Column, n: Column, mean: Column, strength: float) -> Column:
    """``(total + strength * mean) / (n + strength)``: the rate as if ``strength`` average cases came before it.

    Null where the market has no mean.
    """
    return (total + strength * mean) / (n + strength)


def against(rate: Column, mean: Column) -> Column:
    """``rate / (rate + mean)``, in [0, 1): 0.5 at the mean, 2/3 at twice it; null where both are 0."""
    return F.try_divide(rate, rate + mean)


def mixed(parts: Sequence[tuple[Column, float]]) -> Column:
    """Weighted mean of the parts that are known; null where none is or none has a weight."""
    total = sum((F.coalesce(part * weight, F.lit(0.0)) for part, weight in parts), F.lit(0.0))
    weights = sum((F.when(part.isNotNull(), weight).otherwise(0.0) for part, weight in parts), F.lit(0.0))
    return F.try_divide(total, weights)
