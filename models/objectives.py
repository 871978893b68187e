"""Several objectives as one score: calibrated clicks, conversions and dwell, multiplied with weights as exponents."""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

FLOOR = 0.01
"""Least probability that counts: an isotonic 0 says that none of some hundred rows was positive, and no more. Taken at
its word it would hide what the other objectives say (docs/benchmarks.md has what other floors cost)."""
TINY = 1e-6
"""Least time and rate: their logarithms must be finite."""
Weight = float | Column


def geometric(pctr: Column, pcvr: Column, dwell: Column, ctr: Weight, cvr: Weight, seconds: Weight) -> Column:
    """``pCTR^ctr * (pCVR / pCTR)^cvr * dwell^seconds``, null where pCTR is.

    A weighted geometric mean does not depend on the unit of an objective: another unit multiplies every score alike.

    Parameters
    ----------
    pctr, pcvr, dwell
        Calibrated heads: click and purchase when shown, expected seconds once clicked. An objective that is null (no
        head was fitted) counts as 1 for every row.
    ctr, cvr, seconds
        Weights; 0.6, 0.3 and 0.1 at first. Columns where they differ between rows.
    """
    click = _within(pctr, 1.0)
    return (
        F.pow(click, _weight(ctr))
        * F.coalesce(F.pow(_within(pcvr / click, 1.0), _weight(cvr)), F.lit(1.0))
        * F.coalesce(F.pow(_at_least(dwell, TINY), _weight(seconds)), F.lit(1.0))
    )


def weights_of_types(log: DataFrame) -> DataFrame:
    """``content_type, ctr, cvr, seconds, level`` from the rows of a day of ``ops.objective_weights``.

    ``level`` is a factor under which an item of the type's own rates scores as with the first weights: other weights
    change the order within a type, and do not lift or sink the whole of it.
    """
    row = F.struct(*[name for name in log.columns if name not in ("ds", "content_type")])
    newest = log.groupBy("content_type").agg(F.max_by(row, "at_ms").alias("w")).select("content_type", "w.*")
    level = F.lit(1.0)
    for name in ("ctr", "cvr", "dwell"):
        back = F.col(f"first_{name}") - F.col(name)
        level = level * F.coalesce(F.pow(_at_least(F.col(f"{name}_rate"), TINY), back), F.lit(1.0))
    return newest.select("content_type", "ctr", "cvr", F.col("dwell").alias("seconds"), level.alias("level"))


def _weight(value: Weight) -> Column:
    return F.lit(float(value)) if isinstance(value, int | float) else value


def _within(value: Column, most: float) -> Column:
    """From ``FLOOR`` to ``most``; null stays null, which ``least`` would skip."""
    return F.when(value.isNotNull(), F.least(_at_least(value, FLOOR), F.lit(most)))


def _at_least(value: Column, least: float) -> Column:
    """Null stays null, which ``greatest`` would skip."""
    return F.when(value.isNotNull(), F.greatest(value, F.lit(least)))
