"""One list of candidates per user from all channels, with where each came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between
from jobs.errors import ContractError
from jobs.settings import BLOCK_DAYS, Market
from models import eligibility
from models.recall import CHANNELS, depth_of
from models.surfaces import USUAL, Surface, surfaces
from models.variants import pipelines, plans
from quality.badcases import stop_loss

SOURCE = "array<struct<channel:string,rank:int,score:double,seed_item_id:bigint>>"


@dataclass(frozen=True)
class Params:
    """How channels become one list.

    Parameters
    ----------
    budget
        Candidates per user.
    k
        Damps the difference of high ranks.
    weights
        Weight of a channel's ranks, where it differs from what the channel declares.
    """

    budget: int = 200
    k: int = 60
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _known(self.weights, "option weights of candidates.fused")


def _known(values: Iterable[str], where: str) -> None:
    if unknown := sorted(set(values) - set(CHANNELS)):
        raise ContractError(f"{where}: there are no channels {unknown}; there are {sorted(CHANNELS)}.")


CONTRACT = Table(
    name="candidates.fused",
    group="candidates",
    owner="candidates",
    description="Channels fused by weighted reciprocal rank, sum of weight / (60 + rank) (Cormack et al., 2009): ranks "
    "compare where scores of channels do not. Each channel has its quota of first places, as the user's contexts say. "
    "What the user may not see (region, age), rejected or bought in 7 days is out, as is what a bad case stops; bought "
    "ones stay where their category may repeat.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("item_id", "bigint", "Surrogate item key."),
        Column("rank", "int", "Place in the fused list, from 1."),
        Column("score", "double", "Fused score.", digits=9),
        Column("channel", "string", "The channel that contributed most."),
        Column("channels", "array<string>", "All channels that found it, by name."),
        Column("seed_item_id", "bigint", "The user's item that led to it in the best channel that names one."),
        Column("in_quota", "boolean", "A channel's quota gave it its place."),
        Column("sources", SOURCE, "Every channel that found it, what contributed most first."),
    ],
    keys=["user_id", "item_id"],
    inputs=[
        TableInput("candidates.recall"),
        TableInput("candidates.contexts"),
        TableInput("silver.user_item_daily", days=BLOCK_DAYS),
        TableInput("silver.events", days=BLOCK_DAYS, optional=True),
        TableInput("silver.items"),
        TableInput("features.user_profile"),
        stop_loss.INPUT,
    ],
    checks=[between("rank", 1, 1000)],
    grain="day",
)


def excluded(
    user_item_daily: DataFrame, events: DataFrame, items: DataFrame, days: DayRange, market: Market
) -> DataFrame:
    """Pairs ``ds, user_id, item_id`` that must not be shown on a day: rejected, blocked or just bought."""
    day = F.lit(days.last)
    bought = (F.col("purchases") > 0) & ~eligibility.repeats(F.col("category"), market)
    categories = items.select("item_id", "category")
    pairs = (
        user_item_daily.where("rejections > 0 OR purchases > 0")
        .join(categories, "item_id", "left")
        .where((F.col("rejections") > 0) | bought)
        .select(day.alias("ds"), "user_id", "item_id")
    )
    creators = items.where("creator_id IS NOT NULL").select("item_id", "creator_id")
    blocked = events.where("action = 'block_author'").join(creators, "item_id").select("user_id", "creator_id")
    theirs = blocked.distinct().join(creators, "creator_id").select(day.alias("ds"), "user_id", "item_id")
    return pairs.unionByName(theirs).distinct()


def quotas_of(market: Market, budget: int, of: Mapping[str, Surface] | None = None) -> dict[str, int]:
    """First places of channels that enter whatever their score, so that what is sure does not crowd out what explores.

    One list serves every surface: the largest quota that any surface asks for in any context. ``of`` are surfaces
    other than the market's own: those of a variant.

    Raises
    ------
    ContractError
        A surface names a channel that there is not, or the quotas leave nothing of the budget.
    """
    found: dict[str, int] = {}
    for surface in (surfaces(market) if of is None else of).values():
        for context in (USUAL, *surface.contexts):
            under = surface.under(context)
            _known(under.without, f"without of surface {surface.name}, context {context}, of market {market.name}")
            for channel, places in under.quotas.items():
                found[channel] = max(places, found.get(channel, 0))
    _known(found, f"quotas of the surfaces of market {market.name}")
    if sum(found.values()) >= budget:
        raise ContractError(
            f"Market {market.name}: quotas of {sum(found.values())} places in all leave none of the budget of {budget} "
            "to the scores: lower them, or raise option budget of candidates.fused."
        )
    return found


def by_channel(values: Mapping[str, float], otherwise: float) -> SparkColumn:
    """The value of the row's ``channel``."""
    if not values:
        return F.lit(otherwise)
    pairs = [F.lit(x) for name, value in sorted(values.items()) for x in (name, value)]
    return F.coalesce(F.try_element_at(F.create_map(*pairs), F.col("channel")), F.lit(otherwise))


