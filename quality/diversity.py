"""``audit.diversity``: how widely the lists spread over the catalogue, and what people were shown over weeks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, in_set
from quality import category_trend, filter_bubble
from quality.intervals import bootstrap, wilson
from quality.lists import (
    between_days,
    days_before,
    eligible,
    exposure_by_group,
    exposure_matrix,
    frame_of,
    on,
    with_jackknife,
)
from quality.metrics.coverage import coverage
from quality.metrics.gini import gini
from quality.metrics.intra_list_diversity import intra_list_diversity
from quality.metrics.long_tail_share import long_tail_share
from quality.metrics.novelty import novelty

HISTORY = 28
SHOWN = "shown"


@dataclass(frozen=True)
class Params:
    """Where a list spreads too little.

    Parameters
    ----------
    cut
        Positions of a list that count as exposure.
    head_share
        Share of the eligible items, most exposed first, that is the head; the others are the long tail.
    gini_limit, long_tail_target
        Gini above the one, or a long-tail share below the other, is a warning.
    item_limit
        One item in more than this part of a surface's lists is a warning. A small shop's bestsellers stand in half of
        its lists and more, so it is high; that one item takes more than it used to is seen by audit.health.
    sample
        People whose lists are compared item by item, drawn by hash.
    min_showings
        Showings that a person must have had in each of two weeks to say whether what they see narrows.
    narrowed
        A person's variety that fell by more than this between the weeks has narrowed.
    """

    cut: int = 20
    head_share: float = 0.2
    gini_limit: float = 0.6
    long_tail_target: float = 0.3
    item_limit: float = 0.9
    sample: int = 500
    min_showings: int = 10
    narrowed: float = 0.1


CONTRACT = Table(
    name="audit.diversity",
    group="audit",
    owner="quality",
    description="Spread of the day's lists over eligible items and categories, by surface. The long tail is what "
    "lies outside the most shown 20 % of the eligible items in 28 days (most taken, where showings are not known). "
    "Variety of a person is the chance that two of a week's showings are of different categories.",
    columns=[
        Column("subject", "string", "The surface whose lists are judged; shown: what people saw, on any surface."),
        Column(
            "metric",
            "string",
            "Of lists: category_coverage, item_coverage, gini, largest_item_share (part of the lists in which the most "
            "listed item stands), long_tail_share, intra_list_categories, intra_list_diversity (1 - cosine of "
            "contents) or novelty (bits). Of what was shown: small_category_share, middle_category_share and their "
            "_trend against the week before; variety_change (mean) and its _p10, _p50, _p90 over people, "
            "narrowed_share.",
        ),
        Column("value", "double", "The figure.", digits=6),
        Column("lo", "double", "Lower end of the 95 % interval.", digits=6),
        Column("hi", "double", "Upper end of the 95 % interval.", digits=6),
        Column("n", "bigint", "What it is taken over: categories, eligible items, lists, days or people."),
        Column("threshold", "double", "Limit that the figure is held against, where there is one.", digits=6),
        Column("verdict", "string", "ok or warn; null where there is no limit."),
    ],
    keys=["subject", "metric"],
    inputs=[
        TableInput("serving.recommendations", optional=True),
        TableInput("silver.items"),
        TableInput("silver.item_daily", days=HISTORY, optional=True),
        TableInput("silver.user_item_daily", days=filter_bubble.DAYS, optional=True),
        TableInput("features.item_content", optional=True),
    ],
    checks=[in_set("verdict", ("ok", "warn")), between("n", 0, None)],
    grain="day",
)


def catalogue(items: DataFrame, item_daily: DataFrame, days: DayRange, params: Params) -> DataFrame:
    """Eligible items with how known they are.

    Returns
    -------
    DataFrame
        ``item_id, category, in_tail, popularity``: popularity is the share of past showings (takings,
        where no item has showings), each count raised by one so that an unseen item has a finite novelty.
    """
    past = (
        item_daily.where(between_days(days_before(days.last, HISTORY - 1), days.last))
        .groupBy("item_id")
        .agg(F.sum("impressions").alias("impressions"), F.sum("targets").alias("targets"))
    )
    everything = Window.partitionBy("ds")
    known = F.when(F.sum("impressions").over(everything) > 0, F.col("impressions")).otherwise(F.col("targets"))
    place = F.row_number().over(everything.orderBy(F.desc("known"), "item_id"))
    return (
        eligible(items, days.last)
        .join(past, "item_id", "left")
        .fillna(0, ["impressions", "targets"])
        .withColumn("ds", F.lit(days.last))
        .withColumn("known", known)
        .select(
            "item_id",
            "category",
            (place > F.ceil(F.count("*").over(everything) * F.lit(params.head_share))).alias("in_tail"),
            ((F.col("known") + 1) / F.sum(F.col("known") + 1).over(everything)).alias("popularity"),
        )
    )


def build(
    recommendations: DataFrame,
    items: DataFrame,
    item_daily: DataFrame,
    user_item_daily: DataFrame,
    item_content: DataFrame,
    *,
    days: DayRange,
    params: Params,
) -> DataFrame:
    shown = recommendations.where(on(days.last) & (F.col("rank") <= params.cut)).select(
        F.col("surface").alias("subject"), "user_id", "item_id", "rank"
    )
    known = catalogue(items, item_daily, days, params)
    exposures = exposure_by_group(shown, "subject").join(known, "item_id")
    totals = known.groupBy("category").agg(F.count("*").alias("items"))
    categories = (
        shown.join(known.select("item_id", "category"), "item_id")
        .groupBy("subject", "user_id")
        .agg(F.count_distinct("category").alias("categories"))
    )
    lists = categories.groupBy("subject", "categories").agg(F.count("*").alias("lists"))
    of_item = items.where(on(days.last)).select("item_id", "category")
    parts = [
        totals,
        lists,
        contents(shown, item_content.where(on(days.last)), params),
        category_trend.counts(item_daily, of_item, days),
        filter_bubble.changes(user_item_daily, of_item, days, params.min_showings),
    ]
    # one query, because each part needs the lists or the catalogue
    found = reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), parts, exposures)
    table = found.toArrow()
    rows = [
        {"ds": days.last, "subject": subject, **figure}
        for subject in sorted(s for s in pc.unique(table["subject"]).to_pylist() if s is not None)
        for figure in figures(table, subject, params)
    ]
    over_weeks = [*category_trend.figures(table, days), *filter_bubble.figures(table, params.narrowed)]
    rows += [{"ds": days.last, "subject": SHOWN, **figure(*each)} for each in over_weeks]
    return frame_of(items.sparkSession, CONTRACT, rows)


def contents(shown: DataFrame, item_content: DataFrame, params: Params) -> DataFrame:
    """What the lists of some people are about: ``subject, user_id, item_id, vector``."""
    drawn = (
        shown.select("user_id")
        .distinct()
        .orderBy(F.xxhash64("user_id", F.lit("content")), "user_id")
        .limit(params.sample)
    )
    listed = shown.join(drawn, "user_id", "left_semi").drop("rank")
    return listed.join(item_content.select("item_id", "vector"), "item_id")


def differences(table: pa.Table, subject: str) -> np.ndarray:
    """Intra-list diversity of the drawn lists of a surface."""
    of = table.filter(pc.and_(pc.equal(table["subject"], subject), table["vector"].is_valid()))
    of = of.sort_by([("user_id", "ascending"), ("item_id", "ascending")])
    if not len(of):
        return np.zeros(0)
    vectors = np.stack(of["vector"].to_numpy())
    _, at, length = np.unique(of["user_id"].to_numpy(), return_inverse=True, return_counts=True)
    matrix = np.full((len(length), length.max(), vectors.shape[1]), np.nan)
    place = np.arange(len(at)) - np.repeat(np.cumsum(length) - length, length)
    matrix[at, place] = vectors
    found = intra_list_diversity(matrix)
    return found[np.isfinite(found)]


def figures(table: pa.Table, subject: str, params: Params) -> Iterator[dict[str, Any]]:
    """Every figure of one surface, from its exposed items, the catalogue's counts and the lists' categories."""
    totals = table.filter(table["items"].is_valid())
    of = table.filter(pc.and_(pc.equal(table["subject"], subject), table["shown"].is_valid()))
    lists = table.filter(pc.and_(pc.equal(table["subject"], subject), table["lists"].is_valid()))
    exposed = exposure_matrix(of["shown"])
    n_items = int(np.sum(totals["items"].to_numpy()))
    matrix = np.pad(exposed, ((0, n_items - len(exposed)), (0, 0)))
    in_tail, popularity = of["in_tail"].to_numpy(zero_copy_only=False), of["popularity"].to_numpy()
    n_lists = int(np.sum(lists["lists"].to_numpy()))

    seen = len(pc.unique(of["category"]))
    share = seen / len(totals) if len(totals) else math.nan
    yield figure("category_coverage", (share, *wilson(seen, len(totals))), len(totals))
    yield figure("item_coverage", with_jackknife(coverage, matrix), n_items)
    yield figure("gini", with_jackknife(gini, matrix), n_items, params.gini_limit, lambda v: v <= params.gini_limit)
    # Gini sees how all items fare, and hardly one that is everywhere; no list holds an item twice
    most = int(exposed.sum(axis=1).max(initial=0))
    largest = (most / n_lists, *wilson(most, n_lists)) if n_lists else (math.nan,) * 3
    yield figure("largest_item_share", largest, n_lists, params.item_limit, lambda v: v <= params.item_limit)
    yield figure(
        "long_tail_share",
        with_jackknife(lambda e: long_tail_share(e, in_tail), exposed),
        n_lists,
        params.long_tail_target,
        lambda v: v >= params.long_tail_target,
    )
    distinct, counts = lists["categories"].to_numpy(), lists["lists"].to_numpy()
    mean = float(distinct @ counts / n_lists) if n_lists else math.nan
    yield figure("intra_list_categories", (mean, *bootstrap(distinct, counts)), n_lists)
    apart = np.round(differences(table, subject), 9)
    if apart.size:
        yield figure("intra_list_diversity", (float(apart.mean()), *bootstrap(apart)), apart.size)
    yield figure("novelty", with_jackknife(lambda e: novelty(e, popularity), exposed, unit=False), n_lists)


def figure(
    metric: str,
    of: tuple[float, float, float],
    n: int,
    threshold: float | None = None,
    fine: Callable[[float], bool] | None = None,
) -> dict[str, Any]:
    """A row; a figure that cannot be said is null and has no verdict."""
    value, low, high = (None if math.isnan(x) else x for x in of)
    verdict = None if value is None or fine is None else ("ok" if fine(value) else "warn")
    return {"metric": metric, "value": value, "lo": low, "hi": high, "n": n, "threshold": threshold, "verdict": verdict}
