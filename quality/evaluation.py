"""``audit.evaluation``: what the lists were worth, once the days that they were made for have passed."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between
from jobs.settings import Market
from quality.experiments.design import design_of
from quality.lists import (
    between_days,
    count_by_group,
    days_before,
    eligible,
    exposure_matrix,
    frame_of,
    hits_of_users,
    list_figure,
    not_again,
    on,
    popular,
    positives,
    with_jackknife,
)
from quality.metrics.coverage import coverage
from quality.metrics.gini import gini

LONGEST, HISTORY = 7, 28
ALL = "all"
SERVED, RANKED, FUSED, CHANNEL = "served", "ranked", "fused", "channel:"
OWN_HISTORY = "baseline:own_history"
OF_VARIANTS = ("recommendations", "fused", "ranked")


def popularity(days: int) -> str:
    """Subject of the popularity of so many days."""
    return f"baseline:popularity_{days}d"


@dataclass(frozen=True)
class Params:
    """How lists are judged.

    Parameters
    ----------
    horizons
        Days after the lists in which an action counts; none above 7.
    surface
        Whose lists are the subject ``served``; those of another one are ``served:<surface>``.
    list_metrics, candidate_metrics
        Of served (reranked) lists and baselines; of channels, their fusion, and what the ranker made of it.
    exposure_cut
        Positions that count for coverage and Gini.
    width
        Longest list that is read.
    popularity_days, half_life, block_days
        Of the baselines: days in which takers are counted, a baseline each; days after which an own action counts
        half; days for which a bought or rejected item may not return. The middle popularity fills own history up.
    """

    horizons: tuple[int, ...] = (1, 7)
    surface: str = "feed"
    list_metrics: tuple[str, ...] = ("ndcg@10", "recall@20", "hit_rate@10", "map@10", "mrr@10")
    candidate_metrics: tuple[str, ...] = ("ndcg@10", "recall@20", "recall@100", "hit_rate@10")
    exposure_cut: int = 10
    width: int = 100
    popularity_days: tuple[int, ...] = (1, 7, 28)
    half_life: float = 7.0
    block_days: int = 7


CONTRACT = Table(
    name="audit.evaluation",
    group="audit",
    owner="quality",
    description="The lists of list_ds against what their users took in the horizon's days after it, which end on "
    "ds: full ranking, split by time, beside candidates and baselines for the same users and eligible items.",
    columns=[
        Column("list_ds", "date", "Day of the judged lists."),
        Column("horizon_days", "int", "Days after list_ds in which an action counts.", unit="days"),
        Column("subject", "string", "served, served:SURFACE, ranked, fused, channel:NAME, or baseline:NAME."),
        Column("metric", "string", "Metric, a file of quality/metrics."),
        Column("k", "int", "Positions that count."),
        Column("group", "string", "Users judged: all, or those of an experiment.variant with pipelines of its own."),
        Column("value", "double", "Mean over users; coverage and gini over eligible items.", digits=6),
        Column("lo", "double", "Lower end of the 95 % interval over users.", digits=6),
        Column("hi", "double", "Upper end of the 95 % interval over users.", digits=6),
        Column("n", "bigint", "Users with a served list and at least one such action.", unit="users"),
    ],
    keys=["list_ds", "horizon_days", "subject", "metric", "k", "group"],
    inputs=[
        TableInput("serving.recommendations", days=LONGEST + 1, optional=True),
        TableInput("candidates.recall", days=LONGEST + 1, optional=True),
        TableInput("candidates.fused", days=LONGEST + 1, optional=True),
        TableInput("candidates.ranked", days=LONGEST + 1, optional=True),
        TableInput("silver.user_item_daily", days=LONGEST + HISTORY),
        TableInput("silver.items", days=LONGEST + 1),
    ],
    checks=[between("value", 0, 1), between("n", 1, None)],
    grain="day",
)


@dataclass(frozen=True)
class Inputs:
    """The input frames of one build."""

    recommendations: DataFrame
    recall: DataFrame
    fused: DataFrame
    ranked: DataFrame
    user_item_daily: DataFrame
    items: DataFrame


def own_history(
    given: Inputs, users: DataFrame, allowed: DataFrame, list_ds: dt.date, half_life: float, longest: int
) -> DataFrame:
    """Each user's ``longest`` own items, by strength halved every ``half_life`` days; ties by item.

    Returns
    -------
    DataFrame
        ``user_id, own array<bigint>``.
    """
    acted = (
        given.user_item_daily.where(between_days(days_before(list_ds, HISTORY - 1), list_ds) & (F.col("strength") > 0))
        .join(users, "user_id", "left_semi")
        .join(allowed, "item_id", "left_semi")
    )
    age = F.date_diff(F.lit(list_ds), F.col("ds"))
    # rounded, because sums of floats depend on the order of the partitions and ties must not
    weight = F.round(F.sum(F.col("strength") * F.pow(F.lit(0.5), age / F.lit(half_life))), 6)
    of_item = acted.groupBy("user_id", "item_id").agg((-weight).alias("order"))
    ordered = F.sort_array(F.collect_list(F.struct("order", "item_id")))
    best = F.transform(F.slice(ordered, 1, longest), lambda p: p["item_id"])
    return of_item.groupBy("user_id").agg(best.alias("own"))


def baselines(given: Inputs, users: DataFrame, list_ds: dt.date, params: Params, market: Market) -> DataFrame:
    """What popularity and the user's own history alone would have shown, under the lists' own rules.

    Returns
    -------
    DataFrame
        ``subject, user_id, rank, item_id``.
    """
    width = max(20, params.exposure_cut)
    allowed = eligible(given.items, list_ds)
    # a pool larger than a list, because each user's blocked items fall out of it
    pool = popular(given.user_item_daily, allowed, list_ds, params.popularity_days, 4 * width)
    own_items = own_history(given, users, allowed, list_ds, params.half_life, 4 * width)
    blocked = not_again(given.user_item_daily, given.items, list_ds, params.block_days, market).join(
        users, "user_id", "left_semi"
    )
    per_user = (
        users.crossJoin(F.broadcast(pool))
        .join(blocked.groupBy("user_id").agg(F.collect_set("item_id").alias("blocked")), "user_id", "left")
        .join(own_items, "user_id", "left")
    )
    none = F.array().cast("array<bigint>")
    barred = F.coalesce("blocked", none)
    most = {n: F.array_except(f"pool_{n}", barred) for n in params.popularity_days}
    own = F.array_except(F.coalesce("own", none), barred)
    filled = F.array_distinct(F.concat(own, most[params.popularity_days[len(most) // 2]]))
    lists = {popularity(n): items for n, items in most.items()} | {OWN_HISTORY: filled}
    shown = [
        F.struct(F.lit(subject).alias("subject"), F.slice(items, 1, width).alias("items"))
        for subject, items in lists.items()
    ]
    return (
        per_user.select("user_id", F.inline(F.array(*shown)))
        .select("subject", "user_id", F.posexplode("items").alias("at", "item_id"))
        .select("subject", "user_id", (F.col("at") + 1).alias("rank"), "item_id")
    )


def wanted_of(given: Inputs, list_ds: dt.date, horizon: int) -> DataFrame:
    """What the users with a served list took within the horizon (see `quality.lists.positives`)."""
    with_list = given.recommendations.where(on(list_ds)).select("user_id").distinct()
    return positives(given.user_item_daily, list_ds, horizon, with_list)


def judged(given: Inputs, wanted: DataFrame, base: DataFrame, list_ds: dt.date, params: Params) -> DataFrame:
    """Count everything that the figures of one horizon need.

    Returns
    -------
    DataFrame
        ``subject, hits, relevant, item_id, shown``, where ``shown`` counts users by random group: of a
        pattern (``relevant`` is set), of an item's exposure (``item_id`` is set), or of everyone judged.
    """
    elsewhere = F.concat(F.lit(f"{SERVED}:"), "surface")
    served = F.when(F.col("surface") == params.surface, SERVED).otherwise(elsewhere)
    users = wanted.select("user_id").distinct()
    columns = ("subject", "user_id", "rank", "item_id")
    subjects = [
        given.recommendations.where(on(list_ds)).withColumn("subject", served),
        given.recall.where(on(list_ds)).withColumn("subject", F.concat(F.lit(CHANNEL), "channel")),
        given.fused.where(on(list_ds)).withColumn("subject", F.lit(FUSED)),
        given.ranked.where(on(list_ds)).withColumn("subject", F.lit(RANKED)),
    ]
    listed = reduce(DataFrame.unionByName, [s.where(F.col("rank") <= params.width).select(*columns) for s in subjects])
    listed = listed.unionByName(base)
    hits = hits_of_users(listed, wanted, "subject")
    patterns = hits.groupBy("subject", "hits", "relevant").agg(count_by_group().alias("shown"))
    top = listed.where(F.col("rank") <= params.exposure_cut).join(users, "user_id", "left_semi")
    exposures = top.groupBy("subject", "item_id").agg(count_by_group().alias("shown"))
    everyone = users.agg(count_by_group().alias("shown"))
    # one query, because patterns and exposures both need every list
    return patterns.unionByName(exposures, allowMissingColumns=True).unionByName(everyone, allowMissingColumns=True)


def counted(given: Inputs, list_ds: dt.date, horizon: int, params: Params, market: Market) -> pa.Table | None:
    """The counts of `judged`, collected; None where nobody can be judged."""
    wanted = wanted_of(given, list_ds, horizon).persist()
    try:
        # most first nights end here, without planning the rest
        if wanted.isEmpty():
            return None
        base = baselines(given, wanted.select("user_id").distinct(), list_ds, params, market).persist()
        try:
            return judged(given, wanted, base, list_ds, params).toArrow()
        finally:
            base.unpersist()
    finally:
        wanted.unpersist()


def build(
    recommendations: DataFrame,
    recall: DataFrame,
    fused: DataFrame,
    ranked: DataFrame,
    user_item_daily: DataFrame,
    items: DataFrame,
    *,
    days: DayRange,
    params: Params,
    market: Market,
) -> DataFrame:
    ds = days.last
    given = Inputs(recommendations, recall, fused, ranked, user_item_daily, items)
    rows: list[dict[str, Any]] = []
    for horizon in params.horizons:
        list_ds = days_before(ds, horizon)
        for group, among in {ALL: given, **by_variant(given, list_ds, market)}.items():
            found = counted(among, list_ds, horizon, params, market)
            if found is not None:
                made = figures(ds, (list_ds, horizon), found, eligible(items, list_ds).count(), params)
                rows += [{**row, "group": group} for row in made]
    # NaN means "cannot be said", which is null in a table
    rows = [{k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows]
    return frame_of(items.sparkSession, CONTRACT, rows)


def by_variant(given: Inputs, list_ds: dt.date, market: Market) -> dict[str, Inputs]:
    """By ``experiment.variant`` the lists and candidates of its people, where variants have own pipelines.

    Lists are shown on the day after ``list_ds``: the experiments that ran then count.
    """
    design, found = design_of(market), {}
    for experiment in design.on(days_before(list_ds, -1)):
        variant = design.variant_column(experiment, F.col("user_id"))
        for name in experiment.variants if experiment.pipeline else ():
            theirs = {each: getattr(given, each).where(variant == name) for each in OF_VARIANTS}
            found[f"{experiment.name}.{name}"] = replace(given, **theirs, recall=given.recall.where(F.lit(False)))
    return found


Key = tuple[dt.date, int, str]


def figures(
    ds: dt.date, at: tuple[dt.date, int], found: pa.Table, catalogue: int, params: Params
) -> Iterator[dict[str, Any]]:
    """Every figure of one day of lists and horizon, from the counts of `judged`."""
    everyone = int(exposure_matrix(found.filter(found["subject"].is_null())["shown"]).sum())
    exposures = subjects_of(found.filter(found["item_id"].is_valid()))
    patterns = subjects_of(found.filter(found["relevant"].is_valid()))
    # a baseline that has nothing to show to anyone is worth nothing; a channel without rows was not there
    baselines = {OWN_HISTORY, *map(popularity, params.popularity_days)}
    for subject in sorted(baselines | set(exposures)):
        none = found.slice(0, 0)
        yield from list_rows(ds, (*at, subject), patterns.get(subject, none), everyone, params)
        yield from exposure_rows(ds, (*at, subject), exposures.get(subject, none), catalogue, everyone, params)


def subjects_of(table: pa.Table) -> dict[str, pa.Table]:
    """The rows of each subject."""
    subject = table["subject"]
    return {name: table.filter(pc.equal(subject, name)) for name in pc.unique(subject).to_pylist()}


def list_rows(ds: dt.date, key: Key, patterns: pa.Table, everyone: int, params: Params) -> Iterator[dict[str, Any]]:
    """A row per metric of one subject's lists; a user whom no pattern covers has no hit."""
    candidate = key[2] in (RANKED, FUSED) or key[2].startswith(CHANNEL)
    hits, relevant = patterns["hits"].to_pylist(), patterns["relevant"].to_pylist()
    users = exposure_matrix(patterns["shown"]).sum(axis=1)
    for name in params.candidate_metrics if candidate else params.list_metrics:
        yield row(ds, *key, name, list_figure(name, hits, relevant, users, everyone), everyone)


def exposure_rows(
    ds: dt.date, key: Key, shown: pa.Table, catalogue: int, everyone: int, params: Params
) -> Iterator[dict[str, Any]]:
    """Coverage and Gini of one subject over the eligible items, those that it shows to nobody included."""
    exposed = exposure_matrix(shown["shown"])
    matrix = np.pad(exposed, ((0, max(0, catalogue - len(exposed))), (0, 0)))
    for name, figure in (("coverage", coverage), ("gini", gini)):
        yield row(ds, *key, f"{name}@{params.exposure_cut}", with_jackknife(figure, matrix), everyone)


def row(
    ds: dt.date, list_ds: dt.date, horizon: int, subject: str, name: str, figure: tuple[float, float, float], n: int
) -> dict[str, Any]:
    metric, _, k = name.partition("@")
    value, low, high = figure
    return {
        "ds": ds,
        "list_ds": list_ds,
        "horizon_days": horizon,
        "subject": subject,
        "metric": metric,
        "k": int(k),
        "group": ALL,
        "value": value,
        "lo": low,
        "hi": high,
        "n": n,
    }
