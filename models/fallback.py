"""The lists of everyone else: stored once per segment, resolved by the reader."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, known_in, no_rows_where, rows_between
from jobs.settings import Market
from models import eligibility, reasons
from models.messages import say
from models.rules.category_share import CategoryShare
from models.surfaces import Surface, surfaces
from quality.badcases import stop_loss

EVERYONE = "everyone"


@dataclass(frozen=True)
class Params:
    """``min_region_users``: a region gets lists of its own from so many active users on; ``spare`` items follow each
    list, for readers who refused some of it.
    """

    min_region_users: int = 50
    spare: int = 10


CONTRACT = Table(
    name="serving.fallback",
    group="serving",
    owner="serving",
    description="Popular lists for users without consent, activity or history: one for everyone, one per region.",
    columns=[
        Column("release_id", "string", "Release."),
        Column("surface", "string", "Where the list is shown."),
        Column("segment", "string", "everyone, or region=NAME."),
        Column("rank", "int", "Place, from 1; ranks that are missing are free for ads."),
        Column("item_id", "bigint", "Surrogate item key."),
        Column(
            "score",
            "double",
            "Users with a target action by day, summed over 7 days; those of 28 as thousandths.",
            digits=6,
        ),
        Column("reasons", reasons.TYPE, "Why it is shown, in the market's language."),
        Column("detail", "string", "The longer text of the item's page."),
        Column("spare", "boolean", "Behind the list: it fills up for a reader who refused an item of it."),
    ],
    keys=["surface", "segment", "rank"],
    replace_by="release_id",
    append=True,
    inputs=[
        TableInput("features.item_stats"),
        TableInput("silver.items"),
        TableInput("features.user_profile"),
        TableInput("silver.user_item_daily", days=7),
        stop_loss.INPUT,
    ],
    checks=[
        between("rank", 1, 1000),
        rows_between(1),
        known_in("item_id", "features.item_stats", where="is_eligible"),
        no_rows_where("count(1) OVER (PARTITION BY ds, surface, segment, item_id) > 1", "an item is twice in a list"),
    ],
    grain="day",
)


def build(
    item_stats: DataFrame,
    items: DataFrame,
    user_profile: DataFrame,
    user_item_daily: DataFrame,
    badcases: DataFrame,
    *,
    days: DayRange,
    params: Params,
    market: Market,
) -> DataFrame:
    offered = item_stats.where("is_eligible").select("ds", "item_id", "target_users_7d", "target_users_28d")
    eligible = stop_loss.without_stopped(offered, badcases)
    everyone = eligible.select(
        "ds",
        F.lit(EVERYONE).alias("segment"),
        F.lit(None).cast("string").alias("region"),
        "item_id",
        (F.col("target_users_7d") + F.col("target_users_28d") / 1000).alias("score"),
    ).join(_people(user_item_daily), "item_id", "left")
    regions = user_profile.where("region IS NOT NULL").select("user_id", "region")
    liked = user_item_daily.where("targets > 0").select("user_id", "item_id").distinct().join(regions, "user_id")
    sizes = (
        liked.groupBy("region")
        .agg(F.count_distinct("user_id").alias("users"))
        .where(F.col("users") >= params.min_region_users)
    )
    regional = (
        liked.join(sizes, "region", "left_semi")
        .groupBy("region", "item_id")
        .agg(F.count_distinct("user_id").cast("int").alias("people"))
        .join(eligible, "item_id")
        .select(
            "ds",
            F.concat(F.lit("region="), "region").alias("segment"),
            "region",
            "item_id",
            (F.col("people") + F.col("target_users_28d") / 1000).alias("score"),
            "people",
        )
    )
    described = items.select("ds", "item_id", "category", "regions", "age_limit")
    # of these readers nothing is known but, at most, their region
    may_see = eligibility.allowed(
        F.col("regions"), F.col("age_limit"), F.col("region"), least_age=F.lit(None).cast("int")
    )
    popular = everyone.unionByName(regional).join(described, ["ds", "item_id"]).where(may_see)
    lists = [_list_of(popular, surface, params.spare) for surface in surfaces(market).values()]
    return reduce(DataFrame.unionByName, lists).withColumns(
        {"reasons": F.array(_reason(market)), "detail": _said("detail", market)}
    )


def _people(user_item_daily: DataFrame) -> DataFrame:
    """``item_id, people``: different users with a target action in the window."""
    counted = F.count_distinct("user_id").cast("int").alias("people")
    return user_item_daily.where("targets > 0").groupBy("item_id").agg(counted)


def _list_of(popular: DataFrame, surface: Surface, spare: int) -> DataFrame:
    """The most liked items of each segment, no more of one category than the surface's share; then spare ones."""
    ranks = [*(place + 1 for place in surface.places), *(surface.length + n for n in range(1, spare + 1))]
    share = surface.rules.get("category_share", {}).get("share", CategoryShare.share)
    cap = max(1, int(share * surface.length + 1e-9))
    by_score = [F.round("score", 6).desc(), F.col("item_id")]
    in_category = Window.partitionBy("ds", "segment", "category").orderBy(*by_score)
    best = Window.partitionBy("ds", "segment").orderBy(*by_score)
    return (
        popular.withColumn("_in_category", F.row_number().over(in_category))
        .where(F.col("_in_category") <= cap)
        .withColumn("_nth", F.row_number().over(best))
        .where(F.col("_nth") <= len(ranks))
        .withColumn("rank", F.element_at(F.array(*[F.lit(rank) for rank in ranks]), F.col("_nth")))
        .withColumns({"surface": F.lit(surface.name), "spare": F.col("rank") > surface.length})
    )


def _reason(market: Market) -> SparkColumn:
    people = F.coalesce("people", F.lit(0))
    return F.struct(
        F.lit("basic").alias("kind"),
        F.when(people > 0, "popular").otherwise("suggested").alias("code"),
        _said("text", market).alias("text"),
        F.to_json(F.struct(people.alias("people_7d"))).alias("evidence"),
    )


def _said(part: str, market: Market) -> SparkColumn:
    language, people = F.lit(market.language), {"people": F.col("people")}
    return F.when(F.col("people") > 0, say("popular", part, language, people)).otherwise(
        say("suggested", part, language, {})
    )
