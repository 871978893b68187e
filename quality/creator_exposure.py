"""Whether creators of different stages get like exposure for items of like quality."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from quality.intervals import Estimate
from quality.lists import count_by_group, with_jackknife

BINS = 5
WEIGHTS = {"exposure_count": "count", "exposure_discounted": "discounted"}
PLACES = "share_of_places"


def exposures(top: DataFrame, item_stats: DataFrame, creator_stats: DataFrame) -> DataFrame:
    r"""Exposure of eligible items by stage of their creator and fifth of quality, and places in lists by stage.

    An item's exposure is the number of lists that hold it, or :math:`\sum 1 / \log_2(rank + 1)` over them
    (Singh and Joachims, Fairness of exposure in rankings, KDD 2018).

    Parameters
    ----------
    top
        ``user_id, item_id, rank`` of the day's lists, as far as positions count.
    item_stats, creator_stats
        Of the day.

    Returns
    -------
    DataFrame
        ``stage, quality_bin, items`` with sums and sums of squares of both exposures; and ``stage, places`` by random
        group of users.
    """
    stages = creator_stats.select("creator_id", "stage").where("stage IS NOT NULL")
    ordered = Window.partitionBy(F.lit(1)).orderBy("quality", "item_id")
    rated = (
        item_stats.where("is_eligible AND quality IS NOT NULL")
        .select("item_id", "creator_id", "quality")
        .withColumn("quality_bin", F.ntile(BINS).over(ordered))
        .join(stages, "creator_id")
    )
    shown = top.groupBy("item_id").agg(
        F.count("*").alias("count"), F.sum(F.round(1 / F.log2(F.col("rank") + 1), 9)).alias("discounted")
    )
    sums = [
        F.sum(F.round(value, 9)).alias(f"{name}_{power}")
        for name in WEIGHTS.values()
        for power, value in (("sum", F.col(name)), ("squares", F.col(name) * F.col(name)))
    ]
    by_quality = (
        rated.join(shown, "item_id", "left")
        .fillna(0, list(WEIGHTS.values()))
        .groupBy("stage", "quality_bin")
        .agg(F.count("*").alias("items"), *sums)
    )
    places = top.join(rated.select("item_id", "stage"), "item_id").groupBy("stage")
    return by_quality.unionByName(places.agg(count_by_group().alias("places")), allowMissingColumns=True)


@dataclass(frozen=True)
class Exposure:
    """A stage's figure with its interval, from ``n`` items or places."""

    stage: str
    estimate: Estimate
    n: int


def standardised(rows: Sequence[dict[str, Any]], weight: str) -> list[Exposure]:
    r"""Mean exposure of each stage's items, as if all stages had the same mix of quality; 1 is the average.

    .. math:: \hat e_g = \frac{1}{\bar e} \sum_b W_b \, \bar e_{g b}, \quad
              \mathrm{Var} = \frac{1}{\bar e^2} \sum_b W_b^2 \frac{s_{gb}^2}{n_{gb}}

    over the fifths b of quality in which every stage has two items or more; :math:`W_b` is the part of all items
    that b has of them.

    Notes
    -----
    Direct standardisation; variance of a stratified mean: Cochran, Sampling Techniques, 3rd ed., 1977, section 5.
    """
    stages = sorted({r["stage"] for r in rows})
    cells = {(r["stage"], r["quality_bin"]): r for r in rows if r["items"] >= 2}
    shared = [b for b in range(1, BINS + 1) if all((stage, b) in cells for stage in stages)]
    items = {b: sum(cells[stage, b]["items"] for stage in stages) for b in shared}
    total = sum(items.values())
    everything = sum(cells[stage, b][f"{weight}_sum"] for stage in stages for b in shared)
    if not total or not everything:
        return []
    mean, found = everything / total, []
    for stage in stages:
        value = variance = 0.0
        for b in shared:
            n, sum_, squares = (cells[stage, b][k] for k in ("items", f"{weight}_sum", f"{weight}_squares"))
            value += items[b] / total * sum_ / n
            variance += (items[b] / total) ** 2 * max(0.0, squares - sum_**2 / n) / (n - 1) / n
        half = 1.959964 * math.sqrt(variance) / mean
        value /= mean
        found.append(
            Exposure(stage, (value, value - half, value + half), sum(cells[stage, b]["items"] for b in shared))
        )
    return found


def between(exposures: Sequence[Exposure], seed: int = 7, samples: int = 2000) -> Estimate:
    """Variance of the stages' standardised exposures, weighted by items; the interval is a parametric bootstrap.

    0 is what fairness asks for. It can only be estimated from above, so an interval that starts near 0 says nothing
    against it.
    """
    values = np.array([e.estimate[0] for e in exposures])
    errors = np.array([(e.estimate[2] - e.estimate[1]) / 2 / 1.959964 for e in exposures])
    weights = np.array([e.n for e in exposures], dtype=float) / sum(e.n for e in exposures)

    def spread(of: np.ndarray) -> np.ndarray:
        return ((of - (of @ weights)[..., None]) ** 2) @ weights

    drawn = spread(np.random.default_rng(seed).normal(values, errors, (samples, len(values))))
    return float(spread(values)), *(float(x) for x in np.quantile(drawn, [0.025, 0.975]))


def places(rows: Sequence[dict[str, Any]]) -> Iterator[Exposure]:
    """Part of all places that each stage's items have, with a jackknife interval over users."""
    ordered = sorted(rows, key=lambda r: r["stage"])
    matrix = np.array([r["places"] for r in ordered], dtype=float)
    for at, row in enumerate(ordered):
        yield Exposure(row["stage"], with_jackknife(lambda e, at=at: float(e[at] / e.sum()), matrix), int(matrix.sum()))
