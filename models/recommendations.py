"""The served lists: what was decided, with the reasons that hold for each row and the rules it is held against."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import (
    Column,
    DayRange,
    Table,
    TableInput,
    adds_up,
    between,
    in_set,
    known_in,
    no_rows_where,
    not_null,
    rows_between,
)
from jobs.settings import BLOCK_DAYS, Market
from models import constraints, eligibility, reasons
from models.fused import excluded
from models.messages import language_of
from models.variants import plans
from quality.badcases import stop_loss


@dataclass(frozen=True)
class Params:
    """What a reason may be told from.

    Parameters
    ----------
    min_share
        A category or brand is liked from this part of the user's interests on.
    min_ratings, min_rating
        A rating is told from so many on, if it is so high.
    min_drop
        A price drop is told from this part of the highest price on.
    min_people
        An item is popular from so many people on.
    min_match
        A style match is told from this cosine on.
    new_days
        An item is new for so many days.
    high_place
        A model puts an item high up to this place among the user's candidates.
    short_ms, long_ms
        What is short enough for the way, and long enough for the weekend.
    """

    min_share: float = 0.1
    min_ratings: int = 3
    min_rating: float = 4.0
    min_drop: float = 0.05
    min_people: int = 5
    min_match: float = 0.5
    new_days: int = 7
    high_place: int = 20
    short_ms: int = 300_000
    long_ms: int = 600_000


CONTRACT = Table(
    name="serving.recommendations",
    group="serving",
    owner="serving",
    description="The lists of every consenting active user on every surface (models/surfaces), as decided in "
    "serving.decision_log, with reasons that are true of their row.",
    columns=[
        Column("release_id", "string", "Release: day and content hash of its lists."),
        Column("surface", "string", "Where the list is shown."),
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("rank", "int", "Place, from 1; ranks that are missing are free for ads."),
        Column("item_id", "bigint", "Surrogate item key."),
        Column("slot_type", "string", "organic, exploration, curated or ad."),
        Column("score", "double", "The ranker's score.", digits=9),
        Column("channel", "string", "Channel that contributed most."),
        Column("seed_item_id", "bigint", "The user's item that led to it."),
        Column("context", "string", "Context whose options were used."),
        Column("reasons", reasons.TYPE, "Main reason first, up to three more; each with its evidence as JSON."),
        Column("detail", "string", "The longer text of the item's page."),
        Column("language", "string", "Language of the texts."),
        Column("model_version", "string", "Model and version that scored it."),
        Column("violations", "array<string>", "Rules that the row breaks; the gate stops at any."),
    ],
    keys=["surface", "user_id", "rank"],
    replace_by="release_id",
    append=True,
    grain="day",
    inputs=[
        TableInput("serving.decision_log"),
        TableInput("candidates.ranked"),
        TableInput("candidates.contexts"),
        TableInput("features.user_profile"),
        TableInput("features.item_stats"),
        TableInput("silver.items"),
        TableInput("features.user_interests"),
        TableInput("features.user_follows", optional=True),
        TableInput("silver.creators", optional=True),
        TableInput("silver.user_item_daily", days=BLOCK_DAYS),
        TableInput("silver.events", days=BLOCK_DAYS, optional=True),
        TableInput("silver.curated", optional=True),
        stop_loss.INPUT,
    ],
    checks=[
        known_in("user_id", "silver.users"),
        known_in("item_id", "silver.items"),
        between("rank", 1, 1000),
        not_null("item_id"),
        not_null("model_version"),
        rows_between(1),
        in_set("slot_type", ("organic", "exploration", "curated", "ad")),
        no_rows_where("size(reasons) = 0", "a row is shown without a reason"),
        no_rows_where("size(reasons) > 4", "a row has more than one main and three further reasons"),
        no_rows_where("size(violations) > 0", "a list breaks a rule"),
        adds_up("count(1)", "serving.decision_log", "sum(size(placed))", "every place that was decided is served"),
    ],
)


def build(
    decision_log: DataFrame,
    ranked: DataFrame,
    contexts: DataFrame,
    user_profile: DataFrame,
    item_stats: DataFrame,
    items: DataFrame,
    user_interests: DataFrame,
    user_follows: DataFrame,
    creators: DataFrame,
    user_item_daily: DataFrame,
    events: DataFrame,
    curated: DataFrame,
    badcases: DataFrame,
    *,
    days: DayRange,
    params: Params,
    market: Market,
) -> DataFrame:
    scored = ranked.select("user_id", "item_id", "score", "channel", "channels", "seed_item_id", "model_version")
    of_list = ["ds", "surface", "user_id", "context", "categories"]
    rows = (
        decision_log.select(*of_list, F.explode("placed").alias("placed"))
        .select(*of_list, "placed.*")
        .join(scored, ["user_id", "item_id"], "left")
        .join(_people(user_profile, market), "user_id", "left")
        .join(_described(items, item_stats), "item_id", "left")
        .join(_people_by_item(user_item_daily), "item_id", "left")
        .join(_situation(contexts), ["surface", "user_id"], "left")
    )
    out = excluded(user_item_daily, events, items, days, market)
    known = constraints.Known(out, user_item_daily, badcases, curated, decision_log)
    of_market = plans(market, days.last)
    checked = constraints.with_violations(rows, known, of_market, days, market)
    told = reasons.with_reasons(checked, items, user_interests, reasons.followed(user_follows, creators), params)
    most = max(surface.candidates for surface in of_market.values())
    missing = _missing(decision_log, contexts, ranked.where(F.col("rank") <= most), user_profile)
    return told.unionByName(missing, allowMissingColumns=True)


def _missing(decision_log: DataFrame, contexts: DataFrame, ranked: DataFrame, user_profile: DataFrame) -> DataFrame:
    """A row on rank 0 for every consenting active user with candidates of whom nothing was decided on a surface.

    There should be none: whoever a join lost would be missed by no check of the lists that are there.
    """
    consenting = user_profile.where("consent_personalisation").select("user_id")
    return (
        contexts.select("ds", "surface", "user_id")
        .join(ranked.select("user_id").distinct(), "user_id", "left_semi")
        .join(consenting, "user_id", "left_semi")
        .join(decision_log.select("surface", "user_id"), ["surface", "user_id"], "left_anti")
        .withColumns({"rank": F.lit(0), "violations": F.array(F.lit("the user has candidates and no list"))})
    )


def _people(user_profile: DataFrame, market: Market) -> DataFrame:
    """``user_id, region, least_age, consents, language``."""
    tongue = language_of(F.col("language"), market).alias("language")
    said = user_profile.select("user_id", F.col("consent_personalisation").alias("consents"), tongue)
    return eligibility.people(user_profile).drop("ds").join(said, "user_id")


def _described(items: DataFrame, item_stats: DataFrame) -> DataFrame:
    stats = item_stats.select(
        "item_id",
        "is_eligible",
        "quality",
        "rating_28d",
        "ratings_28d",
        "price_minor",
        "highest_price_minor",
        "price_drop",
        "popularity",
        "age_days",
    )
    kept = ["item_id", "original_id", "category", "brand", "creator_id", "regions", "age_limit", "duration_ms"]
    return items.select(*kept).join(stats, "item_id", "left")


def _people_by_item(user_item_daily: DataFrame) -> DataFrame:
    """``item_id, people_7d``: different users with a target action; daily counts would count who came twice twice."""
    return user_item_daily.where("targets > 0").groupBy("item_id").agg(F.count_distinct("user_id").alias("people_7d"))


def _situation(contexts: DataFrame) -> DataFrame:
    return contexts.select("surface", "user_id", "is_weekend", "commute_share")
