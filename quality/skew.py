"""``audit.skew``: the features that scoring used against those that training has for the same pair and day.

The ranker's inputs of a sample of users are kept as it scores them (``candidates.ranked``). When a pair that
was scored at the end of a day becomes a training row two days later, its features are joined anew, as known
at the end of that same day. Both must be equal: a difference is a feature that training and serving compute apart.

Unless the feature's table was built again after the scoring: late rows that healing brought in change its values by
right, so that a difference says nothing of the code. ``ops.run`` knows of such builds; the verdict is then *healed*.
Late rows move many values a little and a few by much: where many are far apart, by the spread of the feature, it is
*skew* all the same. (Simulated with 1 % of late rows, up to all pairs differ, by a thousandth of a rate.)
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.windows import spread
from jobs.contract import Column, DayRange, Table, TableInput, between, in_set
from models.examples import LABEL_DAYS
from models.ranking_features import CONTEXT, FEATURES, SOURCES

KNOWN_BEFORE = LABEL_DAYS + 1
"""Days between what a training row knows and its ds."""
COMPARED = tuple(name for name in FEATURES if name not in CONTEXT)
"""Scoring sets the context itself: every candidate is scored as if it stood first."""
OK, SKEW, HEALED = "ok", "skew", "healed"
HEALED_DAYS = 7
"""How far back healing goes: a table without windows of its own is read over days that may have been built again."""


@dataclass(frozen=True)
class Params:
    """When values differ.

    Parameters
    ----------
    share
        Part of the pairs that may differ.
    tolerance
        Numbers are equal within it, relatively above 1.
    far, far_share
        More than so many standard deviations of the feature are far apart; part of the pairs that late rows may bring
        so far.
    """

    share: float = 0.01
    tolerance: float = 1e-5
    far: float = 0.5
    far_share: float = 0.1


CONTRACT = Table(
    name="audit.skew",
    group="audit",
    owner="quality",
    description="Every ranking feature as scored and as trained on, for sampled pairs of the same user, item and day.",
    columns=[
        Column("feature", "string", "Ranking feature (models.ranking_features)."),
        Column("known_ds", "date", "Day at whose end both were known: that of the scoring.", nullable=False),
        Column("n", "bigint", "Pairs compared."),
        Column("different", "bigint", "Pairs whose values differ, or are missing on one side only."),
        Column("share", "double", "The same by pairs.", digits=6),
        Column("far", "bigint", "Pairs that are far apart by the spread of the feature, or missing on one side only."),
        Column("missing_scored", "bigint", "Pairs without a value when scored, with one in training."),
        Column("missing_trained", "bigint", "Pairs without a value in training, with one when scored."),
        Column("largest", "double", "Largest difference where both have a value.", digits=6),
        Column("source", "string", "The table that the feature is read from."),
        Column("healed", "boolean", "That table was built again after the scoring, as for rows that came late."),
        Column("verdict", "string", "ok; skew; or healed: they differ, and may by right.", nullable=False),
    ],
    keys=["feature"],
    inputs=[
        TableInput("candidates.ranked", lag=KNOWN_BEFORE, optional=True),
        TableInput("training.examples", optional=True),
        TableInput("ops.run", lag=KNOWN_BEFORE, days=HEALED_DAYS, optional=True),
    ],
    checks=[in_set("verdict", (OK, SKEW, HEALED)), between("share", 0, 1)],
)


def build(ranked: DataFrame, examples: DataFrame, run: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    scored = ranked.where("scored_features IS NOT NULL").select(
        F.date_add("ds", KNOWN_BEFORE).alias("ds"),
        "user_id",
        "item_id",
        F.map_from_entries("scored_features").alias("scored_features"),
    )
    values = F.explode(
        F.array(
            *[
                F.struct(
                    F.lit(name).alias("feature"),
                    F.lit(SOURCES[name]).alias("source"),
                    # rounded as the training rows were when they were written
                    F.round(F.try_element_at("scored_features", F.lit(name)), 6).cast("float").alias("scored"),
                    F.col(name).alias("trained"),
                )
                for name in COMPARED
            ]
        )
    )
    pairs = (
        examples.join(scored, ["ds", "user_id", "item_id"]).select("ds", values.alias("value")).select("ds", "value.*")
    )
    apart = F.abs(F.col("scored").cast("double") - F.col("trained").cast("double"))
    scale = F.greatest(F.lit(1.0), F.abs(F.col("trained").cast("double")))
    only_trained = F.col("scored").isNull() & F.col("trained").isNotNull()
    only_scored = F.col("scored").isNotNull() & F.col("trained").isNull()
    equal = params.tolerance * scale
    missing = only_trained | only_scored
    differs = missing | F.coalesce(apart > equal, F.lit(False))
    is_far = missing | F.coalesce(apart > F.greatest(equal, params.far * F.col("spread")), F.lit(False))
    of_feature = Window.partitionBy("ds", "feature")
    by_right = F.col("healed") & (F.col("far") <= params.far_share * F.col("n"))
    return (
        pairs.withColumn("spread", F.coalesce(F.stddev_pop("trained").over(of_feature), F.lit(0.0)))
        .groupBy("ds", "feature", "source")
        .agg(
            F.count(F.lit(1)).alias("n"),
            F.count_if(differs).alias("different"),
            F.count_if(is_far).alias("far"),
            F.count_if(only_trained).alias("missing_scored"),
            F.count_if(only_scored).alias("missing_trained"),
            F.max(apart).alias("largest"),
        )
        .withColumn("known_ds", F.date_sub("ds", KNOWN_BEFORE))
        .withColumn("share", F.col("different") / F.col("n"))
        .join(F.broadcast(built_again(run, days)), ["ds", "source"], "left")
        .withColumn("healed", F.coalesce("healed", F.lit(False)))
        .withColumn("verdict", F.when(F.col("share") <= params.share, OK).when(by_right, HEALED).otherwise(SKEW))
    )


def built_again(run: DataFrame, days: DayRange) -> DataFrame:
    """``ds, source, healed``: tables that were published again after the scoring that ``ds`` compares with.

    A feature table counts with its own day; the daily aggregate is read over days, any of which may be healed.
    """
    back = dt.timedelta(days=KNOWN_BEFORE)
    known = DayRange(days.first - back, days.last - back)
    published = run.where("status = 'published'").select("ds", F.col("table").alias("source"), "at_ms")
    scored = (
        published.where(F.col("source") == "candidates.ranked").groupBy("ds").agg(F.max("at_ms").alias("scored_ms"))
    )
    read = spread(published.where(F.col("source").isin(*set(SOURCES.values()))), known, HEALED_DAYS)
    other_day = F.col("source").startswith("features.") & (F.col("age") > 0)
    return (
        read.where(~other_day)
        .join(scored, "ds")
        .where(F.col("at_ms") > F.col("scored_ms"))
        .select(F.date_add("ds", KNOWN_BEFORE).alias("ds"), "source", F.lit(True).alias("healed"))
        .distinct()
    )
