r"""``audit.health``: the figures of people, of the ecosystem and of business, with warning lines and one index.

A figure is a metric (``metrics/*.yaml``), a margin made of one, a figure of ``audit.diversity``, retention by how long
people have been there, or the part of the supply that comes from creators who are not new. It is held against its own
past: the same weekday of the weeks before, at least ``least_weeks`` of them, because a week has its shape; until there
are so many, against all of the days before, at least ``least_days``. With fewer it has no line. The line lies where
chance seldom leads:

.. math:: m \pm \max(width \times 1.4826 \times MAD, least\_change \times |m|)

with the median m and the median absolute deviation MAD of the past (Leys et al., Journal of Experimental Social
Psychology 49, 2013; 1.4826 makes it a standard deviation where values are normal).

A figure with a line has a score: 100 where it is at its median or better, 50 at the line, 0 twice as far. A part's
score is the weighted mean of its figures' scores, the index the weighted mean of the parts; what has no score
is left out of the mean, and the row says how many figures are in it. Weights are options. Parts and index are held
against their own past as figures are; it is computed with the day, so that it never depends on which nights ran.
"""

from __future__ import annotations

import datetime as dt
import statistics
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, in_set
from jobs.errors import ContractError
from quality.lists import frame_of, on

HISTORY, WEEK = 56, 7
RETURNS = (1, 7, 30)
"""Days after which people return."""
UP, DOWN, EITHER = "higher", "lower", "as usual"
"""What is better. A figure that is best as usual warns on both sides and has no score."""
FIGURES: Mapping[str, Mapping[str, str]] = {
    "users": {
        "nps": UP,
        "retention_d1": UP,
        "retention_d7": UP,
        "retention_d30": UP,
        "dau": UP,
        "time_per_user": UP,
        "visits_per_user": UP,
        "click_depth": UP,
        "like_rate": UP,
        "comment_rate": UP,
        "share_rate": UP,
        "effective_play_rate": UP,
        "negative_feedback_rate": DOWN,
        "sentiment": UP,
    },
    "ecosystem": {
        "category_coverage": UP,
        "gini": DOWN,
        "largest_item_share": DOWN,
        "long_tail_share": UP,
        # the complement of newcomers' share, whose median is mostly 0 and would warn of the first of them
        "established_supply": EITHER,
        "creator_traffic": EITHER,
        "creator_growth": UP,
        "creator_retention": UP,
    },
    "business": {
        "gmv": UP,
        "gmv_per_showing": UP,
        "arpu": UP,
        "arppu": UP,
        "cpc": DOWN,
        "cpa": DOWN,
        "roas": UP,
        "gross_margin": UP,
        "operating_margin": UP,
    },
}
NOT_IN_DATA = {
    "ecpm": ("business", "no feed has revenue of ads; gmv_per_showing stands in its place"),
    "fill_rate": ("business", "no feed says how many ads were asked for"),
}
MARGINS = {"cost_ratio_direct": "gross_margin", "cost_ratio": "operating_margin"}
"""What is left of the revenue: 1 less the ratio of metrics/*.yaml that costs are of it."""
INDEX, PART, ALL, TENURE = "index", "part", "all", "tenure"
OK, LOW, NO_HISTORY, TOO_SMALL, NOT_KNOWN = "ok", "warn", "no_history", "too_small", "not_known"
WEEKDAY, DAYS = "weekday", "days"
TOTAL = {"dimension": ALL, "value_group": ALL}


@dataclass(frozen=True)
class Params:
    """When a figure warns, and what weighs how much.

    Parameters
    ----------
    parts
        Weight of each part in the index.
    weights
        Weight of a figure within its part, where it is not 1; 0 leaves it out.
    least_weeks, least_days
        Days of the past that a line needs: of the same weekday, else of any.
    width
        Of the band, in standard deviations.
    least_change
        A smaller change than this part of the median never warns.
    least_part_change
        The same of a part's score: a mean of few figures moves by more than one of many.
    least_n
        A group of fewer rows (or people) is too small to judge; totals are judged whatever their size.
    new_days
        Days since joining in which a person is new.
    """

    parts: Mapping[str, float] = field(default_factory=lambda: {"users": 0.4, "ecosystem": 0.3, "business": 0.3})
    weights: Mapping[str, float] = field(default_factory=dict)
    least_weeks: int = 4
    least_days: int = 7
    width: float = 4.0
    least_change: float = 0.1
    least_part_change: float = 0.2
    least_n: int = 200
    new_days: int = 30

    def __post_init__(self) -> None:
        known = {"parts": sorted(FIGURES), "weights": sorted(m for of_part in FIGURES.values() for m in of_part)}
        for name, names in known.items():
            weights = getattr(self, name)
            if unknown := sorted(set(weights) - set(names)):
                raise ContractError(f"audit.health: {name} names {unknown}, which it does not know; it knows {names}.")
            for of, weight in weights.items():
                if isinstance(weight, bool) or not isinstance(weight, (int, float)) or weight < 0:
                    raise ContractError(f"audit.health: {name} of {of} is {weight!r}, but must be 0 or a number above.")


