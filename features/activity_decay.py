r"""Whether each user's activity rises or fades: the weight of the recent days against the user's history.

The coefficient of a user is

.. math:: c_u = \ln \frac{r_u + \epsilon}{\bar a_u + \epsilon}, \quad
    r_u = \frac{\sum_k a_{u,k} 2^{-k/h}}{\sum_k 2^{-k/h}}, \quad \bar a_u = \frac{1}{n_u} \sum_k a_{u,k}

over the last :math:`n_u = \min(28, \text{days since first seen} + 1)` days, with the tuned half-life *h*
(``features.half_life``). It is 0 for a steady user, positive for one who does more than before, negative for one
who fades. Both rates divide by the days since the user was first seen, so a newcomer's short history is no rise.
:math:`\epsilon` keeps a user who did next to nothing near 0.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features import half_life as half_lives
from features.half_life import acted, tuned
from features.windows import decay, spread
from jobs.contract import Column, DayRange, Table, TableInput, between

WINDOW = 28


@dataclass(frozen=True)
class Params:
    """Half-life and least forecast targets as in ``features.user_activity``; ``prior_rate`` is the epsilon."""

    half_life_days: float = 7.0
    min_targets: int = 500
    prior_rate: float = 0.1


CONTRACT = Table(
    name="features.activity_decay",
    group="features",
    owner="user-understanding",
    description="Activity decay coefficient of each user of the last 28 days: recent against historical weight.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("half_life_days", "double", "Half-life in use: tuned, else configured.", "days", digits=2),
        Column("recent_rate", "double", "Actions a day, weighted by 2^(-age/half-life).", "1/day", digits=6),
        Column("mean_rate", "double", "Actions a day since first seen, at most 28 days.", "1/day", digits=6),
        Column("coefficient", "double", "Log ratio of the two: 0 is steady, below 0 fades.", digits=6),
    ],
    keys=["user_id"],
    inputs=[
        TableInput("silver.user_daily", days=WINDOW),
        TableInput("features.user_history"),
        TableInput("features.half_life", days=half_lives.WINDOW, optional=True),
    ],
    checks=[between("recent_rate", 0, None), between("mean_rate", 0, None), between("coefficient", -10, 10, "warn")],
)


def build(
    user_daily: DataFrame, user_history: DataFrame, half_life: DataFrame, *, days: DayRange, params: Params
) -> DataFrame:
    chosen = F.coalesce("tuned", F.lit(params.half_life_days))
    by_day = tuned(half_life, days, params.min_targets).withColumnRenamed("half_life_days", "tuned")
    lived = F.least(F.lit(WINDOW), F.datediff("ds", "first_seen_ds") + 1)
    q = F.pow(F.lit(0.5), 1 / F.col("half_life_days"))
    weights = (1 - F.pow(q, "lived")) / (1 - q)  # of `lived` days: a geometric series
    return (
        spread(user_daily, days, WINDOW)
        .join(F.broadcast(by_day), "ds", "left")
        .withColumn("half_life_days", chosen)
        .groupBy("ds", "user_id", "half_life_days")
        .agg(F.sum(acted() * decay(F.col("half_life_days"))).alias("recent"), F.sum(acted()).alias("all"))
        .join(user_history.select("ds", "user_id", lived.alias("lived")), ["ds", "user_id"])
        .withColumn("recent_rate", F.col("recent") / weights)
        .withColumn("mean_rate", F.col("all") / F.col("lived"))
        .withColumn(
            "coefficient", F.log((F.col("recent_rate") + params.prior_rate) / (F.col("mean_rate") + params.prior_rate))
        )
    )
