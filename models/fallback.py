"""The lists of everyone else: stored once per segment, resolved by the reader."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, known_in, no_rows_where, rows_between
from jobs.settings import Market
from models import constraints, eligibility, reasons
from models.messages import say
from models.rules.category_share import CategoryShare
from models.rules.quality_floor import QualityFloor
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
    description="Popular lists for users without consent, activity or history: one for everyone, one per region. They "
    "keep the surface's rules that need no user: quality floor, share and ceiling of a category, ranks for ads.",
    columns=[
        Column("release_id", "string", "Release."),
        Column("surface", "string", "Where the list is shown."),
        Column("segment", "string", "everyone, or region=NAME."),
        Column("rank", "int", "Place, from 1; ranks that are missing are free for ads."),
        Column("item_id", "bigint", "Surrogate item key."),
        Column(
            "score",
            "double",
            "Users with a target action by day, summed over 7 days; those of 28 as thousandths. Of what people of a "
            "region liked, they alone; items of everyone's list follow where these do not fill it.",
            digits=6,
        ),
        Column("reasons", reasons.TYPE, "Why it is shown, in the market's language."),
        Column("detail", "string", "The longer text of the item's page."),
        Column("spare", "boolean", "Behind the list: it fills up for a reader who refused an item of it."),
        Column("violations", "array<string>", "Rules that the row breaks; the gate stops at any."),
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
        no_rows_where("size(violations) > 0", "a list breaks a rule"),
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
    stats = item_stats.select("ds", "item_id", "is_eligible", "quality", "target_users_7d", "target_users_28d")
    described = items.select("ds", "item_id", "category", "regions", "age_limit")
    eligible = stop_loss.without_stopped(stats.where("is_eligible"), badcases).join(described, ["ds", "item_id"])
    everyone = eligible.join(_people(user_item_daily), "item_id", "left").withColumns(
        {
            "segment": F.lit(EVERYONE),
            "region": F.lit(None).cast("string"),
            "score": F.col("target_users_7d") + F.col("target_users_28d") / 1000,
        }
    )
    regional = eligible.join(_people_by_region(user_item_daily, user_profile, params), "item_id").withColumns(
        {
            "segment": F.concat(F.lit("region="), "region"),
            "score": F.col("people") + F.col("target_users_28d") / 1000,
        }
    )
    # of these readers nothing is known but, at most, their region
    may_see = eligibility.allowed(
        F.col("regions"), F.col("age_limit"), F.col("region"), least_age=F.lit(None).cast("int")
    )
    of_market = surfaces(market)
    lists = [
        _lists_of(everyone.where(may_see), regional.where(may_see), surface, params.spare)
        for surface in of_market.values()
    ]
    # held against the tables, and not against what the lists were made of
    rows = (
        reduce(DataFrame.unionByName, lists)
        .join(stats.select("ds", "item_id", "is_eligible", "quality"), ["ds", "item_id"], "left")
        .join(described, ["ds", "item_id"], "left")
    )
    return constraints.with_violations_of_segments(rows, badcases, of_market).withColumns(
        {"reasons": F.array(_reason(market)), "detail": _said("detail", market)}
    )


def _people(user_item_daily: DataFrame) -> DataFrame:
    """``item_id, people``: different users with a target action in the window."""
    counted = F.count_distinct("user_id").cast("int").alias("people")
    return user_item_daily.where("targets > 0").groupBy("item_id").agg(counted)


def _people_by_region(user_item_daily: DataFrame, user_profile: DataFrame, params: Params) -> DataFrame:
    """``region, item_id, people``: different users with a target action, where a region has enough of them."""
    regions = user_profile.where("region IS NOT NULL").select("user_id", "region")
    liked = user_item_daily.where("targets > 0").select("user_id", "item_id").distinct().join(regions, "user_id")
    users = liked.groupBy("region").agg(F.count_distinct("user_id").alias("users"))
    large = users.where(F.col("users") >= params.min_region_users)
    counted = F.count_distinct("user_id").cast("int").alias("people")
    return liked.join(large, "region", "left_semi").groupBy("region", "item_id").agg(counted)


def _lists_of(everyone: DataFrame, regional: DataFrame, surface: Surface, spare: int) -> DataFrame:
    """The lists of all segments on a surface; those of regions are filled up from everyone's."""
    if "quality_floor" in surface.rules:
        good = ~eligibility.too_bad(QualityFloor(**surface.rules["quality_floor"]).floor)
        everyone, regional = everyone.where(good), regional.where(good)
    shared = _ranked(everyone.withColumn("_fills", F.lit(False)), surface, spare)
    liked = regional.withColumn("_fills", F.lit(False))
    # what nobody of the region liked is told of nobody
    others = shared.select("ds", "item_id", "category", "score").withColumns(
        {"_fills": F.lit(True), "people": F.lit(None).cast("int")}
    )
    fills = others.join(F.broadcast(liked.select("ds", "segment", "region").distinct()), "ds").join(
        liked, ["ds", "segment", "item_id"], "left_anti"
    )
    of_regions = _ranked(liked.select(*fills.columns).unionByName(fills), surface, spare)
    kept = ["ds", "segment", "region", "item_id", "score", "people", "rank", "spare", "categories"]
    return shared.select(*kept).unionByName(of_regions.select(*kept)).withColumn("surface", F.lit(surface.name))


