"""Whether groups of people click on the same items alike: what the choice of items cannot explain."""

from __future__ import annotations

import math

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
        ``attribute, group, showings, mh_difference, mh_weight, mh_variance`` (the three sums).

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
    half = 1.959964 * math.sqrt(row["mh_variance"]) / row["mh_weight"]
    return value, value - half, value + half
