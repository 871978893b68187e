"""Whether groups of people click on the same items alike: what the choice of items cannot explain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from quality.intervals import Estimate

METRIC = "conversion_same_item"


def sums(user_item_daily: DataFrame, groups: DataFrame) -> DataFrame:
    r"""Mantel-Haenszel sums of each group against all others, item by item.

    .. math:: \widehat{RD} = \frac{\sum_i (c_i m_i - d_i n_i) / N_i}{\sum_i n_i m_i / N_i}

    with :math:`c_i` of :math:`n_i` showings clicked in the group, :math:`d_i` of :math:`m_i` in the others.

    Parameters
    ----------
    user_item_daily
        ``user_id, item_id, impressions, clicks``.
    groups
        ``user_id, attribute, group``.

    Returns
    -------
    DataFrame
        ``attribute, group, showings, clicked, mh_difference, mh_weight, mh_variance`` (the sums).

    Notes
    -----
    Greenland and Robins, Estimation of a common effect parameter from sparse follow-up data, Biometrics 41, 1985.
    """
    of_item = Window.partitionBy("attribute", "item_id")
    counted = (
        user_item_daily.where("impressions > 0")
        .groupBy("user_id", "item_id")
        .agg(F.sum("impressions").alias("n"), F.sum(F.least("clicks", "impressions")).alias("c"))
        .join(groups, "user_id")
        .groupBy("attribute", "group", "item_id")
        .agg(F.sum("n").cast("double").alias("n"), F.sum("c").cast("double").alias("c"))
        .withColumn("m", F.sum("n").over(of_item) - F.col("n"))
        .withColumn("d", F.sum("c").over(of_item) - F.col("c"))
        .where("m > 0")
    )
    n, c, m, d = (F.col(name) for name in "ncmd")
    variance = (c * (n - c) * m * m * m + d * (m - d) * n * n * n) / (n * m * (n + m) * (n + m))
    return counted.groupBy("attribute", "group").agg(
        F.sum("n").cast("bigint").alias("showings"),
        F.sum("c").cast("bigint").alias("clicked"),
        F.sum(F.round((c * m - d * n) / (n + m), 9)).alias("mh_difference"),
        F.sum(F.round(n * m / (n + m), 9)).alias("mh_weight"),
        F.sum(F.round(variance, 9)).alias("mh_variance"),
    )


def estimate(row: dict[str, float]) -> Estimate:
    """The group's click rate less that of the others, on the items that both were shown; with its interval.

    Examples
    --------
    One item: 6 of 20 against 4 of 20. 0.1 with an error of sqrt(0.3 * 0.7 / 20 + 0.2 * 0.8 / 20) = 0.136.

    >>> n = 20.0
    >>> variance = (6 * 14 * n**3 + 4 * 16 * n**3) / (n * n * 40**2)
    >>> row = {"mh_difference": (6 * n - 4 * n) / 40, "mh_weight": n * n / 40, "mh_variance": variance}
    >>> [round(x, 4) for x in estimate(row)]
    [0.1, -0.1666, 0.3666]
    """
    value = row["mh_difference"] / row["mh_weight"]
    half = _error(row) / row["mh_weight"]
    return value, value - half, value + half


def difference(rows: Sequence[dict[str, Any]]) -> Estimate:
    r"""The greatest less the least click rate of groups, as if all had been shown the same items; with its interval.

    .. math:: \frac{1}{n} \sum_i n_i \left(\frac{c_i}{n_i} - \frac{c_i + d_i}{n_i + m_i}\right)
              = \frac{1}{n} \sum_i \frac{c_i m_i - d_i n_i}{N_i}

    is a group's rate less what everybody makes of the items that it was shown (indirect standardisation). Errors are
    added, because what one group clicks more the others click less: exact for two groups, wide for more.

    Examples
    --------
    Two groups, one item, 6 of 20 against 4 of 20: as in `estimate`.

    >>> variance = (6 * 14 * 20.0**3 + 4 * 16 * 20.0**3) / (20 * 20 * 40.0**2)
    >>> f = {"showings": 20, "clicked": 6, "mh_difference": 1.0, "mh_variance": variance}
    >>> m = {"showings": 20, "clicked": 4, "mh_difference": -1.0, "mh_variance": variance}
    >>> [round(x, 4) for x in difference([f, m])]
    [0.1, -0.1666, 0.3666]
    """
    found = sorted((r["mh_difference"] / r["showings"], _error(r) / r["showings"]) for r in rows)
    (least, of_least), (greatest, of_greatest) = found[0], found[-1]
    gap, half = greatest - least, of_least + of_greatest
    return gap, gap - half, gap + half


def ratio(rows: Sequence[dict[str, Any]]) -> Estimate:
    """The least over the greatest of the groups' clicks, each over what everybody makes of the same items.

    Its ends are the least's lower end over the greatest's upper end, and the other way round: wide, as above.

    Examples
    --------
    4 clicks where 5 are expected, over 6 where 5 are: 0.8 over 1.2; half widths are 2.6658 / 5 = 0.5332.

    >>> variance = (6 * 14 * 20.0**3 + 4 * 16 * 20.0**3) / (20 * 20 * 40.0**2)
    >>> f = {"showings": 20, "clicked": 6, "mh_difference": 1.0, "mh_variance": variance}
    >>> m = {"showings": 20, "clicked": 4, "mh_difference": -1.0, "mh_variance": variance}
    >>> [round(x, 4) for x in ratio([f, m])]
    [0.6667, 0.154, 1.9993]
    """
    expected = [r["clicked"] - r["mh_difference"] for r in rows]
    if not all(e > 0 for e in expected):
        return math.nan, math.nan, math.nan
    found = sorted((r["clicked"] / e, _error(r) / e) for r, e in zip(rows, expected, strict=True))
    (least, of_least), (greatest, of_greatest) = found[0], found[-1]
    if greatest == 0:
        return math.nan, math.nan, math.nan
    surely = greatest - of_greatest
    high = (least + of_least) / surely if surely > 0 else math.inf
    return least / greatest, max(0.0, least - of_least) / (greatest + of_greatest), high


def _error(row: dict[str, Any]) -> float:
    return 1.959964 * math.sqrt(row["mh_variance"])


BETWEEN = {"difference": difference, "ratio": ratio}
