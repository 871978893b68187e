"""``audit.evaluation``: what the lists were worth, once the days that they were made for have passed."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between
from jobs.settings import Market
from quality.lists import (
    between_days,
    count_by_group,
    days_before,
    eligible,
    exposure_matrix,
    frame_of,
    hit_positions,
    list_figure,
    lists,
    not_again,
    on,
    popular,
    positives,
    with_jackknife,
)
from quality.metrics.coverage import coverage
from quality.metrics.gini import gini

LONGEST, HISTORY = 7, 28
SERVED, FUSED, CHANNEL = "served", "fused", "channel:"
POPULARITY, OWN_HISTORY = "baseline:popularity", "baseline:own_history"


@dataclass(frozen=True)
class Params:
    """How lists are judged.

    Parameters
    ----------
    horizons
        Days after the lists in which an action counts; none above 7.
    surface
        Whose lists are judged.
    list_metrics, candidate_metrics
        Of served lists and baselines; of channels and their fusion.
    exposure_cut
        Positions that count for coverage and Gini.
    width
        Longest list that is read.
    popularity_days, half_life, block_days
        Of the baselines: days in which takers are counted; days after which an own action counts
        half; days for which a bought or rejected item may not return.
    """

    horizons: tuple[int, ...] = (1, 7)
    surface: str = "feed"
    list_metrics: tuple[str, ...] = ("ndcg@10", "recall@20", "hit_rate@10", "map@10", "mrr@10")
    candidate_metrics: tuple[str, ...] = ("ndcg@10", "recall@20", "recall@100", "hit_rate@10")
    exposure_cut: int = 10
    width: int = 100
    popularity_days: int = 7
    half_life: float = 7.0
    block_days: int = 7


CONTRACT = Table(
    name="audit.evaluation", group="audit", owner="quality",
    description="The lists of list_ds against what their users took in the horizon's days after it, which end on "
    "ds: full ranking, split by time, beside candidates and two baselines for the same users and eligible items.",
    columns=[
        Column("list_ds", "date", "Day of the judged lists."),
        Column("horizon_days", "int", "Days after list_ds in which an action counts.", unit="days"),
        Column("subject", "string", "served, fused, channel:<name>, baseline:popularity, baseline:own_history."),
        Column("metric", "string", "Metric, a file of quality/metrics."),
        Column("k", "int", "Positions that count."),
        Column("group", "string", "Users judged: all."),
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
    user_item_daily: DataFrame
    items: DataFrame


def own_history(given: Inputs, allowed: DataFrame, list_ds: dt.date, half_life: float) -> DataFrame:
    """Each user's own items, by strength halved every ``half_life`` days; ties by item.

    Returns
    -------
    DataFrame
        ``user_id, own array<bigint>``.
    """
    acted = given.user_item_daily.where(
        between_days(days_before(list_ds, HISTORY - 1), list_ds) & (F.col("strength") > 0)
    )
    age = F.date_diff(F.lit(list_ds), F.col("ds"))
    # rounded, because sums of floats depend on the order of the partitions and ties must not
    weight = F.round(F.sum(F.col("strength") * F.pow(F.lit(0.5), age / F.lit(half_life))), 6)
    of_item = acted.groupBy("user_id", "item_id").agg((-weight).alias("order")).join(allowed, "item_id", "left_semi")
    return of_item.groupBy("user_id").agg(
        F.transform(F.array_sort(F.collect_list(F.struct("order", "item_id"))), lambda p: p["item_id"]).alias("own")
    )


def baselines(given: Inputs, users: DataFrame, list_ds: dt.date, params: Params, market: Market) -> DataFrame:
    """What popularity and the user's own history alone would have shown, under the lists' own rules.

    Returns
    -------
    DataFrame
        ``subject, user_id, items``.
    """
    width = max(20, params.exposure_cut)
    allowed = eligible(given.items, list_ds)
    # a pool larger than a list, because each user's blocked items fall out of it
    pool = popular(given.user_item_daily, allowed, list_ds, params.popularity_days, 4 * width)
    blocked = not_again(given.user_item_daily, given.items, list_ds, params.block_days, market)
    per_user = (
        users.select("user_id").crossJoin(F.broadcast(pool))
        .join(blocked.groupBy("user_id").agg(F.collect_set("item_id").alias("blocked")), "user_id", "left")
        .join(own_history(given, allowed, list_ds, params.half_life), "user_id", "left")
    )
    none = F.array().cast("array<bigint>")
    barred = F.coalesce("blocked", none)
    most = F.array_except("pool", barred)
    own = F.array_except(F.coalesce("own", none), barred)
    return per_user.select(F.explode(F.array(
        F.struct(F.lit(POPULARITY).alias("subject"), "user_id", F.slice(most, 1, width).alias("items")),
        F.struct(
            F.lit(OWN_HISTORY).alias("subject"), "user_id",
            F.slice(F.array_distinct(F.concat(own, most)), 1, width).alias("items"),
        ),
    )).alias("of")).select("of.*")


def judged(given: Inputs, list_ds: dt.date, horizon: int, params: Params, market: Market) -> DataFrame:
    """Every subject's list for every judged user.

    Returns
    -------
    DataFrame
        ``list_ds, horizon_days, subject, user_id, items, wanted``.
    """
    feed = given.recommendations.where(on(list_ds) & (F.col("surface") == params.surface))
    served = lists(feed, params.width)
    wanted = positives(given.user_item_daily, list_ds, horizon).join(served.select("user_id"), "user_id", "left_semi")
    channel = F.concat(F.lit(CHANNEL), F.col("channel")).alias("subject")
    recall = given.recall.where(on(list_ds)).select(channel, "user_id", "rank", "item_id")
    subjects = [
        served.select(F.lit(SERVED).alias("subject"), "user_id", "items"),
        lists(recall, params.width, "subject"),
        lists(given.fused.where(on(list_ds)), params.width).select(F.lit(FUSED).alias("subject"), "user_id", "items"),
        baselines(given, wanted, list_ds, params, market),
    ]
    return reduce(DataFrame.unionByName, subjects).join(wanted, "user_id").select(
        F.lit(list_ds).alias("list_ds"), F.lit(horizon).alias("horizon_days"),
        "subject", "user_id", "items", "wanted",
    )


def build(
    recommendations: DataFrame, recall: DataFrame, fused: DataFrame, user_item_daily: DataFrame, items: DataFrame,
    *, days: DayRange, params: Params, market: Market,
) -> DataFrame:
    ds = days.last
    given = Inputs(recommendations, recall, fused, user_item_daily, items)
    pairs = [(days_before(ds, h), h) for h in params.horizons]
    frames = [judged(given, list_ds, h, params, market) for list_ds, h in pairs]
    patterns, shown = collect(reduce(DataFrame.unionByName, frames), params.exposure_cut)
    rows = list(list_rows(ds, patterns, params))
    if rows:
        catalogue = dict(
            reduce(DataFrame.union, [
                eligible(items, list_ds).agg(F.lit(list_ds).alias("ds"), F.count("*").alias("n"))
                for list_ds, _ in pairs
            ]).collect()
        )
        rows += exposure_rows(ds, shown, catalogue, {(r["list_ds"], r["horizon_days"]): r["n"] for r in rows}, params)
    # NaN means "cannot be said", which is null in a table
    rows = [{k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()} for row in rows]
    return frame_of(items.sparkSession, CONTRACT, rows)


KEY = ("list_ds", "horizon_days", "subject")


def collect(frame: DataFrame, cut: int) -> tuple[pa.Table, pa.Table]:
    """Patterns of hits and exposures of items, in one query, because both need every list.

    Returns
    -------
    tuple of Table
        ``*KEY, hits, relevant, shown`` and ``*KEY, item_id, shown``; ``shown`` counts by random group of users.
    """
    parts = F.concat(
        F.array(F.struct(
            F.lit(None).cast("bigint").alias("item_id"), hit_positions().alias("hits"),
            F.size("wanted").alias("relevant"),
        )),
        F.transform(F.slice("items", 1, cut), lambda item: F.struct(
            item.alias("item_id"), F.lit(None).cast("array<int>").alias("hits"),
            F.lit(None).cast("int").alias("relevant"),
        )),
    )
    counted = frame.select(*KEY, "user_id", F.inline(parts)).groupBy(*KEY, "item_id", "hits", "relevant")
    table = counted.agg(count_by_group().alias("shown")).toArrow()
    is_pattern = table["relevant"].is_valid()
    return table.filter(is_pattern), table.filter(pc.invert(is_pattern))


def subjects_of(table: pa.Table) -> Iterator[tuple[tuple[dt.date, int, str], pa.Table]]:
    """Each subject's rows, in order of list_ds, horizon and subject."""
    keys = list(zip(*[table[name].to_pylist() for name in KEY], strict=True))
    rows: dict[tuple[dt.date, int, str], list[int]] = {}
    for at, key in enumerate(keys):
        rows.setdefault(key, []).append(at)
    for key in sorted(rows):
        yield key, table.take(rows[key])