def with_places(recall: DataFrame, contexts: DataFrame, days: DayRange, params: Params, market: Market) -> DataFrame:
    """The rows with ``places``: the largest quota of their channel among the contexts of their user, one a surface."""
    plan = plans(market, days.last)
    largest = [quotas_of(market, params.budget, each.surfaces) for each in pipelines(market, days.last)]
    asked = {f"{surface}/{context}": under.quotas for (surface, context), under in plan.items()}
    if all(under.quotas == plan[surface, USUAL].quotas for (surface, _), under in plan.items()):
        # the same for everybody, so nobody's context need be looked up
        return recall.withColumn("places", by_channel(largest[0], 0))

    def most(channel: str) -> SparkColumn:
        pairs = [F.lit(x) for key, quotas in asked.items() if channel in quotas for x in (key, quotas[channel])]
        own = F.try_element_at(F.create_map(*pairs), F.concat_ws("/", "surface", "context"))
        return F.coalesce(F.max(own), F.lit(0))

    channels = sorted({channel for quotas in largest for channel in quotas})
    of_user = F.create_map(*[part for channel in channels for part in (F.lit(channel), most(channel))])
    places = contexts.groupBy("ds", "user_id").agg(of_user.alias("_places"))
    return recall.join(places, ["ds", "user_id"], "left").withColumn(
        "places", F.coalesce(F.try_element_at("_places", F.col("channel")), F.lit(0))
    )


def build(
    recall: DataFrame,
    contexts: DataFrame,
    user_item_daily: DataFrame,
    events: DataFrame,
    items: DataFrame,
    user_profile: DataFrame,
    badcases: DataFrame,
    *,
    days: DayRange,
    params: Params,
    market: Market,
) -> DataFrame:
    weights = {name: each.channel.weight for name, each in CHANNELS.items()} | dict(params.weights)
    # partitions by user serve everything that follows
    read = recall.where(F.col("rank") <= depth_of(F.col("channel"))).repartition("ds", "user_id")
    part = F.round(by_channel(weights, 1.0) / (F.lit(params.k) + F.col("rank")), 9)
    fused = _by_item(with_places(read, contexts, days, params, market), part, F.col("rank") <= F.col("places"))
    out = excluded(user_item_daily, events, items, days, market)
    first = Window.partitionBy("ds", "user_id").orderBy(F.desc("in_quota"), F.round("score", 9).desc(), "item_id")
    best = Window.partitionBy("ds", "user_id").orderBy(F.round("score", 9).desc(), "item_id")
    return (
        eligibility.for_people(stop_loss.without_stopped(fused, badcases), items, user_profile)
        .join(out, ["ds", "user_id", "item_id"], "left_anti")
        .withColumn("_chosen", F.row_number().over(first))
        .where(F.col("_chosen") <= params.budget)
        .withColumn("rank", F.row_number().over(best))
        .withColumns(_provenance())
    )


def _by_item(recall: DataFrame, part: SparkColumn, in_quota: SparkColumn) -> DataFrame:
    """``ds, user_id, item_id, score, in_quota, sources``: a row a user and item, what contributed most first."""
    # A window over rows that are sorted once: an aggregation that collects lists for half a million small groups
    # takes three times as long.
    by_part = Window.partitionBy("ds", "user_id", "item_id").orderBy(F.desc("_part"), "channel")
    all_channels = by_part.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
    from_here = by_part.rowsBetween(Window.currentRow, Window.unboundedFollowing)
    return (
        recall.withColumn("_part", part)
        .select(
            "ds",
            "user_id",
            "item_id",
            F.sum("_part").over(all_channels).alias("score"),
            F.max(in_quota).over(all_channels).alias("in_quota"),
            F.collect_list(F.struct("channel", "rank", "score", "seed_item_id")).over(from_here).alias("sources"),
            F.row_number().over(by_part).alias("_nth"),
        )
        .where("_nth = 1")
        .drop("_nth")
    )


def _provenance() -> dict[str, SparkColumn]:
    seeds = F.filter("sources", lambda s: s["seed_item_id"].isNotNull())
    return {
        "channel": F.col("sources")[0]["channel"],
        "channels": F.sort_array(F.col("sources.channel")),
        "seed_item_id": F.try_element_at(seeds, F.lit(1))["seed_item_id"],
    }
