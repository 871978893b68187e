"""``audit.drift``: which features of the day are not what they were, each with its owner and a verdict.

The reference sets itself: all days with rows among the 28 before ds, at least 7, so that a whole week is in
it. What happened on the day itself, such as requests, is held against workdays or weekends, as ds is one. Until there
are 7 days the verdict is ``no_reference``, and of a handful of rows it is ``too_small``. A feature of 28
days grows for as long after a lake's first day, whatever people do: days on which its window was not full yet are no
part of its reference, and while there are too few others the verdict is ``young``. Four
questions are asked of each feature; the worst answer is its verdict, and ``reason`` names the questions that
led to it:

``psi``
    Has the shape moved? Population stability index over tenths of the reference (its categories: over each).
    A few rows move by chance, so it must also exceed what chance does (`quality.metrics.psi`).
``missing``
    Are more, or fewer, values missing than used to be? Difference of the two rates.
``unseen``
    Which part of the rows has a category that the reference does not know?
``range``
    Which part of the rows lies below all, or above all, of the reference?
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, in_set
from quality.feature_histograms import CATEGORY, CONTRACTS, MISSING, NUMBER, NUMBERS, REST, column_of, of_events
from quality.lists import days_before, frame_of
from quality.metrics.psi import psi, psi_by_chance, quantile_bins

REFERENCE_DAYS = 28
OK, MODERATE, DRIFT = "ok", "warn", "drift"
NO_REFERENCE, YOUNG, TOO_SMALL = "no_reference", "young", "too_small"
SPAN_DAYS = r"_(\d+)d\b"
"""A feature's name says how many days it is of; else it is of as many as its table reads."""


@dataclass(frozen=True)
class Params:
    """When a feature has drifted: each pair is the limit of a warning and of drift.

    Parameters
    ----------
    least_days, least_rows
        Days with rows that a reference needs, and rows that ds needs.
    bins, epsilon
        Of the population stability index.
    psi, missing, unseen, out_of_range
        Limits of the index, of the change of the missing rate, and of the two shares.
    chance
        Probability with which an unmoved feature stays below its limit of chance.
    """

    least_days: int = 7
    least_rows: int = 50
    bins: int = 10
    epsilon: float = 1e-4
    psi: tuple[float, ...] = (0.1, 0.25)
    missing: tuple[float, ...] = (0.05, 0.2)
    unseen: tuple[float, ...] = (0.01, 0.1)
    out_of_range: tuple[float, ...] = (0.01, 0.1)
    chance: float = 0.999


CONTRACT = Table(
    name="audit.drift",
    group="audit",
    owner="quality",
    description="Every feature on ds against its own last 28 days, with a verdict.",
    columns=[
        Column("table", "string", "Table of the feature."),
        Column("feature", "string", "Its column; with the kind of row in brackets, where a table has several."),
        Column("psi", "double", "Population stability index against the reference; null without values.", digits=6),
        Column("missing_rate", "double", "Part of the rows without a value.", digits=6),
        Column("missing_reference", "double", "The same in the reference.", digits=6),
        Column("unseen_share", "double", "Part with a category that the reference lacks; null for numbers.", digits=6),
        Column("low", "double", "Least number of the reference.", digits=6),
        Column("high", "double", "Greatest number of the reference.", digits=6),
        Column("out_of_range_share", "double", "Part beyond these; null for categories.", digits=6),
        Column("n", "bigint", "Rows of ds."),
        Column("reference_first", "date", "First day of the reference with rows."),
        Column("reference_last", "date", "Last day of the reference with rows."),
        Column("owner", "string", "Owner of the table."),
        Column("verdict", "string", "ok, warn, drift, no_reference, young or too_small.", nullable=False),
        Column("reason", "string", "What led to the verdict: psi, missing, unseen, range, gone; empty where ok."),
    ],
    keys=["table", "feature"],
    # twice the reference: whether the lake is older than a window that ends before it
    inputs=[TableInput("audit.feature_histograms", days=2 * REFERENCE_DAYS + 1)],
    checks=[in_set("verdict", (OK, MODERATE, DRIFT, NO_REFERENCE, YOUNG, TOO_SMALL)), between("psi", 0, None)],
    grain="day",
)


