"""``audit.experiment``: what the running experiments show so far, per metric and segment."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, in_set
from jobs.errors import SettingsError
from jobs.settings import Market
from quality.experiments.design import CONTROL, MOST_DAYS, Design, Experiment, design_of
from quality.experiments.inference import (
    Comparison,
    Figure,
    Moments,
    always_valid,
    cuped,
    deviation,
    mean,
    ratio,
    sample_ratio,
    shares,
    welch,
)
from quality.experiments.power import size_for_means
from quality.intervals import quotient
from quality.lists import between_days, days_before, frame_of, on

BEFORE = 14
RETURN_DAYS = 7
ALL = "all"
BETTER, WORSE, OPEN, TOO_SMALL, BROKEN = "better", "worse", "open", "too small", "sample ratio"
_COUNTS = ("impressions", "clicks", "targets", "purchases", "amount_minor")
_ACTIVE = (
    "logins + searches + clicks + favourites + add_to_carts + purchases + likes + comments + shares + negatives > 0"
)


@dataclass(frozen=True)
class Metric:
    """A figure of a variant.

    Parameters
    ----------
    method
        ``ratio`` of two sums, ``cuped`` (mean, by the same person's value before), or ``share`` of people.
    a, b
        SQL over the columns of `people`: value, and denominator or value before.
    among
        SQL; people for whom it is not true are left out.
    """

    method: str
    a: str
    b: str = "0"
    among: str = "true"


METRICS: Mapping[str, Metric] = {
    "ctr": Metric("ratio", "clicks", "impressions"),
    "clicks_per_user": Metric("cuped", "clicks", "clicks_before"),
    "targets_per_user": Metric("cuped", "targets", "targets_before"),
    "amount_per_user": Metric("cuped", "amount_minor", "amount_minor_before"),
    "conversion": Metric("share", "int(purchases > 0)"),
    "first_day_ctr": Metric("ratio", "first_clicks", "first_impressions", "is_new"),
    "retention_7d": Metric("share", "int(returned)", among="is_new and followed"),
}
METHODS: Mapping[str, tuple[Callable[[Moments, Moments], tuple[Figure, Figure]], Callable[..., Comparison]]] = {
    "ratio": (lambda control, variant: (ratio(control), ratio(variant)), welch),
    "share": (lambda control, variant: (mean(control), mean(variant)), shares),
    "cuped": (cuped, welch),
}


@dataclass(frozen=True)
class Params:
    """How a readout is read.

    Parameters
    ----------
    expected_lift
        Relative effect that one hopes for: it scales the people needed.
    expected_effect
        The same in standard deviations between people: it scales the always-valid reading, and is fixed before the
        start as no figure of the experiment itself can be.
    min_group
        People below which a variant is too small to read.
    sample_ratio_limit
        Chance of the variants' sizes below which nothing else may be read.
    """

    expected_lift: float = 0.05
    expected_effect: float = 0.05
    min_group: int = 100
    sample_ratio_limit: float = 0.001


def _figure(name: str, description: str) -> Column:
    return Column(name, "double", description, digits=6)


CONTRACT = Table(
    name="audit.experiment",
    group="audit",
    owner="quality",
    description="Each variant of the running experiments held against control, over the people who came since the "
    "start: whoever was assigned counts, whatever they were shown. The always-valid reading decides, on every night; "
    "the planned one is for whoever reads once, on the last day.",
    columns=[
        Column("experiment", "string", "Its name in the market's file."),
        Column("variant", "string", "The variant that is held against control."),
        Column("segment_by", "string", "all, tenure (new: joined since the start), or a column of silver.users."),
        Column("segment", "string", "The value; empty for all."),
        Column("metric", "string", "The metric; quality.experiments.readout.METRICS has the definitions."),
        Column("is_primary", "boolean", "It is the one that decides."),
        Column("method", "string", "ratio (delta method), cuped (Welch's test of adjusted means) or share (pooled z)."),
        Column("n_control", "bigint", "People in control.", unit="users"),
        Column("n", "bigint", "People in the variant.", unit="users"),
        _figure("control_value", "Control's value."),
        _figure("value", "The variant's value."),
        _figure("difference", "Variant less control."),
        _figure("lo", "Lower end of the planned 95 % interval of the difference."),
        _figure("hi", "Upper end of it."),
        _figure("lift", "Difference by control's value."),
        _figure("lift_lo", "Lower end of its 95 % interval."),
        _figure("lift_hi", "Upper end of it."),
        _figure("p_value", "Chance of such a difference, where it is read once, on the last day."),
        _figure("always_lo", "Lower end of the interval that holds on all nights at once."),
        _figure("always_hi", "Upper end of it."),
        _figure("always_p", "Chance of such a difference, however often it is read."),
        _figure("sample_ratio_p", "Chance that the variants' numbers of people differ so from their weights."),
        Column("needed", "bigint", "People per variant to see the expected lift with 80 % power.", unit="users"),
        Column("verdict", "string", "better, worse, open, too small, or sample ratio (broken: read nothing)."),
    ],
    keys=["experiment", "variant", "segment_by", "segment", "metric"],
    inputs=[
        TableInput("silver.user_daily", days=MOST_DAYS + BEFORE, optional=True),
        TableInput("silver.users"),
    ],
    checks=[
        between("p_value", 0, 1),
        between("always_p", 0, 1),
        in_set("verdict", (BETTER, WORSE, OPEN, TOO_SMALL, BROKEN)),
    ],
    grain="day",
)


def build(user_daily: DataFrame, users: DataFrame, *, days: DayRange, params: Params, market: Market) -> DataFrame:
    design = design_of(market)
    running = design.on(days.last)
    for experiment in running:
        if experiment.primary not in METRICS:
            raise SettingsError(
                f"Market {market.name}, experiment {experiment.name}: there is no metric {experiment.primary!r}; "
                f"primary is one of {sorted(METRICS)}."
            )
    rows: list[dict[str, Any]] = []
    if running:
        each = [moments(people(user_daily, users, design, e, days, market), e) for e in running]
        found = reduce(DataFrame.unionByName, each).toArrow().to_pylist()
        for experiment in running:
            of = [r for r in found if r["experiment"] == experiment.name]
            rows += [{"ds": days.last, **row} for row in figures(of, experiment, params)]
    return frame_of(users.sparkSession, CONTRACT, rows)


def people(
    user_daily: DataFrame, users: DataFrame, design: Design, experiment: Experiment, days: DayRange, market: Market
) -> DataFrame:
    """The people of an experiment who came since its start.

    Returns
    -------
    DataFrame
        ``user_id, variant``, counts since the start and in the `BEFORE` days before it (``_before``), those of the
        first day of life (``first_``), ``is_new``, ``followed`` (joined long enough ago), ``returned``, and the
        market's groups.
    """
    start = experiment.starts
    window = between_days(days_before(start, BEFORE), days.last)
    since = F.col("ds") >= F.lit(start)
    joined = F.from_utc_timestamp(F.timestamp_millis("registered_at_ms"), market.timezone).cast("date")
    known = users.where(on(days.last)).select("user_id", joined.alias("joined"), *market.groups)
    first = F.coalesce(F.col("ds") == F.col("joined"), F.lit(False))
    came_back = F.expr(_ACTIVE) & (F.date_diff("ds", F.col("joined")) == RETURN_DAYS)
    whole = {name: F.col(name).cast("decimal(18,0)") for name in _COUNTS}
    summed = [F.sum(F.when(since, value).otherwise(0)).alias(name) for name, value in whole.items()]
    summed += [F.sum(F.when(since, 0).otherwise(value)).alias(f"{name}_before") for name, value in whole.items()]
    summed += [F.sum(F.when(first, whole[n]).otherwise(0)).alias(f"first_{n}") for n in ("impressions", "clicks")]
    is_new = F.coalesce(F.col("joined") >= F.lit(start), F.lit(False))
    return (
        user_daily.where(window)
        .withColumn("variant", design.variant_column(experiment, F.col("user_id")))
        .where("variant IS NOT NULL")
        .join(known, "user_id", "left")
        .groupBy("user_id", "variant", "joined", *market.groups)
        .agg(
            F.max(since).alias("came"),
            F.coalesce(F.max(F.when(came_back, True)), F.lit(False)).alias("returned"),
            *summed,
        )
        .where("came")
        .withColumn("is_new", is_new)
        .withColumn("followed", F.date_diff(F.lit(days.last), "joined") >= RETURN_DAYS)
        .withColumn("tenure", F.when(F.col("is_new"), "new").otherwise("old"))
        .withColumn("segments", _segments(market))
    )


def _segments(market: Market) -> SparkColumn:
    values = {ALL: F.lit("")} | {name: F.col(name).cast("string") for name in ("tenure", *market.groups)}
    return F.array(*[F.struct(F.lit(k).alias("segment_by"), v.alias("segment")) for k, v in values.items()])


def moments(found: DataFrame, experiment: Experiment) -> DataFrame:
    """Exact sums over people; those whose group is not known count in ``all`` only.

    Returns
    -------
    DataFrame
        ``experiment, variant, segment_by, segment, people``, and a struct of moments a metric.
    """

    def of(metric: Metric) -> SparkColumn:
        among = F.expr(metric.among)
        a, b = (F.when(among, F.expr(sql).cast("decimal(18,0)")) for sql in (metric.a, metric.b))
        named = {"n": F.count(a), "a": F.sum(a), "b": F.sum(b), "aa": F.sum(a * a), "bb": F.sum(b * b)}
        return F.struct(*[v.alias(k) for k, v in (named | {"ab": F.sum(a * b)}).items()])

    return (
        found.withColumn("of", F.explode("segments"))
        .where("of.segment IS NOT NULL")
        .groupBy("variant", "of.segment_by", "of.segment")
        .agg(F.count("*").alias("people"), *[of(metric).alias(name) for name, metric in METRICS.items()])
        .withColumn("experiment", F.lit(experiment.name))
    )


def figures(found: list[dict[str, Any]], experiment: Experiment, params: Params) -> Iterator[dict[str, Any]]:
    """Every variant held against control, in every segment where both have people."""
    by = {(r["segment_by"], r["segment"], r["variant"]): r for r in found}
    sizes = [by.get((ALL, "", name), {}).get("people", 0) for name in experiment.variants]
    chance = sample_ratio(sizes, list(experiment.variants.values()))
    for segment_by, segment, variant in sorted(by):
        control = by.get((segment_by, segment, CONTROL))
        if variant == CONTROL or control is None:
            continue
        for name, metric in METRICS.items():
            pair = [_moments(control[name]), _moments(by[segment_by, segment, variant][name])]
            row = compared(metric, *pair, params)
            yield row | {
                "experiment": experiment.name,
                "variant": variant,
                "segment_by": segment_by,
                "segment": segment,
                "metric": name,
                "is_primary": name == experiment.primary,
                "method": metric.method,
                "sample_ratio_p": chance if math.isfinite(chance) else None,
                "verdict": BROKEN if chance < params.sample_ratio_limit else row["verdict"],
            }


def _moments(sums: Mapping[str, Any]) -> Moments:
    return Moments(**{name: np.asarray(float(value or 0)) for name, value in sums.items()})


def compared(metric: Metric, control: Moments, variant: Moments, params: Params) -> dict[str, Any]:
    """The figures of one comparison; none of a variant that is too small.

    One reading decides on all nights. To go over to the planned one on the last day would be a further chance to err:
    it has its 5 % for itself.
    """
    row: dict[str, Any] = {"n_control": int(control.n), "n": int(variant.n), "verdict": TOO_SMALL}
    if min(control.n, variant.n) < params.min_group:
        return row
    make, test = METHODS[metric.method]
    before, after = make(control, variant)
    planned = test(before, after)
    always = always_valid(planned, params.expected_effect * deviation(planned, before, after))
    lift = [x - 1 for x in quotient(_with_ends(after), _with_ends(before))]
    values = {
        "control_value": before.value,
        "value": after.value,
        "difference": planned.difference,
        "lo": planned.low,
        "hi": planned.high,
        **dict(zip(("lift", "lift_lo", "lift_hi"), lift, strict=True)),
        "p_value": planned.p_value,
        "always_lo": always.low,
        "always_hi": always.high,
        "always_p": always.p_value,
    }
    row |= {name: float(x) if math.isfinite(x) else None for name, x in values.items()}
    effect = params.expected_lift * float(before.value)
    if math.isfinite(effect) and effect > 0:
        row["needed"] = math.ceil(size_for_means(math.sqrt(float(before.variance) * float(before.n)), effect))
    return row | {"verdict": BETTER if always.low > 0 else WORSE if always.high < 0 else OPEN}


def _with_ends(of: Figure) -> tuple[float, float, float]:
    half = 1.959964 * math.sqrt(max(0.0, float(of.variance)))
    return float(of.value), float(of.value) - half, float(of.value) + half
