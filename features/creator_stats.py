"""How each creator has done, up to and including ds: stage, quality, growth, retention."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.item_stats import on_offer
from features.quality import excess, mixed, shrunk
from features.windows import spread, summed
from jobs.contract import Column, DayRange, Ranked, Table, TableInput, between, in_set

WINDOW = 28
RECENT = 7
WINDOWS = (RECENT, WINDOW)
SUMS = ("impressions", "clicks", "targets", "negatives", "engagements")
STAGES = ("novice", "waist", "head")


@dataclass(frozen=True)
class Params:
    """Shares of creators by exposure that are head and waist; strength of the priors; weights of the quality.

    ``prior_targets`` come before both weeks of the growth; ``prior_engagements``, ``prior_plays`` and
    ``prior_negatives`` pull the depth, the completion and the refusals to the market's mean.
    """

    head_share: float = 0.10
    waist_share: float = 0.30
    prior_targets: float = 10.0
    prior_engagements: float = 10.0
    prior_plays: float = 20.0
    prior_negatives: float = 5.0
    depth_weight: float = 0.4
    completion_weight: float = 0.4
    negative_weight: float = 0.2


CONTRACT = Table(
    name="features.creator_stats",
    group="features",
    owner="item-understanding",
    description="Stage, quality, growth and retention of every known creator: quality is the weighted mean of "
    "interaction depth and completion, and of refusals as 1 - x, held against the market's mean "
    "(features.quality); a part that the market has no data of is left out.",
    columns=[
        Column("creator_id", "bigint", "Surrogate creator key."),
        Column("stage", "string", "novice, waist or head: as the source says, else by exposure in 28 days."),
        Column("stage_level", "int", "The same as a number: 0, 1, 2."),
        Column("stage_given", "boolean", "The source says it."),
        Column("followers", "bigint", "Followers, as the source says.", "people"),
        Column("items", "int", "Items on offer."),
        *[
            Column(f"{name}_{n}d", "int", f"Sum of {name} over the creator's items in the {n} days ending on ds.")
            for name in SUMS
            for n in WINDOWS
        ],
        Column(
            "quality_depth", "double", "Engagements against those to expect of the clicks: 0.5 is as many.", digits=6
        ),
        Column("quality_completion", "double", "Mean play ratio in 28 days, shrunk.", digits=6),
        Column(
            "quality_negative", "double", "Refusals against those to expect of the showings: 0.5 is as many.", digits=6
        ),
        Column("quality", "double", "Weighted mean of the parts, refusals as 1 - x.", digits=6),
        Column("growth_7d", "double", "Targets of 7 days by those of the 7 days before, smoothed, less 1.", digits=6),
        Column("fans_before", "int", "Users who acted on the creator's items 8 to 28 days ago.", "people"),
        Column("fans_returned", "int", "Those of them who did in the last 7 days too.", "people"),
        Column("retention", "double", "fans_returned / fans_before; null where there were none.", digits=6),
    ],
    keys=["creator_id"],
    inputs=[
        TableInput("silver.creators", optional=True),
        TableInput("silver.items"),
        TableInput("silver.item_daily", days=WINDOW),
        TableInput("silver.user_item_daily", days=WINDOW),
    ],
    checks=[
        in_set("stage", STAGES),
        between("quality", 0, 1),
        between("retention", 0, 1),
        between("growth_7d", -1, None),
    ],
    ranked=[
        Ranked("creator_", "creator_id", ["stage_level", "quality", "growth_7d", "retention", "items", "targets_28d"])
    ],
)


def build(
    creators: DataFrame,
    items: DataFrame,
    item_daily: DataFrame,
    user_item_daily: DataFrame,
    *,
    days: DayRange,
    params: Params,
) -> DataFrame:
    of = items.where("creator_id IS NOT NULL").select("ds", "item_id", "creator_id")
    offers = items.groupBy("ds", "creator_id").agg(F.count_if(on_offer()).cast("int").alias("items"))
    counts = [f"{name}_{n}d" for name in SUMS for n in WINDOWS]
    by_day = Window.partitionBy("ds")
    return (
        creators.select("ds", "creator_id", F.col("stage").alias("_stage"), "followers")
        .join(offers.where("creator_id IS NOT NULL"), ["ds", "creator_id"], "full")
        .join(_sums(item_daily, of, days), ["ds", "creator_id"], "left")
        .join(_fans(user_item_daily, of, days), ["ds", "creator_id"], "left")
        .fillna(0, ["items", *counts, "_before", "_plays", "fans_before", "fans_returned"])
        .fillna(0.0, ["_play_sum"])
        .withColumns(_parts(params, lambda name: F.sum(name).over(by_day)))
        .withColumn("quality", _quality(params))
        .withColumn("growth_7d", _growth(params))
        .withColumn("retention", F.try_divide("fans_returned", "fans_before"))
        .withColumn("stage_given", F.col("_stage").isNotNull())
        .withColumn("stage", F.coalesce("_stage", _stage(params)))
        .withColumn("stage_level", (F.array_position(F.array(*map(F.lit, STAGES)), F.col("stage")) - 1).cast("int"))
    )


def _sums(item_daily: DataFrame, of: DataFrame, days: DayRange) -> DataFrame:
    two_weeks = summed("targets", 2 * RECENT, "bigint") - summed("targets", RECENT, "bigint")
    return (
        spread(item_daily, days, WINDOW)
        .join(of, ["ds", "item_id"])
        .groupBy("ds", "creator_id")
        .agg(
            *[summed(name, n).alias(f"{name}_{n}d") for name in SUMS for n in WINDOWS],
            two_weeks.alias("_before"),
            F.sum("play_sum").alias("_play_sum"),
            F.sum("plays").alias("_plays"),
        )
    )


def _fans(user_item_daily: DataFrame, of: DataFrame, days: DayRange) -> DataFrame:
    """Who clicked or acted on a creator's items, and who of the earlier ones came back."""
    now = F.max(F.col("age") < RECENT)
    earlier = F.max(F.col("age") >= RECENT)
    return (
        spread(user_item_daily.where("clicks > 0 OR targets > 0"), days, WINDOW)
        .join(of, ["ds", "item_id"])
        .groupBy("ds", "creator_id", "user_id")
        .agg(now.alias("_now"), earlier.alias("_earlier"))
        .groupBy("ds", "creator_id")
        .agg(
            F.count_if("_earlier").cast("int").alias("fans_before"),
            F.count_if(F.col("_earlier") & F.col("_now")).cast("int").alias("fans_returned"),
        )
    )


