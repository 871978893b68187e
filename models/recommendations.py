"""The served lists of the feed: reranked under the rules, with a reason for every row."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import (
    Column,
    DayRange,
    Table,
    TableInput,
    between,
    in_set,
    known_in,
    no_rows_where,
    not_null,
    rows_between,
)

REASON = "array<struct<kind:string,code:string,text:string,evidence:string>>"
SURFACE = "feed"


@dataclass(frozen=True)
class Params:
    """``length`` of a list; ``category_share`` of it that one category may fill, its hard ``ceiling`` when a
    list cannot be filled otherwise; a rating is told from ``min_ratings`` on, a price drop from ``min_drop``.
    """

    length: int = 20
    category_share: float = 0.30
    ceiling: float = 0.40
    min_ratings: int = 3
    min_rating: float = 4.0
    min_drop: float = 0.05


CONTRACT = Table(
    name="serving.recommendations",
    group="serving",
    owner="serving",
    description="The lists of every consenting active user: 20 eligible items, at most 30 % of one category "
    "(40 % where a list cannot be filled), nothing that was rejected or just bought.",
    columns=[
        Column("release_id", "string", "Release: day and content hash of its lists."),
        Column("surface", "string", "Where the list is shown."),
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("rank", "int", "Place, from 1."),
        Column("item_id", "bigint", "Surrogate item key."),
        Column("slot_type", "string", "organic, exploration, curated or ad."),
        Column("score", "double", "Score that ordered it.", digits=9),
        Column("channel", "string", "Channel that contributed most."),
        Column("seed_item_id", "bigint", "The user's item that led to it."),
        Column("reasons", REASON, "Main reason first; each with its evidence."),
        Column("model_version", "string", "Model and version that scored it."),
    ],
    keys=["surface", "user_id", "rank"],
    replace_by="release_id",
    append=True,
    grain="day",
    inputs=[
        TableInput("candidates.ranked"),
        TableInput("features.user_profile"),
        TableInput("features.item_stats"),
        TableInput("silver.items"),
        TableInput("features.user_interests"),
    ],
    checks=[
        known_in("user_id", "silver.users"),
        known_in("item_id", "silver.items"),
        between("rank", 1, 20),
        not_null("item_id"),
        not_null("model_version"),
        rows_between(1),
        in_set("slot_type", ("organic", "exploration", "curated", "ad")),
        no_rows_where("size(reasons) = 0", "a row is shown without a reason"),
    ],
)


def rerank(candidates: DataFrame, params: Params) -> DataFrame:
    """The best ``length`` of each user with at most ``category_share`` of one category.

    Where that leaves a list short, items between the share and the ceiling follow in order of score.
    Greedy by score under a cap per category is: number within category, then number what is left.
    """
    cap, ceiling = int(params.length * params.category_share), int(params.length * params.ceiling)
    in_category = Window.partitionBy("ds", "user_id", "category").orderBy("rank")
    numbered = candidates.withColumn("_in_category", F.row_number().over(in_category))
    allowed = numbered.where(F.col("_in_category") <= ceiling)
    chosen = Window.partitionBy("ds", "user_id").orderBy((F.col("_in_category") > cap), "rank")
    shown = Window.partitionBy("ds", "user_id").orderBy("rank")
    return (
        allowed.withColumn("_chosen", F.row_number().over(chosen))
        .where(F.col("_chosen") <= params.length)
        .withColumn("rank", F.row_number().over(shown))
    )


def _reason(kind: str, code: str, text: SparkColumn, evidence: SparkColumn, when: SparkColumn) -> SparkColumn:
    made = F.struct(
        F.lit(kind).alias("kind"),
        F.lit(code).alias("code"),
        text.alias("text"),
        evidence.cast("string").alias("evidence"),
    )
    return F.when(when, made)


def reasons(params: Params) -> SparkColumn:
    """Up to four reasons, the first is the main one; each only where its evidence holds for the row."""
    by_seed = F.array_contains("channels", "item_cf") & F.col("seed_title").isNotNull()
    own = F.array_contains("channels", "own_history")
    likes_category = F.col("category_share") >= 0.1
    likes_brand = F.col("brand_share") >= 0.1
    rated = (F.col("rating_28d") >= params.min_rating) & (F.col("ratings_28d") >= params.min_ratings)
    cheaper = F.col("price_drop") >= params.min_drop
    candidates = F.array(
        _reason("basic", "again", F.lit("You came back to this before"), F.col("item_original_id"), own),
        _reason(
            "basic",
            "goes_with",
            F.concat(F.lit("Goes with "), F.col("seed_title")),
            F.col("seed_original_id"),
            by_seed & ~own,
        ),
        _reason(
            "basic",
            "brand",
            F.concat(F.lit("More of "), F.col("brand")),
            F.concat_ws("=", F.col("brand"), F.round("brand_share", 2)),
            likes_brand,
        ),
        _reason(
            "basic",
            "category",
            F.concat(F.lit("You like "), F.col("category")),
            F.concat_ws("=", F.col("category"), F.round("category_share", 2)),
            likes_category,
        ),
        _reason(
            "value",
            "price_drop",
            F.concat(F.lit("Price down "), F.round(F.col("price_drop") * 100).cast("int"), F.lit(" %")),
            F.round("price_drop", 4),
            cheaper,
        ),
        _reason(
            "value",
            "rated",
            F.concat(F.lit("Rated "), F.round("rating_28d", 1), F.lit(" by "), F.col("ratings_28d")),
            F.concat_ws("/", F.col("rating_28d"), F.col("ratings_28d")),
            rated,
        ),
        _reason(
            "basic",
            "popular",
            F.concat(F.lit("Liked by "), F.col("target_users_7d"), F.lit(" people this week")),
            F.col("target_users_7d"),
            F.col("target_users_7d") >= 5,
        ),
        # true of every scored row, and last: what the others leave over
        _reason("basic", "similar_taste", F.lit("Close to your taste"), F.concat_ws(",", "channels"), F.lit(True)),
    )
    return F.slice(F.filter(candidates, lambda r: r.isNotNull()), 1, 4)


def build(
    ranked: DataFrame,
    user_profile: DataFrame,
    item_stats: DataFrame,
    items: DataFrame,
    user_interests: DataFrame,
    *,
    days: DayRange,
    params: Params,
) -> DataFrame:
    refused = user_profile.where("NOT consent_personalisation").select("ds", "user_id")
    described = items.select("ds", "item_id", "category", "brand", F.col("original_id").alias("item_original_id"))
    stats = item_stats.where("is_eligible").select(
        "ds", "item_id", "rating_28d", "ratings_28d", "price_drop", "target_users_7d"
    )
    seeds = items.select(
        "ds",
        F.col("item_id").alias("seed_item_id"),
        F.col("title").alias("seed_title"),
        F.col("original_id").alias("seed_original_id"),
    )
    taste = {
        kind: user_interests.where(F.col("kind") == kind).select(
            "ds", "user_id", F.col("value").alias(kind), F.col("share").alias(f"{kind}_share")
        )
        for kind in ("category", "brand")
    }
    chosen = rerank(
        ranked.join(refused, ["ds", "user_id"], "left_anti")
        .join(described, ["ds", "item_id"])
        .join(stats, ["ds", "item_id"]),
        params,
    )
    return (
        chosen.join(seeds, ["ds", "seed_item_id"], "left")
        .join(taste["category"], ["ds", "user_id", "category"], "left")
        .join(taste["brand"], ["ds", "user_id", "brand"], "left")
        .withColumn("surface", F.lit(SURFACE))
        .withColumn("slot_type", F.lit("organic"))
        .withColumn("reasons", reasons(params))
    )
