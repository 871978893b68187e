"""``audit.badcase``: the day's bad cases with the layer that caused each, and the evidence for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, in_set
from quality.badcases.detected import DETECTORS
from quality.badcases.detector import CANDIDATES, LAYERS, POLICY, RANKING
from quality.lists import days_before, on


@dataclass(frozen=True)
class Params:
    """When a layer is to blame.

    Parameters
    ----------
    coverage
        Candidates: a smaller part of the person's categories of interest has candidates, or the missed one has none.
    ctr_error
        Ranking: the estimated click rate of the item is off by more, relatively, and by more than chance moves the
        observed one; or the missed category ranks below ``top``.
    rule_share
        Policy: at least this part of the showings was set by a rule or quota (curated, ad, exploration); or the
        missed category ranks within ``top`` and was taken out afterwards.
    interest
        Share of a person's interest from which a category is one of interest.
    min_impressions
        Showings of an item in 28 days below which nothing is said of its click rate.
    """

    coverage: float = 0.8
    ctr_error: float = 0.2
    rule_share: float = 0.5
    top: int = 10
    interest: float = 0.05
    min_impressions: int = 100


CONTRACT = Table(
    name="audit.badcase",
    group="audit",
    owner="quality",
    description="Bad cases of the day with their root cause: each detector's layers are looked at in its order, and "
    "the first that shows a fault caused the case. Candidates and scores are those of the evening before, from which "
    "the day was served.",
    columns=[
        Column("case_id", "bigint", "Hash of day, type, user, item and category."),
        Column("type", "string", "The detector that found it."),
        Column("user_id", "bigint", "Whom it happened to; null where it is an item's fault.", subject=True),
        Column("item_id", "bigint", "The item; null where none is meant."),
        Column("category", "string", "The category, where one is meant."),
        Column("severity", "int", "1 the limit is passed, 2 by half, 3 twice or more."),
        Column("evidence", "string", "Figures of the case, as JSON."),
        Column("stops", "boolean", "The next lists leave the item out."),
        Column("layer", "string", "Root cause: candidates, ranking, policy, content or delivery."),
        Column("coverage", "double", "Part of the person's categories of interest that had candidates.", digits=6),
        Column("ctr_error", "double", "Estimated by observed click rate, less 1; the market at 0.", digits=6),
        Column("ctr_noise", "double", "How far chance moves that in 19 of 20 items shown as often.", digits=6),
        Column("rule_share", "double", "Part of the showings that a rule or quota set.", digits=6),
        Column("best_rank", "int", "Best place of the missed category among the ranked candidates."),
    ],
    keys=["case_id"],
    inputs=[
        TableInput("features.badcases", optional=True),
        TableInput("silver.impressions", optional=True),
        TableInput("silver.items"),
        TableInput("features.item_stats"),
        TableInput("features.user_interests", lag=1, optional=True),
        TableInput("candidates.ranked", lag=1, optional=True),
    ],
    checks=[in_set("layer", LAYERS)],
    grain="day",
)


def build(
    badcases: DataFrame,
    impressions: DataFrame,
    items: DataFrame,
    item_stats: DataFrame,
    user_interests: DataFrame,
    ranked: DataFrame,
    *,
    days: DayRange,
    params: Params,
) -> DataFrame:
    evening = days_before(days.last, 1)
    categories = items.where(on(days.last)).select("item_id", "category")
    scored = ranked.where(on(evening)).select("user_id", "item_id", "rank", "pctr")
    places = scored.join(categories, "item_id").groupBy("user_id", "category").agg(F.min("rank").alias("best_rank"))
    interests = user_interests.where(
        on(evening) & (F.col("kind") == "category") & (F.col("share") >= params.interest)
    ).select("user_id", F.col("value").alias("category"))
    shown = impressions.where(on(days.last))
    cases = badcases.where(on(days.last))
    return (
        cases.join(coverage_of(interests, places), "user_id", "left")
        .join(places, ["user_id", "category"], "left")
        .join(errors_of(scored, item_stats.where(on(days.last)), params), "item_id", "left")
        .join(rules_of(shown, "user_id", "item_id"), ["user_id", "item_id"], "left")
        .join(rules_of(shown, "item_id").withColumnRenamed("rule_share", "of_item"), "item_id", "left")
        .withColumn("rule_share", F.coalesce("rule_share", F.when(F.col("user_id").isNull(), F.col("of_item"))))
        .withColumn("layer", layer(params))
    )


def coverage_of(interests: DataFrame, places: DataFrame) -> DataFrame:
    """``user_id, coverage``: part of a person's categories of interest that has a candidate."""
    found = places.select("user_id", "category", F.lit(1.0).alias("found"))
    return (
        interests.join(found, ["user_id", "category"], "left")
        .groupBy("user_id")
        .agg(F.avg(F.coalesce("found", F.lit(0.0))).alias("coverage"))
    )


def errors_of(scored: DataFrame, item_stats: DataFrame, params: Params) -> DataFrame:
    """``item_id, ctr_error, ctr_noise``: estimated by observed click rate of items, each against the market's, less 1.

    The estimate is for a first place and the observation for all places, so only what differs between items counts.
    ``ctr_noise`` is the half width of the observed rate's 95 % interval, relatively: a rate p of n showings moves by
    :math:`1.96 \\sqrt{(1 - p) / (p n)}` of itself.
    """
    everything = Window.partitionBy(F.lit(1))
    estimated = scored.groupBy("item_id").agg(F.avg(F.round("pctr", 6)).alias("estimated"))
    known = item_stats.where(F.col("impressions_28d") >= params.min_impressions).select(
        "item_id", "ctr_28d", "impressions_28d"
    )
    ratio = F.try_divide("estimated", "ctr_28d")
    spread = F.try_divide(1 - F.col("ctr_28d"), F.col("ctr_28d") * F.col("impressions_28d"))
    return (
        estimated.join(known, "item_id")
        .withColumn("ratio", F.round(ratio, 9))
        .select(
            "item_id",
            (F.try_divide("ratio", F.median("ratio").over(everything)) - 1).alias("ctr_error"),
            (1.96 * F.sqrt(spread)).alias("ctr_noise"),
        )
    )


def rules_of(shown: DataFrame, *by: str) -> DataFrame:
    """``*by, rule_share``: part of the showings that a rule or quota set."""
    ruled = F.col("slot_type").isin("curated", "ad", "exploration")
    return shown.groupBy(*by).agg((F.count_if(ruled) / F.count("*")).alias("rule_share"))


def layer(params: Params) -> SparkColumn:
    """The first layer, in the order of the case's detector, that shows a fault."""
    missed = F.col("category").isNotNull()
    beyond = F.greatest(F.lit(params.ctr_error), "ctr_noise")
    faults = {
        CANDIDATES: (F.col("coverage") < params.coverage) | (missed & F.col("best_rank").isNull()),
        RANKING: (F.abs("ctr_error") > beyond) | (missed & (F.col("best_rank") > params.top)),
        POLICY: (F.col("rule_share") >= params.rule_share) | (missed & (F.col("best_rank") <= params.top)),
    }

    def of(name: str) -> SparkColumn:
        detector = DETECTORS[name].detector
        found = [F.when(F.coalesce(faults[each], F.lit(False)), F.lit(each)) for each in detector.layers]
        return F.when(F.col("type") == name, F.coalesce(*found, F.lit(detector.otherwise)))

    return reduce(F.coalesce, [of(name) for name in DETECTORS])
