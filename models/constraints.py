"""What every published row is held against, derived anew from the tables and not from what the rules did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import DayRange
from jobs.settings import Market
from models import eligibility
from models.channels.curated import in_force
from models.rules.category_share import CategoryShare
from models.rules.quality_floor import QualityFloor
from models.rules.repeat_guard import RepeatGuard
from models.rules.rule import Rule
from models.surfaces import USUAL, Surface

Plans = Mapping[tuple[str, str], Surface]
"""By surface and context (`models.variants.plans`)."""


@dataclass(frozen=True)
class Known:
    """What the day's tables know that lists must obey.

    Parameters
    ----------
    excluded
        ``user_id, item_id`` that must not be shown: refused, of a blocked author, just bought.
    user_item_daily
        What users were shown and clicked in the last days.
    badcases
        As `quality.badcases.stop_loss.INPUT` reads them.
    curated
        Entries of the day.
    decision_log
        Every list of the day, for the caps of the entries.
    """

    excluded: DataFrame
    user_item_daily: DataFrame
    badcases: DataFrame
    curated: DataFrame
    decision_log: DataFrame


def with_violations(rows: DataFrame, known: Known, plans: Plans, days: DayRange, market: Market) -> DataFrame:
    """The rows with ``violations``, the rules of every list that a row breaks.

    Parameters
    ----------
    rows
        Whole lists: ``surface, user_id, context, rank, item_id, slot_type, category, regions, age_limit, region,
        least_age, is_eligible, quality, consents, channels``, and ``categories`` of the candidates
        (serving.decision_log).
    """
    guards = _by_options(plans, "repeat_guard", RepeatGuard)
    counting = F.array_except("channels", _by_context(plans, _without))
    broken = {
        "the user did not consent": ~F.coalesce("consents", F.lit(False)),
        "not on offer": ~F.coalesce("is_eligible", F.lit(False)),
        "not for the user's region or age": ~eligibility.allowed(
            F.col("regions"), F.col("age_limit"), F.col("region"), F.col("least_age")
        ),
        "refused, of a blocked author or just bought": F.col("_excluded"),
        "stopped by a bad case": F.coalesce("_stopped", F.lit(False)) | F.col("_stopped_for_all").isNotNull(),
        "shown too often": _holds(guards, _too_often),
        "below the quality floor": _holds(_by_options(plans, "quality_floor", QualityFloor), _too_bad),
        "found by channels alone that do not count here": F.size(counting) == 0,
        "curated without an entry in force": (F.col("slot_type") == "curated") & F.col("_entered").isNull(),
        "in more lists than its curated entry allows": (F.col("slot_type") == "curated")
        & (F.col("_entered") > F.col("_cap")),
        **_of_the_list(plans, ["surface", "user_id"]),
    }
    return (
        rows.join(_pairs(known, guards, days), ["user_id", "item_id"], "left")
        .join(F.broadcast(_stopped_for_all(known.badcases)), "item_id", "left")
        .join(F.broadcast(_entries(known, market)), ["surface", "item_id"], "left")
        # one exchange for all windows
        .repartition("surface", "user_id")
        .withColumn("violations", _named(broken))
        .select(*rows.columns, "violations")
    )


def with_violations_of_segments(rows: DataFrame, badcases: DataFrame, surfaces: Mapping[str, Surface]) -> DataFrame:
    """The rows with ``violations``, those rules of a list without a user that a row breaks.

    Parameters
    ----------
    rows
        Whole lists: ``surface, segment, rank, item_id, spare, category, regions, age_limit, region, is_eligible,
        quality``, and ``categories`` of what they were chosen from. Spare rows stand in no list yet.
    """
    plans = {(name, USUAL): surface for name, surface in surfaces.items()}
    broken = {
        "not on offer": ~F.coalesce("is_eligible", F.lit(False)),
        "not for the segment's region, or for an age": ~eligibility.allowed(
            F.col("regions"), F.col("age_limit"), F.col("region"), F.lit(None).cast("int")
        ),
        "stopped by a bad case": F.col("_stopped_for_all").isNotNull(),
        "below the quality floor": _holds(_by_options(plans, "quality_floor", QualityFloor), _too_bad),
    }
    of_list = _of_the_list(plans, ["surface", "segment", "spare"])
    broken |= {name: ~F.col("spare") & holds for name, holds in of_list.items()}
    return (
        rows.join(F.broadcast(_stopped_for_all(badcases)), "item_id", "left")
        .withColumn("context", F.lit(USUAL))
        .withColumn("violations", _named(broken))
        .select(*rows.columns, "violations")
    )


def most_under(ceiling: SparkColumn, rows: SparkColumn, categories: SparkColumn) -> SparkColumn:
    """Items of one category that so many rows may have: candidates of too few categories for it share them evenly."""
    most = F.greatest(F.lit(1), F.floor(ceiling * rows + F.lit(1e-9)))
    return F.when(1 / categories >= ceiling, F.ceil(rows / categories)).otherwise(most)


def _named(broken: Mapping[str, SparkColumn]) -> SparkColumn:
    return F.array_compact(F.array(*[F.when(holds, F.lit(name)) for name, holds in broken.items()]))


def _of_the_list(plans: Plans, key: list[str]) -> dict[str, SparkColumn]:
    """What a row breaks together with the others of its list, which ``key`` tells from other lists."""
    the_list, same_item, same_category = (Window.partitionBy(*key, *also) for also in ([], ["item_id"], ["category"]))
    every = F.count(F.lit(1))
    most = most_under(_by_context(plans, _ceiling), every.over(the_list), F.col("categories"))
    return {
        "twice in the list": every.over(same_item) > 1,
        "beyond the list's length": F.col("rank") > _by_context(plans, lambda surface: F.lit(surface.length)),
        "on a rank kept for ads": F.array_contains(_by_context(plans, _ad_slots), F.col("rank")),
        "above the ceiling of its category": F.col("category").isNotNull() & (every.over(same_category) > most),
    }


def _pairs(known: Known, guards: Mapping[RepeatGuard, list[str]], days: DayRange) -> DataFrame:
    """``user_id, item_id`` with what is known of both together; one grouping brings it together."""
    nothing = {"_excluded": F.lit(False), "_stopped": F.lit(False)}
    windows = sorted({guard.days for guard in guards})
    counts = [f"{name}_{n}" for n in windows for name in ("_shown", "_clicked")]
    nothing |= {name: F.lit(0) for name in counts}
    did = {"_shown": F.col("impressions"), "_clicked": F.col("clicks")}
    age = F.date_diff(F.lit(days.last), F.col("ds"))
    lately = {f"{name}_{n}": F.when(age < n, did[name]).otherwise(0) for n in windows for name in did}
    stopped = known.badcases.where("stops AND user_id IS NOT NULL AND item_id IS NOT NULL")
    touched = known.user_item_daily.where("impressions > 0 OR clicks > 0").where(age < max(windows, default=0))

    def of(frame: DataFrame, **what: SparkColumn) -> DataFrame:
        values = [value.alias(name) for name, value in (nothing | what).items()]
        return frame.select("user_id", "item_id", *values)

    parts = [of(known.excluded, _excluded=F.lit(True)), of(stopped, _stopped=F.lit(True)), of(touched, **lately)]
    marks = [F.max(name).alias(name) for name in ("_excluded", "_stopped")]
    return (
        reduce(DataFrame.unionByName, parts)
        .groupBy("user_id", "item_id")
        .agg(*marks, *[F.sum(name).alias(name) for name in counts])
    )


def _stopped_for_all(badcases: DataFrame) -> DataFrame:
    """``item_id, _stopped_for_all``: items of which a bad case is the item's own fault."""
    items = badcases.where("stops AND user_id IS NULL AND item_id IS NOT NULL")
    return items.select("item_id", F.lit(True).alias("_stopped_for_all")).distinct()


