r"""Which categories each audience is drawn to: lift with its numbers and an interval. For audits and operations only.

Among the users who acted on anything in the last 28 days, with :math:`n_1` of a label and N in all, of whom *a*
and *b* acted on the category, the lift is the ratio of the shares :math:`p_1 = a/n_1` and :math:`p = b/N`. Its
interval is that of Katz for the logarithm of a ratio of shares (Biometrics 34, 1978), with the covariance of a
part and its whole: with :math:`w = n_1 / N` and the others' share :math:`p_0`, by the delta method

.. math:: \operatorname{Var}(\ln \tfrac{p_1}{p}) = \frac{p_1 q_1}{n_1} \left(\frac{1}{p_1} - \frac{w}{p}\right)^2
    + \frac{p_0 q_0}{N - n_1} \left(\frac{1 - w}{p}\right)^2

A label of all users has lift 1 and an interval of no width. A label nobody of which acted on a category has no row.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.windows import spread
from jobs.contract import Column, DayRange, Table, TableInput, between, no_rows_where

WINDOW = 28


@dataclass(frozen=True)
class Params:
    """Below ``min_users`` of the label or ``min_expected`` acting ones a row is small; ``level`` of the interval."""

    min_users: int = 30
    min_expected: float = 5.0
    level: float = 0.95


CONTRACT = Table(
    name="features.audience_affinity",
    group="features",
    owner="user-understanding",
    description="Lift of each audience label for each category over 28 days, with its numbers and an interval. "
    "For audits and operations only.",
    columns=[
        Column("label", "string", "Audience label (features.user_audience).", sensitive=True),
        Column("category", "string", "Primary category."),
        Column("lift", "double", "Share of the label's users by share of all users.", digits=6),
        Column("lift_low", "double", "Lower end of the interval, 95 % (option level).", digits=6),
        Column("lift_high", "double", "Upper end.", digits=6),
        Column("n", "bigint", "Users of the label who acted on the category.", "people"),
        Column("label_users", "bigint", "Users of the label who acted on anything.", "people"),
        Column("category_users", "bigint", "Users who acted on the category.", "people"),
        Column("all_users", "bigint", "Users who acted on anything.", "people"),
        Column(
            "is_small",
            "boolean",
            "Fewer than 30 users of the label, or fewer than 5 expected on the category (options): no conclusion.",
        ),
    ],
    keys=["label", "category"],
    inputs=[
        TableInput("features.user_audience"),
        TableInput("silver.user_item_daily", days=WINDOW),
        TableInput("silver.items"),
    ],
    checks=[
        between("lift", 0, None),
        no_rows_where("n > label_users OR n > category_users", "a part exceeds the whole"),
    ],
)


def build(
    user_audience: DataFrame, user_item_daily: DataFrame, items: DataFrame, *, days: DayRange, params: Params
) -> DataFrame:
    """Count in one aggregation: each user stands under each label and category, and under 'any' of both (null)."""
    any_of = F.array(F.lit(None).cast("string"))
    categories = (
        spread(user_item_daily.where("strength > 0"), days, WINDOW)
        .join(items.select("ds", "item_id", "category").where("category IS NOT NULL"), ["ds", "item_id"])
        .groupBy("ds", "user_id")
        .agg(F.concat(any_of, F.collect_set("category")).alias("categories"))
    )
    labels = user_audience.groupBy("ds", "user_id").agg(F.concat(any_of, F.collect_set("label")).alias("labels"))
    counted = (
        categories.join(labels, ["ds", "user_id"], "left")
        .select("ds", "categories", F.explode(F.coalesce("labels", any_of)).alias("label"))
        .select("ds", "label", F.explode("categories").alias("category"))
        .groupBy("ds", "label", "category")
        .agg(F.count(F.lit(1)).alias("n"))
    )

    def total(where: str, *by: str) -> SparkColumn:
        return F.max(F.when(F.expr(where), F.col("n"))).over(Window.partitionBy("ds", *by))

    return (
        counted.withColumn("label_users", total("category IS NULL", "label"))
        .withColumn("category_users", total("label IS NULL", "category"))
        .withColumn("all_users", total("label IS NULL AND category IS NULL"))
        .where("label IS NOT NULL AND category IS NOT NULL")
        .withColumns(lift(params))
    )


def lift(params: Params) -> dict[str, SparkColumn]:
    """Lift, its interval and the flag, from the four counts."""
    a, n1, b, n = (F.col(c).cast("double") for c in ("n", "label_users", "category_users", "all_users"))
    others = n - n1
    p1, p, w = a / n1, b / n, n1 / n
    p0 = F.coalesce(F.try_divide(b - a, others), F.lit(0.0))
    inside = p1 * (1 - p1) / n1 * F.pow(1 / p1 - w / p, 2)
    outside = F.coalesce(F.try_divide(p0 * (1 - p0), others), F.lit(0.0)) * F.pow((1 - w) / p, 2)
    spread_of_log = F.exp(NormalDist().inv_cdf(0.5 + params.level / 2) * F.sqrt(inside + outside))
    return {
        "lift": p1 / p,
        "lift_low": p1 / p / spread_of_log,
        "lift_high": p1 / p * spread_of_log,
        "is_small": (n1 < params.min_users) | (n1 * p < params.min_expected),
    }
