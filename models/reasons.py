"""Why a row is shown: one main reason and up to three more, each only where its evidence holds for the row.

Kinds: *basic* says what of the user or the item led to it, *scenario* the moment, *value* what speaks for the item.
The evidence is JSON of what the reason was told from, by the names of the columns, so that anyone can derive the
reason again; a test does for every row of a night. Texts are in ``models/messages``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from models.messages import say

TYPE = "array<struct<kind:string,code:string,text:string,evidence:string>>"
PARTS = ("kind", "code", "text", "evidence")
MOST = 4
MINUTE_MS = 60_000


@dataclass(frozen=True)
class Reason:
    """``code`` of a message; ``holds`` where it is true; ``evidence`` by name; ``values`` of the names in its text."""

    kind: str
    code: str
    holds: SparkColumn
    evidence: Mapping[str, SparkColumn]
    values: Mapping[str, SparkColumn]


def with_reasons(
    rows: DataFrame, items: DataFrame, user_interests: DataFrame, follows: DataFrame, params: Any
) -> DataFrame:
    """The rows with ``reasons`` and ``detail``; ``follows`` are of `followed`, ``params`` serving.recommendations'."""
    seeds = items.select(
        F.col("item_id").alias("seed_item_id"),
        F.col("title").alias("seed"),
        F.col("original_id").alias("seed_original_id"),
    )
    taste = {
        kind: user_interests.where(F.col("kind") == kind).select(
            "user_id", F.col("value").alias(kind), F.round("share", 4).alias(f"{kind}_share")
        )
        for kind in ("category", "brand")
    }
    known = (
        rows.join(seeds, "seed_item_id", "left")
        .join(taste["category"], ["user_id", "category"], "left")
        .join(taste["brand"], ["user_id", "brand"], "left")
        .join(follows, ["user_id", "creator_id"], "left")
    )
    last = F.array(_told(suggested()))
    found = F.array_compact(F.array(*[_told(reason) for reason in declared(params)]))
    told = known.withColumn("_told", F.when(F.size(found) > 0, F.slice(found, 1, MOST)).otherwise(last))
    # a style match has the most to say on an item's page; after it the main reason
    match = F.filter("_told", lambda reason: reason["code"] == "style_match")
    short = F.transform("_told", lambda reason: F.struct(*[reason[name].alias(name) for name in PARTS]))
    return told.withColumns({"reasons": short, "detail": F.get(F.concat(match, "_told"), 0)["detail"]})


def followed(user_follows: DataFrame, creators: DataFrame) -> DataFrame:
    """``user_id, creator_id, followed_ds, creator, creator_name``: whom users follow.

    ``creator`` is the source's id, or the surrogate key of one of whom the feed of creators says nothing.
    """
    name = F.when(F.trim("name") != "", F.col("name"))
    known = creators.select("creator_id", F.col("original_id").alias("creator"), name.alias("creator_name"))
    creator = F.coalesce("creator", F.col("creator_id").cast("string"))
    told = user_follows.select("user_id", "creator_id", "followed_ds")
    return told.join(known, "creator_id", "left").withColumn("creator", creator)


def suggested() -> Reason:
    """The reason where there is no other: it claims nothing."""
    return Reason("basic", "suggested", F.lit(True), _column("channels"), {})


def _told(reason: Reason) -> SparkColumn:
    """The reason where it holds, with its texts in the row's language; else null."""
    evidence = F.to_json(F.struct(*[value.alias(name) for name, value in reason.evidence.items()]))
    said = [say(reason.code, part, F.col("language"), reason.values).alias(part) for part in ("text", "detail")]
    made = F.struct(
        F.lit(reason.kind).alias("kind"), F.lit(reason.code).alias("code"), *said, evidence.alias("evidence")
    )
    return F.when(F.coalesce(reason.holds, F.lit(False)), made)


def declared(params: Any) -> list[Reason]:
    """Every reason, in the order in which they are told."""
    return [
        *_from_the_slot(),
        *_from_the_user(params),
        *_from_the_moment(params),
        *_from_the_item(params),
        *_from_the_model(params),
    ]