def _entries(known: Known, market: Market) -> DataFrame:
    """``surface, item_id, _cap, _entered``: what is curated on the day of the lists, and how many lists it entered.

    Without a cap there is no limit; entries of one item on one surface add up.
    """
    entries = known.curated.where(in_force(market)).groupBy("surface", "item_id")
    limits = entries.agg(F.when(F.count("cap") == F.count(F.lit(1)), F.sum("cap")).alias("_cap"))
    placed = known.decision_log.select("surface", F.explode("placed").alias("p")).where("p.slot_type = 'curated'")
    entered = placed.groupBy("surface", F.col("p.item_id").alias("item_id")).agg(F.count(F.lit(1)).alias("_entered"))
    return limits.join(entered, ["surface", "item_id"])


def _too_often(guard: RepeatGuard) -> SparkColumn:
    often = F.col(f"_shown_{guard.days}") >= guard.times
    return often & (F.col(f"_clicked_{guard.days}") == 0) if guard.unless_clicked else often


def _too_bad(floor: QualityFloor) -> SparkColumn:
    return eligibility.too_bad(floor.floor)


def _by_options(plans: Plans, name: str, rule: type[Rule]) -> dict[Rule, list[str]]:
    """The contexts, as ``surface/context``, by the options that a rule has there."""
    found: dict[Rule, list[str]] = {}
    for (surface, context), plan in plans.items():
        if name in plan.rules:
            found.setdefault(rule(**plan.rules[name]), []).append(f"{surface}/{context}")
    return found


def _holds(options: Mapping[Rule, list[str]], broken: Callable[[Rule], SparkColumn]) -> SparkColumn:
    """A row's context has the rule, and the row breaks it under the context's options."""
    parts = [_key().isin(*contexts) & broken(rule) for rule, contexts in options.items()]
    return reduce(lambda a, b: a | b, parts, F.lit(False))


def _key() -> SparkColumn:
    return F.concat_ws("/", "surface", "context")


def _by_context(plans: Plans, of: Callable[[Surface], SparkColumn]) -> SparkColumn:
    """What the row's surface says in the row's context."""
    pairs = [(F.lit(f"{name}/{context}"), of(surface)) for (name, context), surface in plans.items()]
    return F.element_at(F.create_map(*[part for pair in pairs for part in pair]), _key())


def _ad_slots(surface: Surface) -> SparkColumn:
    return F.array(*[F.lit(n) for n in surface.ad_slots]).cast("array<int>")


def _without(surface: Surface) -> SparkColumn:
    return F.array(*[F.lit(name) for name in surface.without]).cast("array<string>")


def _ceiling(surface: Surface) -> SparkColumn:
    """Part of a list that one category may have; all of it where no rule says otherwise."""
    options = surface.rules.get("category_share")
    return F.lit(1.0 if options is None else float(options.get("ceiling", CategoryShare.ceiling)))