CONTRACT = Table(
    name="audit.health",
    group="audit",
    owner="quality",
    description="Figures of people, ecosystem and business against their own past, by segment, and one index from "
    "them. A figure that the data cannot give says why.",
    columns=[
        Column("metric", "string", "The figure: a metric, one of audit.diversity, established_supply, or index."),
        Column("dimension", "string", "What it is broken down by; all for the total, part for the index's parts."),
        Column("value_group", "string", "Value of the dimension."),
        Column("part", "string", "users, ecosystem or business; all for the index."),
        Column("better", "string", "higher, lower, or as usual."),
        Column("value", "double", "The figure.", digits=9),
        Column("n", "bigint", "Rows or people that it is taken over; of the index, figures that have a score."),
        Column("median", "double", "Of the past that it is held against.", digits=9),
        Column("low", "double", "Lower warning line.", digits=9),
        Column("high", "double", "Upper warning line.", digits=9),
        Column("basis", "string", "weekday: the past is the same weekday's; days: it is any day's."),
        Column("history", "int", "Days of the past.", unit="days"),
        Column("score", "double", "0 to 100, where it has a line and a better side.", digits=3),
        Column("weight", "double", "In its part; of a part, in the index.", digits=6),
        Column("verdict", "string", "ok, warn, no_history, too_small or not_known.", nullable=False),
        Column("why", "string", "What led to the verdict, in words; empty where ok."),
    ],
    keys=["metric", "dimension", "value_group"],
    inputs=[
        # scores of the past, which the index is held against, have a past of their own
        TableInput("audit.metrics", days=2 * HISTORY + 1),
        TableInput("audit.diversity", days=2 * HISTORY + 1, optional=True),
        TableInput("silver.user_daily", days=HISTORY + max(RETURNS) + 1, optional=True),
        TableInput("features.user_profile", optional=True),
        TableInput("features.creator_stats", days=HISTORY + WEEK + 1, optional=True),
    ],
    checks=[in_set("verdict", (OK, LOW, NO_HISTORY, TOO_SMALL, NOT_KNOWN)), between("score", 0, 100)],
    grain="day",
)

Place = tuple[str, str, str]
"""Metric, dimension, group."""
Past = Mapping[Place, Mapping[dt.date, tuple[float | None, int | None]]]


def build(
    metrics: DataFrame,
    diversity: DataFrame,
    user_daily: DataFrame,
    user_profile: DataFrame,
    creator_stats: DataFrame,
    *,
    days: DayRange,
    params: Params,
) -> DataFrame:
    columns = ("ds", "metric", "dimension", "value_group", "value", "n")
    spread = diversity.withColumns({"dimension": F.lit("surface"), "value_group": F.col("subject")})
    returning = retention_by_tenure(user_daily, user_profile, days.last, params)
    parts = [metrics.where("in_force"), spread, returning, established_supply(creator_stats)]
    found = reduce(DataFrame.unionByName, [part.select(*columns) for part in parts]).toArrow().to_pylist()
    past: dict[Place, dict[dt.date, tuple[float | None, int | None]]] = {}
    for r in found:
        value, metric = r["value"], r["metric"]
        if metric in MARGINS:
            value, metric = None if value is None else 1 - value, MARGINS[metric]
        past.setdefault((metric, *at_feed(r)), {})[r["ds"]] = value, r["n"]
    return frame_of(metrics.sparkSession, CONTRACT, list(figures(past, days.last, params)))


def at_feed(row: Mapping[str, Any]) -> tuple[str, str]:
    """Dimension and group; the lists of the feed are the total of what lists are measured by."""
    of_feed = row["dimension"] == "surface" and row["metric"] in FIGURES["ecosystem"] and row["value_group"] == "feed"
    return (ALL, ALL) if of_feed else (row["dimension"], row["value_group"])


