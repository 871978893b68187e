"""Pairs to train on: what was shown, and what was taken without a showing with drawn negatives; with labels.

A table of its own, because everything that examples join to the pairs would else draw them anew.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.windows import spread
from jobs.contract import Column, DayRange, Table, TableInput, between, in_set
from quality.badcases import samples

LABEL_DAYS = 1
"""Days after the showing in which a conversion counts; the click must come on the day itself."""
OWN_DAYS = 365
"""How far back an item of the user's own may lie: as far as rankers see a pair's past."""


@dataclass(frozen=True)
class Params:
    """Negatives drawn per positive where nothing was logged as shown, and the seed of the draw.

    ``weigh``: a drawn row weighs as many pairs as it stands for, so that chances are those of the whole catalogue, and
    not of the mixture (Horvitz and Thompson, 1952). A ranker's order is then that of the chances: ``order: odds``.

    The mixture resembles the candidates that a ranker orders. From uniform draws alone it learns that whatever is
    popular was taken, and from own items alone that whatever is known was not.
    """

    uniform_negatives: int = 5
    popular_negatives: int = 5
    popular_pool: int = 100
    history_negatives: int = 5
    weigh: bool = False
    seed: int = 7


CONTRACT = Table(
    name="training.pairs",
    group="examples",
    owner="model-life",
    description="Showings of the day ds - 1, and actions of that day outside of any with drawn negatives; labels from "
    "a closed window.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("item_id", "bigint", "Surrogate item key."),
        Column("shown_ds", "date", "Day of the showing."),
        Column("position", "int", "Best place in a list, from 1; 1 where nothing was shown."),
        Column("source", "string", "impression, action, or drawn: uniform, popular, history (own items)."),
        Column("label", "int", "1: a target action on the day of the showing; or what its bad case says."),
        Column("converted", "int", "1: bought on the day of the showing or within the label window after it."),
        Column("dwell_ms", "bigint", "Time spent on the item on the day of the showing; 0 without a click.", unit="ms"),
        Column(
            "weight",
            "double",
            "How much the row counts in a fit: 1, the weight of its bad case, or pairs "
            "that a drawn row stands for (option weigh).",
            digits=3,
        ),
        Column("case_id", "bigint", "The bad case of that day that the row teaches; null for an ordinary row."),
    ],
    keys=["user_id", "item_id"],
    inputs=[
        TableInput("silver.impressions", lag=LABEL_DAYS, optional=True),
        TableInput("silver.user_item_daily", days=LABEL_DAYS + 1, alias="outcomes"),
        TableInput("silver.user_item_daily", lag=LABEL_DAYS + 1, days=OWN_DAYS, alias="before"),
        TableInput("features.item_stats", lag=LABEL_DAYS + 1),
        TableInput("features.badcases", lag=LABEL_DAYS, optional=True),
        TableInput("silver.items", lag=LABEL_DAYS, optional=True),
    ],
    checks=[
        in_set("source", ("impression", "action", "uniform", "popular", "history")),
        between("position", 1, None),
        between("weight", 0, None),
    ],
)


def shown_pairs(
    impressions: DataFrame, actions: DataFrame, item_stats: DataFrame, owned: DataFrame, params: Params
) -> DataFrame:
    """``shown_ds, user_id, item_id, position, source``: logged showings; actions outside of them with drawn negatives.

    People also return to an item without being shown it. Left out, a ranker would never learn that.
    """
    logged = (
        impressions.groupBy(F.col("ds").alias("shown_ds"), "user_id", "item_id")
        .agg(F.min("position").alias("position"))
        .withColumn("source", F.lit("impression"))
    )
    positives = actions.select("shown_ds", "user_id", "item_id").join(
        logged, ["shown_ds", "user_id", "item_id"], "left_anti"
    )
    drawn = (
        _drawn(positives, item_stats, "uniform", params.uniform_negatives, None, params.seed)
        .unionByName(
            _drawn(positives, item_stats, "popular", params.popular_negatives, params.popular_pool, params.seed)
        )
        .unionByName(_own(positives, owned, item_stats, params))
    )
    first = Window.partitionBy("shown_ds", "user_id", "item_id").orderBy("source")
    made = positives.withColumn("source", F.lit("action")).unionByName(drawn)
    # "action" sorts first, so a draw that hits a positive is dropped; so is one that was shown
    made = (
        made.withColumn("_nth", F.row_number().over(first))
        .where("_nth = 1")
        .drop("_nth")
        .join(logged, ["shown_ds", "user_id", "item_id"], "left_anti")
    )
    return logged.unionByName(made.withColumn("position", F.lit(1)).select(*logged.columns))


def _offered(item_stats: DataFrame) -> DataFrame:
    """``shown_ds, item_id, place``: what was on offer the day before, from 0 for what most users took."""
    score = F.struct("target_users_7d", "target_users_28d", -F.col("item_id"))
    order = Window.partitionBy("ds").orderBy(score.desc())
    return item_stats.where("is_eligible").select(
        F.date_add("ds", 1).alias("shown_ds"), "item_id", (F.row_number().over(order) - 1).alias("place")
    )


def _drawn(
    positives: DataFrame, item_stats: DataFrame, source: str, number: int, pool: int | None, seed: int
) -> DataFrame:
    """``number`` items a positive, drawn with equal chance from the ``pool`` most popular on offer the day before."""
    offered = _offered(item_stats).withColumnRenamed("item_id", "drawn")
    offered = offered if pool is None else offered.where(F.col("place") < pool)
    sizes = offered.groupBy("shown_ds").agg(F.count(F.lit(1)).alias("size"))
    chance = F.xxhash64(F.lit(seed), F.lit(source), "shown_ds", "user_id", "item_id", "number")
    draws = (
        positives.join(F.broadcast(sizes), "shown_ds")
        .withColumn("number", F.explode(F.sequence(F.lit(1), F.lit(number))))
        .withColumn("place", F.pmod(chance, F.col("size")))
    )
    return draws.join(offered, ["shown_ds", "place"]).select(
        "shown_ds", "user_id", F.col("drawn").alias("item_id"), F.lit(source).alias("source")
    )


def _own(positives: DataFrame, owned: DataFrame, item_stats: DataFrame, params: Params) -> DataFrame:
    """Items of the user's own earlier days: without them a ranker learns only that known beats unknown."""
    per_user = positives.groupBy("shown_ds", "user_id").agg(F.count(F.lit(1)).alias("wanted"))
    chance = F.xxhash64(F.lit(params.seed), "shown_ds", "user_id", "item_id")
    order = Window.partitionBy("shown_ds", "user_id").orderBy(chance, "item_id")
    return (
        per_user.join(owned, ["shown_ds", "user_id"])
        .join(_offered(item_stats), ["shown_ds", "item_id"], "left_semi")
        .withColumn("_nth", F.row_number().over(order))
        .where(F.col("_nth") <= F.col("wanted") * params.history_negatives)
        .select("shown_ds", "user_id", "item_id", F.lit("history").alias("source"))
    )


