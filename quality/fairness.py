"""``audit.fairness``: whether groups of people are served alike, with counts and intervals beside every number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, in_set
from jobs.settings import Market
from models.recall import CHANNELS
from quality import creator_exposure, same_item_conversion
from quality.intervals import difference, quotient, wilson
from quality.lists import between_days, days_before, frame_of, hits_of_users, list_figure, on, positives

LONGEST, ACTIVE = 7, 28
TENURE, UNKNOWN, STAGE = "tenure", "unknown", "creator_stage"
OK, WARNING, TOO_SMALL = "ok", "warn", "too small"
IMPERSONAL = tuple(name for name, each in CHANNELS.items() if not each.channel.personal)


@dataclass(frozen=True)
class Params:
    """When groups differ too much, and when they are too small to say so.

    Parameters
    ----------
    surface
        Whose lists are judged.
    cut, personalised_items, popular_channels
        A user is covered when the first ``cut`` items hold at least ``personalised_items`` from channels other than
        these: those of what is popular, with everyone or in a group, and of what is curated.
    min_group
        Users below which a group is too small to compare.
    coverage_limit
        A larger difference of coverage between groups is a warning.
    new_days
        Days since joining in which a person is new.
    horizons
        As in ``audit.evaluation``.
    min_items
        Items of a stage of creators below which it is too small to compare.
    min_showings
        Showings of a group below which its clicks are too few to compare.
    """

    surface: str = "feed"
    cut: int = 10
    personalised_items: int = 5
    popular_channels: tuple[str, ...] = IMPERSONAL
    min_group: int = 200
    coverage_limit: float = 0.15
    new_days: int = 30
    horizons: tuple[int, ...] = (1, 7)
    min_items: int = 30
    min_showings: int = 1000


CONTRACT = Table(
    name="audit.fairness",
    group="audit",
    owner="quality",
    description="Service of groups of people: whether they get a list and a personalised one (coverage), and how "
    "good it was (NDCG). Overall is everybody. Difference is the greatest less the least, ratio the least over the "
    "greatest, over groups of 200 users or more; smaller ones are too small to say anything about. Creators by stage: "
    "exposure of items of equal quality (1 is the average), by number of lists and discounted by rank, and part of all "
    "places.",
    columns=[
        Column("attribute", "string", "A column of silver.users or tenure, of people; or creator_stage."),
        Column("group", "string", "The attribute's value; empty for everybody, and where groups are compared."),
        Column("kind", "string", "group, overall, difference, ratio, or variance between groups."),
        Column(
            "metric",
            "string",
            "coverage, served, ndcg; conversion_same_item (click rate less that of all others, on items that both were "
            "shown; difference and ratio as if all groups had been shown the same; overall the click rate on such "
            "items); of creators exposure_count, exposure_discounted, share_of_places.",
        ),
        Column("k", "int", "Positions that count."),
        Column("horizon_days", "int", "Days after list_ds in which an action counts; 0 where none is needed."),
        Column("list_ds", "date", "Day of the judged lists.", nullable=False),
        Column("value", "double", "The figure.", digits=6),
        Column("lo", "double", "Lower end of the 95 % interval.", digits=6),
        Column("hi", "double", "Upper end of the 95 % interval.", digits=6),
        Column("n", "bigint", "Users (showings, items, places), of all compared groups in a difference or ratio."),
        Column("threshold", "double", "Limit that the figure is held against, where there is one.", digits=6),
        Column("verdict", "string", "ok, warn, or too small; null where there is no limit."),
    ],
    keys=["attribute", "group", "kind", "metric", "k", "horizon_days"],
    inputs=[
        TableInput("serving.recommendations", days=LONGEST + 1, optional=True),
        TableInput("silver.users"),
        TableInput("silver.user_daily", days=ACTIVE, optional=True),
        TableInput("silver.user_item_daily", days=LONGEST, optional=True),
        TableInput("features.item_stats", optional=True),
        TableInput("features.creator_stats", optional=True),
    ],
    checks=[
        in_set("kind", ("group", "overall", "difference", "ratio", "variance")),
        in_set("verdict", (OK, WARNING, TOO_SMALL)),
    ],
    grain="day",
)


def people(users: DataFrame, days: DayRange, params: Params, market: Market) -> DataFrame:
    """Each user's group in every attribute, as known at the end of the day.

    Returns
    -------
    DataFrame
        ``user_id, attribute, group``; a person whose value is not known is in the group ``unknown``.
    """
    joined = F.from_utc_timestamp(F.timestamp_millis("registered_at_ms"), market.timezone).cast("date")
    tenure = F.when(
        joined.isNotNull(),
        F.when(F.date_diff(F.lit(days.last), joined) < params.new_days, F.lit("new")).otherwise(F.lit("old")),
    )
    values = {name: F.col(name).cast("string") for name in market.groups} | {TENURE: tenure}
    pairs = [
        F.struct(F.lit(name).alias("attribute"), F.coalesce(value, F.lit(UNKNOWN)).alias("group"))
        for name, value in values.items()
    ]
    return (
        users.where(on(days.last)).select("user_id", F.explode(F.array(*pairs)).alias("of")).select("user_id", "of.*")
    )


def service(recommendations: DataFrame, user_daily: DataFrame, days: DayRange, params: Params) -> DataFrame:
    """Who got a list, and a personalised one, of those active in 28 days or served.

    People who stay away get no list by design; counting them would measure activity, not service.

    Returns
    -------
    DataFrame
        ``user_id, served int, covered int``.
    """
    active = user_daily.where(between_days(days_before(days.last, ACTIVE - 1), days.last)).select("user_id").distinct()
    top = recommendations.where(on(days.last) & (F.col("surface") == params.surface) & (F.col("rank") <= params.cut))
    own = F.count_if(~F.coalesce(F.col("channel").isin(*params.popular_channels), F.lit(True)))
    got = top.groupBy("user_id").agg(
        F.lit(1).alias("served"), (own >= params.personalised_items).cast("int").alias("covered")
    )
    return active.join(got, "user_id", "full").fillna(0, ["served", "covered"])


def outcomes(
    recommendations: DataFrame, user_item_daily: DataFrame, days: DayRange, horizon: int, params: Params
) -> DataFrame:
    """Which positions hit for the users of the lists made ``horizon`` days ago.

    Returns
    -------
    DataFrame
        ``user_id, horizon_days, hits, relevant``.
    """
    list_ds = days_before(days.last, horizon)
    served = recommendations.where(
        on(list_ds) & (F.col("surface") == params.surface) & (F.col("rank") <= params.cut)
    ).select("user_id", "rank", "item_id")
    wanted = positives(user_item_daily, list_ds, horizon, served.select("user_id").distinct())
    hits = hits_of_users(served, wanted).select("user_id", "hits")
    return (
        wanted.select("user_id", "relevant")
        .distinct()
        .join(hits, "user_id", "left")
        .select(
            "user_id",
            F.lit(horizon).alias("horizon_days"),
            F.coalesce("hits", F.array().cast("array<int>")).alias("hits"),
            "relevant",
        )
    )


def build(
    recommendations: DataFrame,
    users: DataFrame,
    user_daily: DataFrame,
    user_item_daily: DataFrame,
    item_stats: DataFrame,
    creator_stats: DataFrame,
    *,
    days: DayRange,
    params: Params,
    market: Market,
) -> DataFrame:
    groups = people(users, days, params, market)
    served = service(recommendations, user_daily, days, params).join(groups, "user_id")
    judged = reduce(
        DataFrame.unionByName, [outcomes(recommendations, user_item_daily, days, h, params) for h in params.horizons]
    ).join(groups, "user_id")
    counts = served.groupBy("attribute", "group").agg(
        F.count("*").alias("users"), F.sum("served").alias("served"), F.sum("covered").alias("covered")
    )
    patterns = judged.groupBy("attribute", "group", "horizon_days", "hits", "relevant").agg(F.count("*").alias("users"))
    week = user_item_daily.where(between_days(days_before(days.last, LONGEST - 1), days.last))
    top = recommendations.where(on(days.last) & (F.col("surface") == params.surface) & (F.col("rank") <= params.cut))
    parts = [
        patterns,
        same_item_conversion.sums(week, groups),
        creator_exposure.exposures(top, item_stats.where(on(days.last)), creator_stats.where(on(days.last))),
    ]
    found = reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), parts, counts)
    of_people, of_creators = [], []
    for row in found.toArrow().to_pylist():
        (of_people if row["stage"] is None else of_creators).append(row)
    known = {r["attribute"] for r in of_people if r["group"] != UNKNOWN}
    rows = [row for row in figures(of_people, days, params) if row["attribute"] in known]
    rows += creators(of_creators, days, params)
    return frame_of(users.sparkSession, CONTRACT, rows)


@dataclass(frozen=True)
class Figure:
    """A group's figure and its interval; ``n`` users."""

    group: str
    value: float
    low: float
    high: float
    n: int

    @property
    def estimate(self) -> tuple[float, float, float]:
        return self.value, self.low, self.high


