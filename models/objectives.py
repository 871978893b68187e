"""Several objectives as one score: calibrated clicks, conversions and dwell, multiplied with weights as exponents."""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

FLOOR = 1e-6
"""Least factor: a probability of 0 would hide what the other objectives say."""


def geometric(pctr: Column, pcvr: Column, dwell: Column, ctr: float, cvr: float, seconds: float) -> Column:
    """``pCTR^ctr * (pCVR / pCTR)^cvr * dwell^seconds``, null where pCTR is.

    A weighted geometric mean does not depend on the unit of an objective: another unit multiplies every score alike.

    Parameters
    ----------
    pctr, pcvr, dwell
        Calibrated heads: click and purchase when shown, expected seconds once clicked. An objective that is null (no
        head was fitted) counts as 1 for every row.
    ctr, cvr, seconds
        Weights; 0.6, 0.3 and 0.1 at first.
    """
    click = _within(pctr, 1.0)
    return (
        F.pow(click, F.lit(ctr))
        * F.coalesce(F.pow(_within(pcvr / click, 1.0), F.lit(cvr)), F.lit(1.0))
        * F.coalesce(F.pow(_within(dwell, None), F.lit(seconds)), F.lit(1.0))
    )


def _within(value: Column, most: float | None) -> Column:
    """From ``FLOOR`` to ``most``; null stays null, which ``greatest`` and ``least`` would skip."""
    bounded = F.greatest(value, F.lit(FLOOR))
    bounded = bounded if most is None else F.least(bounded, F.lit(most))
    return F.when(value.isNotNull(), bounded)
