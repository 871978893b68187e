"""How each item's demand is spread over people: taken by many now and then, or by few again and again.

How often a user takes an item is a rate of their own. Over users these rates follow a Gamma distribution with the
item's share of all takings as its mean; its shape says how much people differ. Takings are then negative binomial
(Greenwood and Yule, 1920), and what a user is expected to take follows from both by Bayes' rule (`expected_share`).
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.windows import spread
from jobs.contract import Column, DayRange, Ranked, Table, TableInput, between

HORIZON = 365


@dataclass(frozen=True)
class Params:
    """How the shape is estimated.

    Parameters
    ----------
    prior
        Repeated pairs by which the excess of an item is drawn to that of its category, and that of a category to that
        of the market: most items are taken too seldom to tell by themselves.
    doubt
        Factor of the shape: below 1 a user's own past counts more than the moments say. On the nights of
        completejourney before those that are measured (docs/models.md), 0.6 to 1 order alike.
    least, most
        Bounds of the shape.
    """

    prior: float = 1.0
    doubt: float = 0.8
    least: float = 0.005
    most: float = 50.0


CONTRACT = Table(
    name="features.item_demand",
    group="features",
    owner="item-understanding",
    description="Each item's share of all target actions of 365 days, and how unevenly it is spread over people: the "
    "shape of the Gamma distribution of their rates, by moments, drawn to the item's category.",
    columns=[
        Column("item_id", "bigint", "Surrogate item key."),
        Column("takers", "int", "Users with a target action on it."),
        Column("takings", "bigint", "Target actions on it."),
        Column("share", "double", "Part of all target actions.", digits=9),
        Column("shape", "double", "Small: few take it again and again. Large: everyone alike.", digits=6),
    ],
    keys=["item_id"],
    inputs=[TableInput("silver.user_item_daily", days=HORIZON), TableInput("silver.items")],
    checks=[between("share", 0, 1), between("shape", 0, None)],
    ranked=[Ranked("demand_", "item_id", ["takers", "share", "shape"])],
)


def expected_share(
    share: SparkColumn, shape: SparkColumn, takings: SparkColumn, all_takings: SparkColumn
) -> SparkColumn:
    """Part of the user's next takings that is expected to be the item.

    The mean of the user's rate, given that ``takings`` of their ``all_takings`` were the item: the item's share for
    a stranger, the user's own share for whoever took a lot.
    """
    return share * (shape + takings) / (shape + share * all_takings)


def build(user_item_daily: DataFrame, items: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    pairs = (
        spread(user_item_daily.where("targets > 0"), days, HORIZON)
        .groupBy("ds", "user_id", "item_id")
        .agg(F.sum("targets").cast("double").alias("n"))
    )
    of_item = pairs.groupBy("ds", "item_id").agg(
        F.count(F.lit(1)).cast("int").alias("takers"),
        F.sum("n").alias("takings"),
        F.sum(F.col("n") * (F.col("n") - 1)).alias("again"),
    )
    of_user = pairs.groupBy("ds", "user_id").agg(F.sum("n").alias("n"))
    of_day = of_user.groupBy("ds").agg(
        F.sum("n").alias("_all"), F.sum(F.col("n") * (F.col("n") - 1)).alias("_all_again")
    )
    # what repeats there would be if all users took the item at the rate of its share
    share = F.col("takings") / F.col("_all")
    counted = of_item.join(F.broadcast(of_day), "ds").withColumns(
        {"share": share, "by_chance": share * share * F.col("_all_again")}
    )
    named = items.select("ds", "item_id", "category")
    return (
        counted.join(named, ["ds", "item_id"], "left")
        .withColumn("shape", _shape(params))
        .withColumn("takings", F.col("takings").cast("bigint"))
    )


def _shape(params: Params) -> SparkColumn:
    """``1 / (excess - 1)``, where excess is how many times as many repeats there are as by chance."""
    prior = F.lit(params.prior)
    excess: SparkColumn | None = None
    for window in (Window.partitionBy("ds"), Window.partitionBy("ds", "category"), None):
        again, chance = F.col("again"), F.col("by_chance")
        if window is not None:
            again, chance = F.sum(F.round(again, 9)).over(window), F.sum(F.round(chance, 9)).over(window)
        if excess is None:
            excess = F.try_divide(again, chance)
        else:
            excess = F.try_divide(again + prior, chance + prior / F.greatest(excess, F.lit(1.0)))
    found = F.lit(params.doubt) / F.greatest(excess - 1, F.lit(1e-6))
    return F.least(F.greatest(F.coalesce(found, F.lit(1.0)), F.lit(params.least)), F.lit(params.most))
