"""How often users refuse, and items and creators are refused: told (not interested, block, dislike) and by skips."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.windows import seen_in_market, spread, summed
from jobs.contract import Column, DayRange, Ranked, Table, TableInput, between, in_set
from jobs.interactions import NEGATIVE

WINDOWS = (7, 28)
SUMS = ("exposures", *NEGATIVE, "fast_skips")


@dataclass(frozen=True)
class Params:
    """The prior of both rates: so many showings come before the first, of which so many were refused or skipped."""

    prior_exposures: float = 50.0
    prior_negatives: float = 0.25
    prior_fast_skips: float = 2.5


REFUSALS = ("negative_rate_28d", "fast_skip_rate_28d")
CONTRACT = Table(
    name="features.negative_feedback",
    group="features",
    owner="item-understanding",
    description="Refusals and fast skips by user, item and creator of the last 28 days: counts and smoothed rates.",
    columns=[
        Column("kind", "string", "user, item or creator."),
        Column("id", "bigint", "Surrogate key of the user, item or creator.", subject=True),
        *[
            Column(f"{name}_{n}d", "int", f"Sum of {name} in the {n} days ending on ds.")
            for name in SUMS
            for n in WINDOWS
        ],
        *[
            Column(
                f"negative_rate_{n}d",
                "double",
                f"Refusals told by showings over {n} days, smoothed; null where nobody in the market told any.",
                digits=6,
            )
            for n in WINDOWS
        ],
        *[
            Column(
                f"fast_skip_rate_{n}d",
                "double",
                f"Fast skips by showings over {n} days, smoothed; null where the market has none.",
                digits=6,
            )
            for n in WINDOWS
        ],
    ],
    keys=["kind", "id"],
    inputs=[TableInput("silver.feedback_daily", days=28)],
    checks=[
        in_set("kind", ("user", "item", "creator")),
        between("negative_rate_28d", 0, 1),
        between("fast_skip_rate_28d", 0, 1),
    ],
    ranked=[Ranked(f"{kind}_", f"{kind}_id", REFUSALS, kind=kind) for kind in ("user", "item", "creator")],
)


def build(feedback_daily: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    flags, rates = {}, {}
    for n in WINDOWS:
        flags |= {f"_told_{n}d": ("told", n), f"_skipped_{n}d": ("fast_skips", n)}
        negative = _rate(_told(f"_{n}d"), n, params.prior_negatives, params)
        skipped = _rate(F.col(f"fast_skips_{n}d"), n, params.prior_fast_skips, params)
        rates[f"negative_rate_{n}d"] = F.when(F.col(f"_told_{n}d"), negative)
        rates[f"fast_skip_rate_{n}d"] = F.when(F.col(f"_skipped_{n}d"), skipped)
    of_market = seen_in_market(feedback_daily.withColumn("told", _told()), days, flags)
    return (
        spread(feedback_daily, days, 28)
        .groupBy("ds", "kind", "id")
        .agg(*[summed(name, n).alias(f"{name}_{n}d") for name in SUMS for n in WINDOWS])
        .join(F.broadcast(of_market), "ds")
        .withColumns(rates)
    )


def _told(suffix: str = "") -> SparkColumn:
    """Refusals that were told, of all kinds."""
    return sum((F.col(f"{action}{suffix}") for action in NEGATIVE), F.lit(0))


def _rate(refused: SparkColumn, window: int, prior: float, params: Params) -> SparkColumn:
    # one showing may be refused twice, and some refusals come without any: the rate stays within [0, 1]
    seen = F.greatest(F.col(f"exposures_{window}d"), refused)
    return (refused + prior) / (seen + params.prior_exposures)