def figures(found: list[dict[str, Any]], days: DayRange, params: Params) -> Iterator[dict[str, Any]]:
    """Rows of every attribute and metric: each group's, then their difference and ratio."""
    for attribute in sorted({r["attribute"] for r in found}):
        of = sorted((r for r in found if r["attribute"] == attribute), key=lambda r: r["group"])
        counts = [r for r in of if r["users"] is not None and r["horizon_days"] is None]
        if any(r["served"] for r in counts):
            for metric, column in (("coverage", "covered"), ("served", "served")):
                shares = [share(r["group"], r[column], r["users"]) for r in counts]
                overall = share("", sum(r[column] for r in counts), sum(r["users"] for r in counts))
                limit = params.coverage_limit if metric == "coverage" else None
                yield from compared(attribute, metric, 0, shares, overall, days, params, limit)
        for horizon in params.horizons:
            patterns = [r for r in of if r["horizon_days"] == horizon]
            if patterns:
                names = sorted({r["group"] for r in patterns})
                gains = [quality_of(name, [r for r in patterns if r["group"] == name], params) for name in names]
                overall = quality_of("", patterns, params)
                yield from compared(attribute, "ndcg", horizon, gains, overall, days, params, None)
        yield from conversions(attribute, of, days, params)


def conversions(attribute: str, of: list[dict[str, Any]], days: DayRange, params: Params) -> Iterator[dict[str, Any]]:
    """Each group's click rate against that of all others on the same items; and groups against each other."""
    clicked = [r for r in of if r["mh_weight"]]
    shared = {"ds": days.last, "list_ds": days.last, "attribute": attribute, "group": "", "k": 0}
    shared |= {"metric": same_item_conversion.METRIC, "horizon_days": LONGEST}
    for r in clicked:
        verdict = TOO_SMALL if r["showings"] < params.min_showings else None
        found = {"group": r["group"], "kind": "group", "n": r["showings"], "verdict": verdict}
        yield shared | found | numbers(same_item_conversion.estimate(r))
    if clicked:
        everybody = share("", sum(r["clicked"] for r in clicked), sum(r["showings"] for r in clicked))
        yield shared | {"kind": "overall", "n": everybody.n} | numbers(everybody.estimate)
    large = [r for r in clicked if r["showings"] >= params.min_showings and r["group"] != UNKNOWN]
    n = sum(r["showings"] for r in large)
    for kind, between in same_item_conversion.BETWEEN.items() if clicked else ():
        found = numbers(between(large)) if len(large) > 1 else {"verdict": TOO_SMALL}
        yield shared | {"kind": kind, "n": n} | found