def retention_by_tenure(user_daily: DataFrame, user_profile: DataFrame, ds: dt.date, params: Params) -> DataFrame:
    """Part of the new and of the old people active n days before a day who are active on it: of ds and of its past.

    The past is computed with the day, so that it never depends on which nights ran: the same weekday of the weeks
    before, and every day of as many weeks as a line by weekday needs. How long somebody had been there follows from the
    profile of ds, since the day of joining stays.

    Returns
    -------
    DataFrame
        ``ds, metric, dimension, value_group, value, n``.
    """
    acted = "logins + searches + clicks + favourites + add_to_carts + purchases + likes + comments + shares + negatives"
    age = F.date_diff(F.lit(ds), "ds")
    active = user_daily.where(f"{acted} > 0").groupBy("user_id").agg(F.collect_set(age).alias("ages"))
    known = user_profile.where(on(ds) & F.col("tenure_days").isNotNull()).select("user_id", "tenure_days")
    came = (
        active.join(known, "user_id")
        .select("ages", "tenure_days", F.explode("ages").alias("came"))
        .withColumn("after", F.explode(F.array(*map(F.lit, RETURNS))))
        .withColumn("age", F.col("came") - F.col("after"))
    )
    held = (F.col("age") % WEEK == 0) | (F.col("age") < WEEK * params.least_weeks)
    tenure = F.when(F.col("tenure_days") - F.col("came") < params.new_days, "new").otherwise("old")
    return (
        came.where(F.col("age").between(0, HISTORY) & held)
        .groupBy(
            F.date_sub(F.lit(ds), F.col("age")).alias("ds"),
            F.concat(F.lit("retention_d"), "after").alias("metric"),
            tenure.alias("value_group"),
        )
        .agg(
            (F.count_if(F.array_contains("ages", F.col("age"))) / F.count(F.lit(1))).alias("value"),
            F.count(F.lit(1)).alias("n"),
        )
        .select("ds", "metric", F.lit(TENURE).alias("dimension"), "value_group", "value", "n")
    )


def established_supply(creator_stats: DataFrame) -> DataFrame:
    """Part of the items on offer whose creators have been there for more than a week, of every day that is known.

    A burst of new creators pulls it down, whatever they write. Who is there on the first day that is known is not new.

    Returns
    -------
    DataFrame
        ``ds, metric, dimension, value_group, value, n``.
    """
    came = F.min("ds").over(Window.partitionBy("creator_id"))
    by_day = (
        creator_stats.select("ds", "items", came.alias("came")).groupBy("ds", "came").agg(F.sum("items").alias("items"))
    )
    first = F.min("came").over(Window.partitionBy(F.lit(1)))
    there = (F.col("came") == F.col("first")) | (F.date_diff("ds", "came") >= WEEK)
    value = F.try_divide(F.sum(F.when(there, F.col("items")).otherwise(0)), F.sum("items"))
    return (
        by_day.withColumn("first", first)
        .groupBy("ds")
        .agg(value.alias("value"), F.sum("items").alias("n"))
        .select(
            "ds",
            F.lit("established_supply").alias("metric"),
            F.lit(ALL).alias("dimension"),
            F.lit(ALL).alias("value_group"),
            "value",
            "n",
        )
    )


def figures(past: Past, ds: dt.date, params: Params) -> Iterator[dict[str, Any]]:
    """Rows of every figure, then of the parts and the index."""
    rows = list(of_day(past, ds, params))
    yield from rows
    yield from index(past, rows, ds, params)


def of_day(past: Past, ds: dt.date, params: Params) -> Iterator[dict[str, Any]]:
    """Rows of every figure, and of those that the data cannot give."""
    for part, of_part in FIGURES.items():
        for metric, better in of_part.items():
            weight = params.weights.get(metric, 1.0)
            shared = {"ds": ds, "metric": metric, "part": part, "better": better, "weight": weight}
            places = sorted(place for place in past if place[0] == metric and ds in past[place])
            if (metric, ALL, ALL) not in places:
                yield shared | TOTAL | unknown("its source has no row on the day")
            for place in places:
                where = {"dimension": place[1], "value_group": place[2]}
                yield shared | where | judged(past[place], place, ds, better, params)
    for metric, (part, why) in sorted(NOT_IN_DATA.items()):
        yield {"ds": ds, "metric": metric, "part": part, "weight": 0.0} | TOTAL | unknown(why)


def unknown(why: str) -> dict[str, Any]:
    return {"verdict": NOT_KNOWN, "why": why}