def list_rows(ds: dt.date, patterns: pa.Table, params: Params) -> Iterator[dict[str, Any]]:
    """A row per subject and metric of its lists."""
    found = dict(subjects_of(patterns))
    for (list_ds, horizon, subject), of in found.items():
        everyone = int(exposure_matrix(found[list_ds, horizon, SERVED]["shown"]).sum())
        users = exposure_matrix(of["shown"]).sum(axis=1)
        candidate = subject == FUSED or subject.startswith(CHANNEL)
        hits, relevant = of["hits"].to_pylist(), of["relevant"].to_pylist()
        for name in params.candidate_metrics if candidate else params.list_metrics:
            value, low, high = list_figure(name, hits, relevant, users, everyone)
            yield row(ds, list_ds, horizon, subject, name, (value, low, high), everyone)


def exposure_rows(
    ds: dt.date, shown: pa.Table, catalogue: dict[dt.date, int], users: dict[tuple[dt.date, int], int], params: Params
) -> Iterator[dict[str, Any]]:
    """Coverage and Gini of every subject over the eligible items, those that it shows to nobody included."""
    for (list_ds, horizon, subject), of in subjects_of(shown):
        exposed = exposure_matrix(of["shown"])
        unseen = max(0, catalogue.get(list_ds, 0) - len(exposed))
        matrix = np.pad(exposed, ((0, unseen), (0, 0)))
        for name, figure in (("coverage", coverage), ("gini", gini)):
            yield row(ds, list_ds, horizon, subject, f"{name}@{params.exposure_cut}",
                      with_jackknife(figure, matrix), users[list_ds, horizon])


def row(
    ds: dt.date, list_ds: dt.date, horizon: int, subject: str, name: str, figure: tuple[float, float, float], n: int
) -> dict[str, Any]:
    metric, _, k = name.partition("@")
    value, low, high = figure
    return {"ds": ds, "list_ds": list_ds, "horizon_days": horizon, "subject": subject, "metric": metric,
            "k": int(k), "group": "all", "value": value, "lo": low, "hi": high, "n": n}
