"""What was decided for whom and why: the reranking of a day, one row for each user and surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import (
    ArtifactInput,
    Column,
    DayRange,
    Table,
    TableInput,
    no_rows_where,
    not_null,
    rows_between,
)
from jobs.interactions import REFUSALS, SAVE
from jobs.settings import Market
from models import eligibility
from models.channels import own_history
from models.channels.curated import in_force
from models.pool import LOOK_BACK
from models.reranking_batches import CANDIDATE, EFFECTS, OUTPUT, PLACED, TOUCH, USER_COLUMNS, Plan, bars, reranker
from models.rules.rule import chain
from models.variants import plans

SIGNALS = ("is_weekend", "commute_share", "fast_share", "spending_rank")
"""What a policy of exploration knows of a user, after a constant 1; unknown is 0."""


@dataclass(frozen=True)
class Params:
    """``evidence_floor``: least propensity by which a showing is weighted when a policy learns from it."""

    evidence_floor: float = 0.001


CONTRACT = Table(
    name="serving.decision_log",
    group="serving",
    owner="serving",
    description="The lists of every consenting active user as they were decided, one row a surface: what was placed "
    "with its score before and after, propensities of places of exploration, and what each rule removed, held back, "
    "took or gave way to. Enough to audit a list and to estimate another policy from what this one showed.",
    columns=[
        Column("release_id", "string", "Release: day and content hash of its lists."),
        Column("surface", "string", "Where the list is shown."),
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("context", "string", "Context whose options were used (candidates.contexts)."),
        Column("policy", "string", "Policy of the places of exploration; none without such a rule."),
        Column("signals", "array<double>", f"What it decided on: 1, {', '.join(SIGNALS)}."),
        Column("candidates", "int", "Ranked candidates that the rules chose from."),
        Column("categories", "int", "Categories of those for any place; an item without one is one of its own."),
        Column(
            "placed",
            PLACED,
            "By rank: item, slot_type, place among the candidates, the ranker's score, the value by which it was "
            "placed; propensity and arm at places of exploration, null elsewhere; mean cosine of content to what the "
            "user clicked, saved or bought in the item's category in 7 days, and of how many items.",
        ),
        Column(
            "effects",
            EFFECTS,
            "What rules did: removed (rank null); held_back from this rank on, once for each item, though its value "
            "was the largest; taken (the rule gave it this rank); relaxed (placed against the rule). why in words.",
        ),
        Column("ad_slots", "array<int>", "Ranks left free for ads."),
    ],
    keys=["surface", "user_id"],
    replace_by="release_id",
    append=True,
    grain="day",
    workers=True,
    inputs=[
        TableInput("candidates.ranked"),
        TableInput("candidates.contexts"),
        TableInput("features.user_profile"),
        TableInput("silver.user_item_daily", days=LOOK_BACK),
        TableInput("silver.events", days=LOOK_BACK, optional=True),
        TableInput("silver.curated", optional=True),
        TableInput("serving.decision_log", days=LOOK_BACK, lag=1, optional=True, alias="earlier"),
        ArtifactInput("models.shelf", max_age=0),
    ],
    checks=[
        not_null("context"),
        rows_between(1),
        no_rows_where("exists(placed, p -> (p.arm IS NULL) <> (p.propensity IS NULL))", "an arm has no propensity"),
        no_rows_where("exists(placed, p -> p.propensity <= 0 OR p.propensity > 1)", "a propensity is no probability"),
    ],
)


def build(
    ranked: DataFrame,
    contexts: DataFrame,
    user_profile: DataFrame,
    user_item_daily: DataFrame,
    events: DataFrame,
    curated: DataFrame,
    earlier: DataFrame,
    shelf: Path,
    *,
    days: DayRange,
    params: Params,
    market: Market,
) -> DataFrame:
    of_market = plans(market, days.last)
    bits = bars(of_market.values())
    wanted = {
        (name, context): Plan(surface, chain(surface.rules, f"Surface {name}, {context}"), bits.get(surface.without, 0))
        for (name, context), surface in of_market.items()
    }
    most = max(plan.surface.candidates for plan in wanted.values())
    consenting = user_profile.where("consent_personalisation")
    signals = F.array(F.lit(1.0), *[F.coalesce(F.col(name).cast("double"), F.lit(0.0)) for name in SIGNALS])
    users = (
        _by_user(ranked.where(F.col("rank") <= most), _touched(user_item_daily, events, days), bits)
        .join(contexts.select("surface", "user_id", "context", signals.alias("signals")), "user_id")
        .join(eligibility.people(consenting).drop("ds"), "user_id")
        .join(_curated(ranked, curated, market), ["surface", "user_id"], "left")
        .join(F.broadcast(learnt(earlier, user_item_daily, params)), "surface", "left")
    )
    given = [*USER_COLUMNS, "candidates", "touched", "curated", "evidence"]
    made = users.select(*given).mapInArrow(reranker(shelf, days.last, wanted, market.repeat_categories), OUTPUT)
    return made.withColumn("ds", F.lit(days.last))


def _by_user(ranked: DataFrame, touched: DataFrame, bits: Mapping[tuple[str, ...], int]) -> DataFrame:
    """``user_id, candidates, touched``: one grouping brings both together."""
    injected = F.coalesce(F.col("channels") == F.array(F.lit("curated")), F.lit(False))
    own = F.coalesce(F.array_contains("channels", own_history.CHANNEL.name), F.lit(False))
    barred = F.lit(0)
    for without, bit in bits.items():
        alone = F.size(F.array_except("channels", F.array(*[F.lit(name) for name in without]))) == 0
        barred = barred + F.when(alone, bit).otherwise(0)
    told = ranked.withColumns({"injected": injected, "own": own, "barred": barred})
    candidate = told.select("user_id", F.struct(*CANDIDATE).alias("candidate"))
    touch = touched.select("user_id", F.struct(*TOUCH).alias("touch"))
    return (
        candidate.unionByName(touch, allowMissingColumns=True)
        .groupBy("user_id")
        .agg(F.sort_array(F.collect_list("candidate")).alias("candidates"), F.collect_list("touch").alias("touched"))
        .where(F.size("candidates") > 0)
    )


def _touched(user_item_daily: DataFrame, events: DataFrame, days: DayRange) -> DataFrame:
    """What users did with items, by day, and what they said of them."""
    age = F.datediff(F.lit(days.last), "ds").alias("age")
    did = user_item_daily.where("impressions > 0 OR clicks > 0 OR purchases > 0").select(
        "user_id",
        "item_id",
        age,
        F.col("impressions").alias("shown"),
        F.col("clicks").alias("clicked"),
        F.col("purchases").alias("bought"),
        F.lit("").alias("told"),
    )
    none = [F.lit(0).alias(name) for name in ("shown", "clicked", "bought")]
    told = events.where(F.col("action").isin(*REFUSALS, SAVE) & F.col("item_id").isNotNull())
    return did.unionByName(told.select("user_id", "item_id", age, *none, F.col("action").alias("told")))


def _curated(ranked: DataFrame, curated: DataFrame, market: Market) -> DataFrame:
    """Entries in force on the day after ds among each user's candidates: ``surface, user_id, curated``.

    An entry with a cap enters so many lists at most, those of the users that a hash puts first.
    """
    entries = curated.where(in_force(market)).select("surface", "curated_id", "item_id", "boost", "cap")
    in_turn = Window.partitionBy("surface", "curated_id").orderBy(F.xxhash64("user_id", "curated_id"), "user_id")
    boost = F.coalesce("boost", F.lit(0.0)).alias("boost")
    return (
        ranked.select("user_id", "item_id")
        .join(F.broadcast(entries), "item_id")
        .withColumn("_nth", F.row_number().over(in_turn))
        .where(F.col("cap").isNull() | (F.col("_nth") <= F.col("cap")))
        .groupBy("surface", "user_id")
        .agg(F.sort_array(F.collect_list(F.struct("item_id", boost))).alias("curated"))
    )


def learnt(earlier: DataFrame, user_item_daily: DataFrame, params: Params) -> DataFrame:
    """``surface, evidence``: what showings of the last days were worth by context and arm (`models.bandit`).

    A list decided on a day is shown on the next; a place counts where the item was shown then on its surface, and is
    rewarded where a target action followed.
    """
    place = F.explode(F.filter("placed", lambda p: p["arm"].isNotNull()))
    decided = earlier.select(
        F.date_add("ds", 1).alias("ds"), "surface", "context", "user_id", "signals", place.alias("p")
    )
    seen = user_item_daily.where("impressions > 0").select(
        "ds", "user_id", "item_id", "shown_on", (F.col("targets") > 0).alias("hit")
    )
    shown = (
        decided.withColumn("item_id", F.col("p.item_id"))
        .join(seen, ["ds", "user_id", "item_id"])
        .where(F.array_contains("shown_on", F.col("surface")))
    )
    weight = F.round(1 / F.greatest("p.propensity", F.lit(params.evidence_floor)), 9)
    x = [F.element_at("signals", n + 1) for n in range(len(SIGNALS) + 1)]
    hit = F.col("hit").cast("double")
    by_arm = (
        shown.withColumn("w", weight)
        .groupBy("surface", "context", F.col("p.arm").alias("arm"))
        .agg(
            F.count(F.lit(1)).cast("double").alias("n"),
            F.sum("w").alias("weights"),
            F.sum(F.round(F.col("w") * F.col("w"), 6)).alias("squares"),
            F.sum(F.col("w") * hit).alias("rewards"),
            F.array(*[F.sum(F.round(F.col("w") * a * b, 6)) for a in x for b in x]).alias("gram"),
            F.array(*[F.sum(F.round(F.col("w") * hit * a, 6)) for a in x]).alias("moments"),
        )
    )
    row = F.struct("context", "arm", "n", "weights", "squares", "rewards", "gram", "moments")
    return by_arm.groupBy("surface").agg(F.sort_array(F.collect_list(row)).alias("evidence"))