def _ranked(popular: DataFrame, surface: Surface, spare: int) -> DataFrame:
    """The most liked items of each segment with ``rank`` and ``spare``, as rule category_share would place them.

    A list has as many rows as fill it with no category above its ceiling of just these rows. Items beyond their
    category's share come last. No category has more items than its ceiling, spare ones included, so that whoever
    refuses some keeps such a list. ``categories`` is how many the segment's items are of.
    """
    options = CategoryShare(**surface.rules.get("category_share", {}))
    # an item without a category is one of its own
    kind = F.coalesce("category", F.concat(F.lit("item "), "item_id"))
    of_segment = ["ds", "segment"]
    rows, ceiling = F.col("_rows"), F.lit(options.ceiling)
    share = F.greatest(F.lit(1), F.floor(F.lit(options.share) * rows + F.lit(1e-9)))
    by_score = ["_fills", F.round("score", 6).desc(), "item_id"]
    in_category = F.row_number().over(Window.partitionBy(*of_segment, "_kind").orderBy(*by_score))
    best = Window.partitionBy(*of_segment).orderBy(F.col("_in_category") > share, *by_score)
    nth, places = F.col("_nth"), F.array(*[F.lit(place + 1) for place in surface.places])
    marked = popular.withColumn("_kind", kind)
    return (
        marked.join(F.broadcast(_sizes(marked, len(surface.places), options.ceiling)), of_segment)
        .withColumn("_in_category", in_category)
        .where(F.col("_in_category") <= constraints.most_under(ceiling, rows, F.col("categories")))
        .withColumn("_nth", F.row_number().over(best))
        .where(nth <= rows + spare)
        .withColumn("spare", nth > rows)
        .withColumn("rank", F.when(F.col("spare"), surface.length + nth - rows).otherwise(F.get(places, nth - 1)))
    )


def _sizes(marked: DataFrame, places: int, ceiling: float) -> DataFrame:
    """``ds, segment, categories, _rows``: the most rows, up to ``places``, that keep every category's ceiling."""
    counts = marked.groupBy("ds", "segment", "_kind").agg(F.count(F.lit(1)).alias("n"))
    # as many categories as places fill it in any case
    largest = F.slice(F.sort_array(F.collect_list("n"), asc=False), 1, places)

    def fills(rows: SparkColumn) -> SparkColumn:
        most = constraints.most_under(F.lit(ceiling), rows, F.col("categories"))
        return F.aggregate("_counts", F.lit(0).cast("bigint"), lambda sum, n: sum + F.least(n, most)) >= rows

    found = counts.groupBy("ds", "segment").agg(F.count(F.lit(1)).alias("categories"), largest.alias("_counts"))
    rows = F.array_max(F.filter(F.sequence(F.lit(1), F.lit(places)), fills))
    return found.withColumn("_rows", rows).drop("_counts")


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