def _parts(params: Params, market_sum: Callable[[str | SparkColumn], SparkColumn]) -> dict[str, SparkColumn]:
    """The three parts, null where the market has no data of them."""
    seen = F.greatest("impressions_28d", "targets_28d")
    looked = F.greatest("clicks_28d", "targets_28d")
    depth = F.try_divide(market_sum("engagements_28d"), market_sum(looked))
    completion = F.try_divide(market_sum("_play_sum"), market_sum("_plays"))
    refusals = F.try_divide(market_sum("negatives_28d"), market_sum(seen))
    return {
        "quality_depth": excess(F.col("engagements_28d"), looked, depth, params.prior_engagements),
        "quality_completion": shrunk(F.col("_play_sum"), F.col("_plays"), completion, params.prior_plays),
        "quality_negative": excess(F.col("negatives_28d"), seen, refusals, params.prior_negatives),
    }


def _quality(params: Params) -> SparkColumn:
    return mixed(
        [
            (F.col("quality_depth"), params.depth_weight),
            (F.col("quality_completion"), params.completion_weight),
            (1 - F.col("quality_negative"), params.negative_weight),
        ]
    )


def _growth(params: Params) -> SparkColumn:
    return (F.col("targets_7d") + params.prior_targets) / (F.col("_before") + params.prior_targets) - 1


def _stage(params: Params) -> SparkColumn:
    """By the place among all creators; who was never seen is a novice."""
    seen = F.greatest("impressions_28d", "targets_28d")
    place = F.percent_rank().over(Window.partitionBy("ds").orderBy(seen.desc()))
    return (
        F.when(seen == 0, "novice")
        .when(place < params.head_share, "head")
        .when(place < params.head_share + params.waist_share, "waist")
        .otherwise("novice")
    )