def _column(*names: str) -> dict[str, SparkColumn]:
    return {name: F.col(name) for name in names}


def _percent(share: str) -> SparkColumn:
    return F.round(F.col(share) * 100).cast("int")


def _from_the_slot() -> list[Reason]:
    slot = F.col("slot_type")
    return [
        Reason("scenario", "curated", slot == "curated", _column("slot_type"), {}),
        Reason("scenario", "discovery", slot == "exploration", _column("slot_type", "arm", "propensity"), {}),
    ]


def _from_the_user(params: Any) -> list[Reason]:
    own = F.array_contains("channels", "own_history")
    another = F.col("seed").isNotNull() & (F.col("seed_item_id") != F.col("item_id"))
    match = F.col("style_match") >= params.min_match
    return [
        Reason("basic", "again", own, _column("channels", "original_id"), {}),
        *_from_whom_they_follow(),
        Reason("basic", "because_of", another & ~own, _column("seed_original_id", "channel"), _column("seed")),
        Reason(
            "basic",
            "style_match",
            match & (F.col("style_items") > 0),
            _column("style_match", "style_items", "category"),
            {"percent": _percent("style_match"), "items": F.col("style_items"), "category": F.col("category")},
        ),
        *[
            Reason(
                "basic",
                kind,
                F.col(f"{kind}_share") >= params.min_share,
                _column(kind, f"{kind}_share"),
                {kind: F.col(kind), "percent": _percent(f"{kind}_share")},
            )
            for kind in ("brand", "category")
        ],
    ]


def _from_whom_they_follow() -> list[Reason]:
    """One of two: a creator whose name is not known is told without."""
    follows, name = F.col("followed_ds").isNotNull(), F.col("creator_name")
    evidence = _column("creator", "followed_ds")
    return [
        Reason("basic", "followed", follows & name.isNotNull(), evidence, {"creator": name}),
        Reason("basic", "followed_unnamed", follows & name.isNull(), evidence, {}),
    ]


def _from_the_moment(params: Any) -> list[Reason]:
    length = F.col("duration_ms")
    minutes = {"minutes": F.ceil(length / MINUTE_MS)}
    on_the_way = (F.col("context") == "commute") & (length > 0) & (length <= params.short_ms)
    weekend = F.col("is_weekend") & (length >= params.long_ms)
    return [
        Reason("scenario", "short_on_the_way", on_the_way, _column("duration_ms", "commute_share"), minutes),
        Reason("scenario", "time_at_the_weekend", weekend, _column("duration_ms", "is_weekend"), minutes),
    ]


def _from_the_item(params: Any) -> list[Reason]:
    rated = (F.col("rating_28d") >= params.min_rating) & (F.col("ratings_28d") >= params.min_ratings)
    rating = {"rating": F.round("rating_28d", 1), "ratings": F.col("ratings_28d")}
    prices = _column("highest_price_minor", "price_minor")
    people, days = F.col("people_7d"), F.col("age_days")
    found = F.exists("channels", lambda channel: channel.startswith("popular"))
    return [
        Reason(
            "value", "price_drop", F.col("price_drop") >= params.min_drop, prices, {"percent": _percent("price_drop")}
        ),
        Reason("value", "rated", rated, _column("rating_28d", "ratings_28d"), rating),
        Reason("value", "new", days.between(0, params.new_days - 1), _column("age_days"), {"days": days}),
        Reason("basic", "popular", people >= params.min_people, _column("people_7d"), {"people": people}),
        Reason(
            "basic",
            "among_popular",
            found & (F.col("popularity") >= 0.8),
            _column("popularity"),
            {"percent": F.floor(F.col("popularity") * 100)},
        ),
    ]


def _from_the_model(params: Any) -> list[Reason]:
    """True of what a model puts among the user's first candidates; it says least, so it comes last."""
    scored = (F.col("model_version") != "popularity") & (F.col("slot_type") == "organic")
    high = F.col("rank_before") <= params.high_place
    return [Reason("basic", "similar_taste", scored & high, _column("model_version", "score", "rank_before"), {})]