def build(feature_histograms: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    rows = list(figures(histograms_of(feature_histograms, days.last), days.last, params))
    return frame_of(feature_histograms.sparkSession, CONTRACT, rows)


@dataclass(frozen=True)
class Histogram:
    """One feature on ds and in its reference, bucket by bucket.

    Parameters
    ----------
    kind, bucket
        Of each bucket, as in ``audit.feature_histograms``.
    today, before
        Rows of ds and of the reference.
    low, high
        Least and greatest number of the reference in it.
    """

    kind: np.ndarray
    bucket: np.ndarray
    today: np.ndarray
    before: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def of(self, kind: str) -> Histogram:
        """The buckets of a kind; those of numbers in their order."""
        at = np.flatnonzero(self.kind == kind)
        order = at[np.argsort(self.bucket[at].astype(int))] if kind == NUMBER else at
        return Histogram(*[values[order] for values in vars(self).values()])

    @property
    def rows(self) -> tuple[int, int]:
        return int(self.today.sum()), int(self.before.sum())


@dataclass(frozen=True)
class Reference:
    """The days that a feature is held against; ``seen`` are those too on which its window was not full yet."""

    days: int = 0
    seen: int = 0
    first: dt.date | None = None
    last: dt.date | None = None


Found = dict[tuple[str, str], tuple[Histogram, Reference]]


def histograms_of(feature_histograms: DataFrame, ds: dt.date) -> Found:
    """Histogram and reference of every feature by table and name, in one query."""
    is_today = F.col("ds") == F.lit(ds)
    window = (
        with_full_windows(feature_histograms, ds)
        .where(F.col("ds").between(F.lit(days_before(ds, REFERENCE_DAYS)), F.lit(ds)))
        .where(is_like(ds))
    )
    counts = ~is_today & F.col("full")
    buckets = window.groupBy("table", "feature", "kind", "bucket").agg(
        F.sum(F.when(is_today, F.col("n")).otherwise(0)).alias("today"),
        F.sum(F.when(counts, F.col("n")).otherwise(0)).alias("before"),
        F.min(F.when(counts, F.col("low"))).alias("low"),
        F.max(F.when(counts, F.col("high"))).alias("high"),
    )
    used = F.when(F.col("full"), F.col("ds"))
    references = (
        window.where(~is_today)
        .groupBy("table", "feature")
        .agg(
            F.count_distinct(used).alias("days"),
            F.count_distinct("ds").alias("seen"),
            F.min(used).alias("first"),
            F.max(used).alias("last"),
        )
    )
    found = buckets.unionByName(references, allowMissingColumns=True).toPandas()
    days = {
        (r.table, r.feature): Reference(int(r.days), int(r.seen), r.first, r.last)
        for r in found[found["kind"].isna()].itertuples()
    }
    of_features = found[found["kind"].notna()].sort_values(["table", "feature", "kind", "bucket"])
    return {
        key: (histogram_of(group), days.get(key, Reference()))
        for key, group in of_features.groupby(["table", "feature"], sort=True)
    }


def with_full_windows(feature_histograms: DataFrame, ds: dt.date) -> DataFrame:
    """Add ``full``: the feature's window held as many days as it is of; older days than can be seen always do.

    The first day of a table counts as the lake's first day, unless it is the oldest that is read at all.
    """
    oldest = days_before(ds, 2 * REFERENCE_DAYS)
    first = F.min("ds").over(Window.partitionBy("table"))
    named = F.nullif(F.regexp_extract("feature", SPAN_DAYS, 1), F.lit("")).cast("int")
    of_table = F.create_map(*[F.lit(each) for name, days in spans().items() for each in (name, days)])
    span = F.least(F.coalesce(named, F.try_element_at(of_table, F.col("table")), F.lit(1)), F.lit(REFERENCE_DAYS))
    return feature_histograms.where(F.col("ds") >= F.lit(oldest)).withColumn(
        "full", (first == F.lit(oldest)) | (F.date_diff("ds", first) >= span - 1)
    )


def is_like(ds: dt.date) -> SparkColumn:
    """Whether a day may be compared with ds: what happened on a workday is like that of other workdays alone."""
    events = [name for name, contract in CONTRACTS.items() if of_events(contract)]
    return ~F.col("table").isin(events) | ((F.weekday("ds") >= 5) == F.lit(ds.weekday() >= 5))


def spans() -> dict[str, int]:
    """Days that each table of features looks back, through the tables of features that it reads."""

    def of(name: str, above: tuple[str, ...] = ()) -> int:
        # a state feed reads its own yesterday, which looks back no further than it does itself
        read = [i for i in CONTRACTS[name].inputs if isinstance(i, TableInput) and i.table not in (name, *above)]
        behind = {i.table: of(i.table, (name, *above)) - 1 if i.table in CONTRACTS else 0 for i in read}
        return 1 + max((i.days - 1 + i.lag + behind[i.table] for i in read), default=0)

    return {name: of(name) for name in CONTRACTS}


def histogram_of(buckets: pd.DataFrame) -> Histogram:
    return Histogram(
        *[buckets[c].to_numpy() for c in ("kind", "bucket")],
        *[buckets[c].to_numpy().astype(np.int64) for c in ("today", "before")],
        *[buckets[c].to_numpy().astype(float) for c in ("low", "high")],
    )


def figures(found: Found, ds: dt.date, params: Params) -> Iterator[dict[str, Any]]:
    """A row a feature that is still declared."""
    for (table, feature), (histogram, reference) in found.items():
        contract, column = CONTRACTS.get(table), column_of(feature)
        if contract is None or column not in {c.name for c in contract.columns}:
            continue
        yield {
            "ds": ds,
            "table": table,
            "feature": feature,
            "owner": contract.owner,
            "reference_first": reference.first,
            "reference_last": reference.last,
            **judged(histogram, contract.column(column).type in NUMBERS, reference, params),
        }


def judged(histogram: Histogram, is_number: bool, reference: Reference, params: Params) -> dict[str, Any]:
    """The figures of one feature, and the verdict on them."""
    today, before = histogram.rows
    gone, used_to = (histogram.of(MISSING).rows[at] for at in (0, 1))
    known = before > 0
    shape = numbers_of(histogram.of(NUMBER), params) if is_number else categories_of(histogram.of(CATEGORY), params)
    said: dict[str, Any] = {
        "psi": shape.psi if known else None,
        "missing_rate": gone / today if today else None,
        "missing_reference": used_to / before if known else None,
        "unseen_share": shape.unseen / today if known and today and shape.unseen is not None else None,
        "low": shape.low,
        "high": shape.high,
        "out_of_range_share": shape.outside / today if known and today and shape.outside is not None else None,
        "n": today,
    }
    return said | verdict(said, shape, reference, params)


@dataclass(frozen=True)
class Shape:
    """How values lie against the reference; ``by_chance`` is what the index of an unmoved feature stays below."""

    psi: float | None = None
    by_chance: float = 0.0
    unseen: int | None = None
    outside: int | None = None
    low: float | None = None
    high: float | None = None


def numbers_of(values: Histogram, params: Params) -> Shape:
    bins = quantile_bins(values.before, params.bins)
    shape = moved(np.bincount(bins, values.before), np.bincount(bins, values.today), params)
    known = np.flatnonzero(values.before)
    if not known.size:
        return shape
    first, last = known[0], known[-1]
    outside = values.today[:first].sum() + values.today[last + 1 :].sum()
    # the ends of the outermost buckets: what lies in them is within the accuracy of the buckets
    return replace(shape, outside=int(outside), low=float(values.low[first]), high=float(values.high[last]))


def categories_of(values: Histogram, params: Params) -> Shape:
    # what is unseen is a question of its own: an empty bin's epsilon would make a drift of any new category
    known = values.before > 0
    shape = moved(values.before[known], values.today[known], params)
    # a category of today may hide among the rare ones of the reference, so none can be called unseen
    if values.before[values.bucket == REST].sum():
        return shape
    return replace(shape, unseen=int(values.today[~known].sum()))


def moved(before: np.ndarray, today: np.ndarray, params: Params) -> Shape:
    index = psi(before, today, params.epsilon)
    chance = psi_by_chance(int((before > 0).sum()), before.sum(), today.sum(), params.chance)
    return Shape(None if math.isnan(index) else index, chance)


def verdict(said: Mapping[str, Any], shape: Shape, reference: Reference, params: Params) -> dict[str, str]:
    """The worst answer, and the questions that gave it."""
    if reference.days < params.least_days:
        return {"verdict": YOUNG if reference.seen >= params.least_days else NO_REFERENCE, "reason": ""}
    if not said["n"]:
        return {"verdict": DRIFT, "reason": "gone"}
    if said["n"] < params.least_rows:
        return {"verdict": TOO_SMALL, "reason": ""}
    answers = {
        "psi": level(said["psi"] if (said["psi"] or 0) > shape.by_chance else None, params.psi),
        "missing": level(abs(said["missing_rate"] - said["missing_reference"]), params.missing),
        "unseen": level(said["unseen_share"], params.unseen),
        "range": level(said["out_of_range_share"], params.out_of_range),
    }
    worst = max(answers.values())
    reasons = [name for name, answer in answers.items() if answer == worst and worst]
    return {"verdict": (OK, MODERATE, DRIFT)[worst], "reason": ",".join(reasons)}


def level(value: float | None, limits: Sequence[float]) -> int:
    """How many limits are reached."""
    return 0 if value is None else sum(value >= limit for limit in limits)