def creators(found: list[dict[str, Any]], days: DayRange, params: Params) -> Iterator[dict[str, Any]]:
    """Exposure of creators by stage: each stage, their difference and ratio, and the variance between them."""
    judged = replace(params, min_group=params.min_items)
    rated = [r for r in found if r["items"] is not None]
    for metric, weight in creator_exposure.WEIGHTS.items():
        exposures = creator_exposure.standardised(rated, weight)
        if exposures:
            of = [Figure(e.stage, *e.estimate, e.n) for e in exposures]
            yield from compared(STAGE, metric, 0, of, None, days, judged, None)
            spread = {"attribute": STAGE, "group": "", "kind": "variance", "metric": metric, "horizon_days": 0}
            spread |= {"ds": days.last, "list_ds": days.last, "k": params.cut, "n": sum(e.n for e in exposures)}
            yield spread | numbers(creator_exposure.between(exposures))
    placed = [r for r in found if r["places"] is not None]
    for e in creator_exposure.places(placed) if placed else ():
        figure = {"attribute": STAGE, "group": e.stage, "kind": "group", "metric": creator_exposure.PLACES}
        figure |= {"ds": days.last, "list_ds": days.last, "k": params.cut, "horizon_days": 0, "n": e.n}
        yield figure | numbers(e.estimate)


