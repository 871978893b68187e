r"""How fast activity grows old: each day's score of every half-life of a grid, and the best one as of a day.

Activity decayed up to yesterday says who will be active today. Given how much happened today in all, Poisson
counts of users are multinomial, so a half-life *h* is scored by the log-likelihood of who did it,

.. math:: \ell_h = \sum_u y_u \log p_u, \quad p_u \propto \frac{A_u(h)}{\bar A(h)} + \kappa, \quad
    A_u(h) = \sum_{k=0}^{27} a_{u,k} \, 2^{-k/h}

with :math:`y_u` today's targets (clicks, unless the market counts another action as success) and
:math:`a_{u,k}` the actions k days before yesterday. The level of the day cancels, so weekends and sales favour
no half-life. :math:`\kappa` is the weight of the mean user, without which whoever was long away could not come
back; it is profiled over a grid of its own. A day is forecast from the days before it only: each score is out
of sample (prequential; Dawid, Statistical theory: the prequential approach, 1984).

This is a table and not a fitted artifact. The best half-life as of a day follows from the scores of its last 28
days, so a range of days is the same as its days one by one, an older day can be rebuilt at any time, and a
night adds one aggregation.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.windows import spread
from jobs.contract import Column, DayRange, Table, TableInput, between
from jobs.errors import ContractError

WINDOW = 28
"""Days of activity that are decayed, and days of scores that choose."""


@dataclass(frozen=True)
class Params:
    """The grid: half-lives in days, and weights of the mean user in percent."""

    half_lives: tuple[int, ...] = (1, 2, 3, 5, 7, 10, 14, 20, 28, 56)
    prior_percents: tuple[int, ...] = (3, 10, 30, 100)

    def __post_init__(self) -> None:
        for name in ("half_lives", "prior_percents"):
            values = getattr(self, name)
            if not values or any(not isinstance(v, int) or v < 1 for v in values) or len(set(values)) < len(values):
                raise ContractError(
                    f"features.half_life: {name} must be different whole numbers from 1, not {values!r}."
                )


CONTRACT = Table(
    name="features.half_life",
    group="features",
    owner="user-understanding",
    description="How well activity decayed by each half-life up to the day before forecast who acted on the day.",
    columns=[
        Column("half_life_days", "int", "Half-life of the activity.", "days"),
        Column("prior_percent", "int", "Weight of the mean user beside a user's own activity.", "%"),
        Column("log_likelihood", "double", "Log-likelihood of the day's targets, given their sum.", "nats", digits=6),
        Column("targets", "bigint", "Targets of the day by users of the 28 days before."),
        Column("users", "bigint", "Users of the 28 days before."),
    ],
    keys=["half_life_days", "prior_percent"],
    inputs=[TableInput("silver.user_daily", days=WINDOW + 1)],
    checks=[between("log_likelihood", None, 0), between("targets", 0, None)],
)


def acted() -> SparkColumn:
    """Actions of a row of ``silver.user_daily``; one that the market counts as success counts twice."""
    return F.col("clicks") + F.col("targets") + F.col("purchases") + F.col("logins")


def build(user_daily: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    """Score the whole grid in one pass: each candidate is a column until the end."""
    before = F.col("age") >= 1
    decayed = {
        h: F.sum(F.when(before, acted() * F.pow(F.lit(0.5), (F.col("age") - 1) / h)).otherwise(0.0)).alias(f"a{h}")
        for h in params.half_lives
    }
    known = (
        spread(user_daily, days, WINDOW + 1)
        .groupBy("ds", "user_id")
        .agg(
            F.max("age").alias("oldest"),
            F.sum(F.when(~before, F.col("targets")).otherwise(0)).alias("y"),
            *decayed.values(),
        )
        .where("oldest >= 1")
    )
    # the sum of y is here so that both branches have one plan, which Spark then runs once
    totals = known.groupBy("ds").agg(
        F.count(F.lit(1)).alias("users"),
        F.sum("y").alias("targets"),
        *[F.avg(f"a{h}").alias(f"m{h}") for h in params.half_lives],
    )
    scores = [score(h, percent) for h in params.half_lives for percent in params.prior_percents]
    return (
        known.join(F.broadcast(totals), "ds")
        .groupBy("ds", "users", "targets")
        .agg(F.array(*scores).alias("scores"))
        .select("ds", "users", "targets", F.inline("scores"))
    )


def score(half_life: int, percent: int) -> SparkColumn:
    """A candidate with its log-likelihood; shares add up to 1: sum of (A / mean + kappa) = users * (1 + kappa)."""
    kappa = percent / 100
    # nobody acted at all: everybody is the mean user
    relative = F.coalesce(F.try_divide(f"a{half_life}", f"m{half_life}"), F.lit(1.0))
    share = (relative + kappa) / (F.col("users") * (1 + kappa))
    return F.struct(
        F.lit(half_life).alias("half_life_days"),
        F.lit(percent).alias("prior_percent"),
        F.sum(F.col("y") * F.log(share)).alias("log_likelihood"),
    )


def tuned(half_life: DataFrame, days: DayRange, min_targets: int) -> DataFrame:
    """The best half-life as of each day, from the scores of the 28 days that end on it.

    Parameters
    ----------
    half_life
        Rows of ``features.half_life``.
    days
        The days to build.
    min_targets
        Fewer forecast targets than this choose nothing.

    Returns
    -------
    DataFrame
        ``ds``, ``half_life_days`` (double): one row a day; none where too little was forecast. Ties go to the
        longer half-life.
    """
    return (
        spread(half_life, days, WINDOW)
        .groupBy("ds", "half_life_days", "prior_percent")
        .agg(F.sum("log_likelihood").alias("score"), F.sum("targets").alias("targets"))
        .where(F.col("targets") >= min_targets)
        .groupBy("ds")
        .agg(F.max_by("half_life_days", F.struct(F.round("score", 6), "half_life_days")).alias("half_life_days"))
        .withColumn("half_life_days", F.col("half_life_days").cast("double"))
    )