def history_of(
    of: Mapping[dt.date, tuple[float | None, int | None]], ds: dt.date, params: Params
) -> tuple[str | None, list[float]]:
    """Whether the past is the same weekday's or any day's (None: it is too short), and its values."""
    before = {day: v for day, (v, _) in of.items() if v is not None and 0 < (ds - day).days <= HISTORY}
    same = [v for day, v in sorted(before.items()) if day.weekday() == ds.weekday()]
    if len(same) >= params.least_weeks:
        return WEEKDAY, same
    return DAYS if len(before) >= params.least_days else None, [v for _, v in sorted(before.items())]


def judged(
    of: Mapping[dt.date, tuple[float | None, int | None]], place: Place, ds: dt.date, better: str, params: Params
) -> dict[str, Any]:
    """Value, lines, score and verdict of a figure."""
    value, n = of[ds]
    basis, past = history_of(of, ds, params)
    found = {"value": value, "n": n, "history": len(past)}
    if value is None:
        return found | unknown("it divides by 0 on the day")
    if place[1] != ALL and (n or 0) < params.least_n:
        return found | {"verdict": TOO_SMALL, "why": f"fewer than {params.least_n}"}
    if basis is None:
        return found | {"verdict": NO_HISTORY, "why": f"fewer than {params.least_days} days before"}
    middle = statistics.median(past)
    deviation = 1.4826 * statistics.median(abs(v - middle) for v in past)
    reach = max(params.width * deviation, params.least_change * abs(middle))
    lines = {"median": middle, "low": middle - reach, "high": middle + reach, "basis": basis}
    worse = {UP: middle - value, DOWN: value - middle, EITHER: abs(value - middle)}[better]
    # what was rounded on its way must not lie beyond a line that it is on
    warns = worse > reach + 1e-9
    score = None if better == EITHER else 100 * min(1.0, max(0.0, 1 - worse / (2 * reach) if reach else worse <= 0))
    side = "below" if value < middle else "above"
    held = f"{len(past)} {'same weekdays' if basis == WEEKDAY else 'days'} before"
    said = f"{side} its line, which {held} draw" if warns else ""
    return found | lines | {"score": score, "verdict": LOW if warns else OK, "why": said}


def index(past: Past, rows: list[dict[str, Any]], ds: dt.date, params: Params) -> Iterator[dict[str, Any]]:
    """Rows of the parts and of the index, each held against its own past."""
    totals = {place: of for place, of in past.items() if place[1] == ALL}
    days = {day for of in totals.values() for day in of if 0 < (ds - day).days <= HISTORY}
    course = {day: scores(of_day(totals, day, params), params) for day in days} | {ds: scores(rows, params)}
    of_part = replace(params, least_change=params.least_part_change)
    for part in FIGURES:
        of = {day: found[part] for day, found in course.items()}
        shared = {"dimension": PART, "value_group": part, "part": part, "weight": params.parts.get(part, 0.0)}
        yield shared | index_row(of, ds, of_part)
    yield {**TOTAL, "part": ALL, "weight": 1.0} | index_row({d: of[ALL] for d, of in course.items()}, ds, params)


def scores(rows: Iterable[Mapping[str, Any]], params: Params) -> dict[str, tuple[float | None, int]]:
    """Score of every part, and of all, with how many figures have one: weighted means over what has a score."""
    scored = [r for r in rows if r["dimension"] == ALL and r.get("score") is not None and r["weight"] > 0]
    found: dict[str, tuple[float | None, int]] = {}
    for part in FIGURES:
        of = [r for r in scored if r["part"] == part]
        found[part] = weighted((r["score"], r["weight"]) for r in of), len(of)
    of_parts = [(score, params.parts.get(part, 0.0)) for part, (score, _) in found.items() if score is not None]
    return found | {ALL: (weighted(of_parts), len(scored))}


def weighted(pairs: Iterable[tuple[float, float]]) -> float | None:
    found = list(pairs)
    whole = sum(weight for _, weight in found)
    return sum(value * weight for value, weight in found) / whole if whole else None


def index_row(of: Mapping[dt.date, tuple[float | None, int]], ds: dt.date, params: Params) -> dict[str, Any]:
    score, n = of[ds]
    row = {"ds": ds, "metric": INDEX, "better": UP, "value": score, "n": n}
    if score is None:
        return row | {"verdict": NO_HISTORY, "why": "no figure has a line"}
    return row | judged(of, (INDEX, ALL, ALL), ds, UP, params) | {"score": score}