def share(group: str, of: int, users: int) -> Figure:
    return Figure(group, of / users, *wilson(of, users), users)


def quality_of(group: str, patterns: list[dict[str, Any]], params: Params) -> Figure:
    n = int(np.sum([r["users"] for r in patterns]))
    value, low, high = list_figure(
        f"ndcg@{params.cut}",
        [r["hits"] for r in patterns],
        [r["relevant"] for r in patterns],
        [r["users"] for r in patterns],
        n,
    )
    return Figure(group, value, low, high, n)


def compared(
    attribute: str,
    metric: str,
    horizon: int,
    groups: Sequence[Figure],
    overall: Figure | None,
    days: DayRange,
    params: Params,
    limit: float | None,
) -> Iterator[dict[str, Any]]:
    """A row per group, one overall, then difference and ratio between the best and the worst that are large enough.

    People whose group is not known are reported, and compared with nobody. ``overall`` is everybody's figure; exposures
    have none, as they are taken from the average.
    """
    shared = {
        "ds": days.last,
        "attribute": attribute,
        "metric": metric,
        "k": params.cut,
        "horizon_days": horizon,
        "list_ds": days_before(days.last, horizon),
    }
    for g in groups:
        verdict = TOO_SMALL if g.n < params.min_group else None
        yield shared | {"group": g.group, "kind": "group", "verdict": verdict, "n": g.n} | numbers(g.estimate)
    if overall is not None:
        yield shared | {"group": "", "kind": "overall", "n": overall.n} | numbers(overall.estimate)
    large = [g for g in groups if g.n >= params.min_group and g.group != UNKNOWN]
    n = sum(g.n for g in large)
    if len(large) < 2:
        for kind in ("difference", "ratio"):
            yield shared | {"group": "", "kind": kind, "n": n, "verdict": TOO_SMALL}
        return
    least, most = min(large, key=lambda g: (g.value, g.group)), max(large, key=lambda g: (g.value, g.group))
    gap = difference(most.estimate, least.estimate)
    verdict = None if limit is None else (WARNING if gap[0] > limit else OK)
    yield shared | {"group": "", "kind": "difference", "n": n, "threshold": limit, "verdict": verdict} | numbers(gap)
    yield shared | {"group": "", "kind": "ratio", "n": n} | numbers(quotient(least.estimate, most.estimate))


def numbers(estimate: tuple[float, float, float]) -> dict[str, float | None]:
    """The three numbers as columns; one that cannot be said is null."""
    return {name: x if math.isfinite(x) else None for name, x in zip(("value", "lo", "hi"), estimate, strict=True)}
