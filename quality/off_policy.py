"""``audit.off_policy``: what yesterday's lists would have earned in the slots whose propensities were logged."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, in_set
from jobs.errors import EvidenceError
from jobs.settings import Market
from quality.lists import days_before, frame_of, on
from quality.ope import Least, Log, discover_estimators, estimate, ratio_of_sums

ESTIMATORS = discover_estimators()
LOGGED = "logged"
OK, REFUSED = "ok", "refused"


@dataclass(frozen=True)
class Params:
    """The judged policy, and the evidence that an estimate needs.

    Parameters
    ----------
    surface, cut
        The policy fills a slot of this surface with one of the first ``cut`` items of the list, each with
        equal probability.
    clip
        Largest importance weight.
    sample
        Share of the users whose showings are judged: for days of many millions of showings.
    units, effective_size, support
        As in `quality.ope.Least`.
    """

    surface: str = "feed"
    cut: int = 20
    clip: float = 100.0
    sample: float = 1.0
    units: int = 100
    effective_size: float = 200.0
    support: float = 0.9


CONTRACT = Table(
    name="audit.off_policy",
    group="audit",
    owner="quality",
    description="Target actions per showing of ds, as logged and as they would have been had each organic or "
    "exploration slot shown a random item of the list made the evening before; to people with a list, with the "
    "logged propensities. An estimate without enough overlap or sample is refused.",
    columns=[
        Column("estimator", "string", "logged (what happened), ips, snips, dm or dr; a file each in quality/ope."),
        Column("list_ds", "date", "Day of the judged lists.", nullable=False),
        Column("value", "double", "Target actions per showing; null where refused.", digits=6),
        Column("lo", "double", "Lower end of the 95 % interval over users.", digits=6),
        Column("hi", "double", "Upper end of the 95 % interval over users.", digits=6),
        Column("n", "bigint", "Showings.", unit="showings"),
        Column("users", "bigint", "Users.", unit="users"),
        Column("effective_size", "double", "Showings of equal weight that say as much.", digits=1),
        Column("support", "double", "Mean weight; what is below 1, the log never shows.", digits=6),
        Column("clipped_share", "double", "Part of the weight that clipping took away.", digits=6),
        Column("verdict", "string", "ok or refused."),
        Column("reason", "string", "Why it was refused."),
    ],
    keys=["estimator"],
    inputs=[
        TableInput("silver.impressions", optional=True),
        TableInput("silver.events", optional=True),
        TableInput("serving.recommendations", lag=1, optional=True),
        TableInput("candidates.ranked", lag=1, optional=True),
    ],
    checks=[in_set("verdict", (OK, REFUSED)), between("effective_size", 0, None)],
    grain="day",
)


def showings(
    impressions: DataFrame,
    events: DataFrame,
    recommendations: DataFrame,
    ranked: DataFrame,
    days: DayRange,
    params: Params,
    market: Market,
) -> DataFrame:
    """Showings with known propensity to people with a list.

    Returns
    -------
    DataFrame
        ``user_id, position, reward, propensity, target, predicted, policy_value``: the last two are the
        ranker's probabilities for a first place, null where it had no head for them.
    """
    list_ds = days_before(days.last, 1)
    listed = (
        recommendations.where(on(list_ds) & (F.col("surface") == params.surface) & (F.col("rank") <= params.cut))
        .select("user_id", "item_id")
        .join(ranked.where(on(list_ds)).select("user_id", "item_id", "pctr"), ["user_id", "item_id"], "left")
    )
    of_user = listed.groupBy("user_id").agg(
        (1 / F.count("*")).alias("chance"), F.round(F.avg(F.round("pctr", 9)), 9).alias("policy_value")
    )
    taken = events.where(on(days.last) & F.col("action").isin(*market.target) & F.col("impression_id").isNotNull())
    slots = impressions.where(
        on(days.last)
        & (F.col("surface") == params.surface)
        & F.col("slot_type").isin("organic", "exploration")
        & (F.col("propensity") > 0)
        & (F.pmod(F.xxhash64("user_id", F.lit("off policy")), F.lit(1_000_000)) < int(params.sample * 1_000_000))
    )
    return (
        slots.join(taken.select("impression_id", F.lit(1.0).alias("reward")).distinct(), "impression_id", "left")
        .join(of_user, "user_id")
        .join(listed.withColumn("listed", F.lit(True)), ["user_id", "item_id"], "left")
        .select(
            "user_id",
            "position",
            F.coalesce("reward", F.lit(0.0)).alias("reward"),
            "propensity",
            F.when(F.col("listed"), F.col("chance")).otherwise(0.0).alias("target"),
            F.col("pctr").alias("predicted"),
            "policy_value",
        )
    )


def build(
    impressions: DataFrame,
    events: DataFrame,
    recommendations: DataFrame,
    ranked: DataFrame,
    *,
    days: DayRange,
    params: Params,
    market: Market,
) -> DataFrame:
    found = showings(impressions, events, recommendations, ranked, days, params, market).toArrow()
    # sums of floats depend on the order of rows, and rows that are equal in all columns may change places
    found = found.sort_by([(name, "ascending") for name in found.column_names])
    shared = {"ds": days.last, "list_ds": days_before(days.last, 1)}
    rows = [shared | row for row in figures(found, params)] if len(found) else []
    return frame_of(impressions.sparkSession, CONTRACT, rows)


def log_of(found: pa.Table, params: Params) -> Log:
    """The collected showings as a log; predictions are carried from first place to where the item was shown."""
    columns = {name: found[name].to_numpy(zero_copy_only=False) for name in found.column_names}
    predicted, value = columns["predicted"].astype(float), columns["policy_value"].astype(float)
    if not np.isfinite(value).all():
        predicted = value = None
    else:
        factor = of_position(columns["position"], columns["reward"], predicted)
        predicted, value = np.nan_to_num(predicted) * factor, value * factor
    return Log(
        columns["reward"], columns["propensity"], columns["target"], predicted, value, columns["user_id"], params.clip
    )


def of_position(position: np.ndarray, reward: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Observed over promised successes at each row's position; 1 where nothing was promised there."""
    promised_here = np.isfinite(predicted)
    promised = np.bincount(position, weights=np.where(promised_here, predicted, 0.0))
    observed = np.bincount(position, weights=np.where(promised_here, reward, 0.0))
    return np.divide(observed, promised, out=np.ones_like(promised), where=promised > 0)[position]


def figures(found: pa.Table, params: Params) -> Iterator[dict[str, Any]]:
    """The logged mean, then every estimator's row."""
    log = log_of(found, params)
    n, people = len(log.reward), len(np.unique(log.unit))
    mean = ratio_of_sums(log.reward, np.ones(n), log.unit)
    yield {"estimator": LOGGED, "n": n, "users": people, "verdict": OK} | ends(mean)
    shared = {
        "n": n,
        "users": people,
        "effective_size": log.effective_size,
        "support": float(log.raw_weight.mean()),
        "clipped_share": log.clipped_share,
    }
    least = Least(params.units, params.effective_size, params.support)
    for name, terms in ESTIMATORS.items():
        try:
            made = estimate(terms, log, least)
        except EvidenceError as refusal:
            yield shared | {"estimator": name, "verdict": REFUSED, "reason": str(refusal)}
        else:
            yield shared | {"estimator": name, "verdict": OK} | ends((made.value, made.low, made.high))


def ends(of: tuple[float, float, float]) -> dict[str, float | None]:
    return {name: x if math.isfinite(x) else None for name, x in zip(("value", "lo", "hi"), of, strict=True)}