def stands_for(pairs: DataFrame, item_stats: DataFrame, owned: DataFrame, params: Params) -> DataFrame:
    """Add ``_pairs`` to the rows of `shown_pairs`: 1 / the chance that a drawn pair was drawn by any draw, else 1."""
    key, day = ["shown_ds", "user_id", "item_id"], ["shown_ds", "user_id"]
    offered = _offered(item_stats)
    sizes = offered.groupBy("shown_ds").agg(F.count(F.lit(1)).alias("_size"))
    wanted = pairs.where("source = 'action'").groupBy(*day).agg(F.count(F.lit(1)).alias("_wanted"))
    own = owned.join(offered, ["shown_ds", "item_id"], "left_semi")
    many = own.groupBy(*day).agg(F.count(F.lit(1)).alias("_many"))
    pool = F.least(F.lit(params.popular_pool), "_size")
    never = {
        "uniform": F.pow(1 - 1 / F.col("_size"), F.col("_wanted") * params.uniform_negatives),
        "popular": F.when(
            F.col("place") < pool, F.pow(1 - 1 / pool, F.col("_wanted") * params.popular_negatives)
        ).otherwise(1.0),
        "history": F.when(
            F.col("_own"), 1 - F.least(F.lit(1.0), F.col("_wanted") * params.history_negatives / F.col("_many"))
        ).otherwise(1.0),
    }
    drawn = F.col("source").isin(*never)
    missed = never["uniform"] * never["popular"] * never["history"]
    return (
        pairs.join(offered, ["shown_ds", "item_id"], "left")
        .join(F.broadcast(sizes), "shown_ds", "left")
        .join(wanted, day, "left")
        .join(own.select(*key, F.lit(True).alias("_own")), key, "left")
        .join(many, day, "left")
        .withColumn("_pairs", F.when(drawn, 1 / (1 - missed)).otherwise(1.0))
        .drop("place", "_size", "_wanted", "_own", "_many")
    )


def build(
    impressions: DataFrame,
    outcomes: DataFrame,
    before: DataFrame,
    item_stats: DataFrame,
    badcases: DataFrame,
    items: DataFrame,
    *,
    days: DayRange,
    params: Params,
) -> DataFrame:
    shown = DayRange(days.first - dt.timedelta(days=LABEL_DAYS), days.last - dt.timedelta(days=LABEL_DAYS))
    evenings = DayRange(shown.first - dt.timedelta(days=1), shown.last - dt.timedelta(days=1))
    on_day = outcomes.where(shown.where()).withColumnRenamed("ds", "shown_ds")
    # only who took something draws: the long past of all others is not spread over the days
    theirs = before.where("strength > 0").join(
        on_day.where("targets > 0").select("user_id").distinct(), "user_id", "left_semi"
    )
    owned = (
        spread(theirs, evenings, OWN_DAYS)
        .select(F.date_add("ds", 1).alias("shown_ds"), "user_id", "item_id")
        .distinct()
    )
    pairs = shown_pairs(impressions, on_day.where("targets > 0"), item_stats, owned, params)
    acted = on_day.where("targets > 0 OR dwell_ms > 0").select(
        "shown_ds",
        "user_id",
        "item_id",
        (F.col("targets") > 0).cast("int").alias("label"),
        F.when(F.col("clicks") > 0, F.col("dwell_ms")).alias("dwell_ms"),
    )
    bought = (
        outcomes.where("purchases > 0")
        .select(
            F.explode(F.sequence(F.date_sub("ds", LABEL_DAYS), "ds")).alias("shown_ds"),
            "user_id",
            "item_id",
            F.lit(1).alias("converted"),
        )
        .distinct()
    )
    key = ["shown_ds", "user_id", "item_id"]
    labelled = pairs.join(acted, key, "left").join(bought, key, "left").fillna(0, ["label", "converted", "dwell_ms"])
    stands = (
        stands_for(labelled, item_stats, owned, params) if params.weigh else labelled.withColumn("_pairs", F.lit(1.0))
    )
    # the weight of a bad case is what the person gave it who found it
    weight = F.when(F.col("case_id").isNull(), F.col("_pairs")).otherwise(F.col("weight"))
    made = samples.with_cases(stands, badcases, items).withColumn("weight", weight)
    return made.withColumn("ds", F.date_add("shown_ds", LABEL_DAYS))
