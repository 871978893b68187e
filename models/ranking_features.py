"""The inputs of every ranker: one definition for training and scoring, so they cannot drift apart.

``assemble`` joins what was known of a user, an item, its creator and the pair at the end of a day (``ds``). A feature
table says in its contract what rankers read of it (``ranked``). Sensitive attributes are not among the features; a test
holds them against the contracts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import features
from features.item_demand import expected_share
from features.user_interests import KINDS, price_band
from features.windows import decay
from jobs.contract import DayRange, TableInput
from jobs.errors import ContractError

PAIR_HORIZON = 365
"""Days of a pair's own past that are read: it is joined to the pairs, so that it costs what they have and no more."""
LATELY = 90
"""Days of it in which strength and showings count."""


@dataclass(frozen=True)
class Part:
    """Columns of a feature table that rankers read.

    Parameters
    ----------
    table, columns
        A feature is named ``prefix`` + column.
    key
        ``user_id``, ``item_id`` or ``creator_id``: whose features they are.
    kind
        For a table of several kinds of keys (``kind``, ``id``): the kind whose rows are read.
    """

    table: str
    prefix: str
    key: str
    columns: tuple[str, ...]
    kind: str | None = None

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(self.prefix + column for column in self.columns)

    def frame(self, known: Known, *more: str | SparkColumn) -> DataFrame:
        """``ds``, the key, the features, and ``more``."""
        rows, key = known[self.table], F.col(self.key)
        if self.kind is not None:
            rows, key = rows.where(F.col("kind") == self.kind), F.col("id").alias(self.key)
        renamed = [F.col(c).alias(self.prefix + c) for c in self.columns]
        return rows.select("ds", key, *renamed, *more)


KEYS = ("user_id", "item_id", "creator_id")
ITEMS = "features.item_stats"
"""The other features of an item and its creator are joined to it."""


def parts() -> tuple[Part, ...]:
    """What feature tables declare for rankers, by key; those of several kinds of keys come last."""
    found = [
        Part(contract.name, each.prefix, each.key, tuple(each.columns), each.kind)
        for contract in features.contracts()
        for each in contract.ranked
    ]
    return tuple(sorted(found, key=lambda p: (KEYS.index(p.key), p.table != ITEMS, p.kind is not None, p.table)))


PARTS = parts()
PAIR = (
    "pair_strength",
    "pair_targets",
    "pair_purchases",
    "pair_impressions",
    "pair_age_days",
    "pair_takings",
    "pair_taken_days",
    "pair_since_taken",
)
EXPECTED = "pair_expected"
"""Part of the user's next target actions that is expected to be on the item (features.item_demand)."""
INTEREST = tuple(f"share_{kind}" for kind in KINDS)
CONTEXT = ("position",)
SOURCES = (
    {name: part.table for part in PARTS for name in part.features}
    # what is expected is made of tables that are made from it too
    | dict.fromkeys((*PAIR, EXPECTED), "silver.user_item_daily")
    | dict.fromkeys(INTEREST, "features.user_interests")
)
"""The table that each feature of `FEATURES` but the context is read from."""
FEATURES = (*[name for part in PARTS for name in part.features], *PAIR, EXPECTED, *INTEREST, *CONTEXT)


def inputs(lag: int = 0, days: int = 1) -> list[TableInput]:
    """The tables that ``assemble`` reads, for days that end ``lag`` before the built day."""
    tables = dict.fromkeys([*[part.table for part in PARTS], "features.user_interests"])
    return [
        *[TableInput(table, lag=lag, days=days) for table in tables],
        TableInput("silver.user_item_daily", lag=lag, days=PAIR_HORIZON + days - 1),
    ]


@dataclass(frozen=True)
class Known:
    """What was known at the end of a day: the frames of ``inputs``, by the arguments of ``build``.

    Raises
    ------
    ContractError
        A frame is missing, or there is one that is no input.
    """

    frames: Mapping[str, DataFrame]

    def __post_init__(self) -> None:
        expected = {each.argument for each in inputs()}
        if missing := expected - set(self.frames):
            raise ContractError(f"Ranking features lack the tables {sorted(missing)}.")
        if unknown := set(self.frames) - expected:
            raise ContractError(f"Ranking features are not made from {sorted(unknown)}; they read {sorted(expected)}.")

    def __getitem__(self, table: str) -> DataFrame:
        return self.frames[TableInput(table).argument]


def assemble(pairs: DataFrame, days: DayRange, known: Known) -> DataFrame:
    """Add the features to pairs.

    Parameters
    ----------
    pairs
        ``ds`` (the day at whose end things were known), ``user_id``, ``item_id``, ``position`` and any more.
    days
        The days that occur in ``pairs``.

    Returns
    -------
    DataFrame
        ``pairs`` with every column of ``FEATURES`` as FLOAT; unknown is null.
    """
    joined = pairs
    for part in _of("user_id"):
        joined = joined.join(part.frame(known), ["ds", "user_id"], "left")
    joined = (
        joined.join(_shares(known), ["ds", "user_id"], "left")
        .join(_items(known), ["ds", "item_id"], "left")
        .join(_history(pairs, days, known), ["ds", "user_id", "item_id"], "left")
    )
    share = {
        f"share_{kind}": F.coalesce(
            F.try_element_at("_shares", F.concat_ws(":", F.lit(kind), F.col(f"_{kind}"))), F.lit(0.0)
        )
        for kind in KINDS
    }
    # who never took anything is a stranger, whose past is known: none
    takings, of_all = (F.coalesce(F.col(c), F.lit(0)) for c in ("pair_takings", "history_targets"))
    # a history of a shorter horizon than the pair's has seen less than the pair alone
    of_all = F.greatest(of_all, takings)
    likely = {EXPECTED: expected_share(F.col("demand_share"), F.col("demand_shape"), takings, of_all)}
    kept = [c for c in pairs.columns if c not in FEATURES]
    return joined.withColumns(share | likely).select(*kept, *[F.col(c).cast("float").alias(c) for c in FEATURES])


def _of(key: str) -> list[Part]:
    return [part for part in PARTS if part.key == key]


def _items(known: Known) -> DataFrame:
    """Features of items and their creators, and what an item is by each kind of interest.

    Joined to each other first: there are many more pairs than items.
    """
    named = [
        F.col("category").alias("_category"),
        F.col("brand").alias("_brand"),
        F.col("creator_id").cast("string").alias("_creator"),
        price_band(F.col("price_minor")).alias("_price_band"),
    ]
    stats, *more = _of("item_id")
    found = stats.frame(known, "creator_id", *named)
    for part in (*more, *_of("creator_id")):
        found = found.join(part.frame(known), ["ds", part.key], "left")
    return found.drop("creator_id")


def _shares(known: Known) -> DataFrame:
    """Each user's interests as one map, of ``kind:value`` to share."""
    entry = F.struct(F.concat_ws(":", "kind", "value"), "share")
    return (
        known["features.user_interests"]
        .groupBy("ds", "user_id")
        .agg(F.map_from_entries(F.collect_list(entry)).alias("_shares"))
    )


def _history(pairs: DataFrame, days: DayRange, known: Known) -> DataFrame:
    """What the user did with the item before."""
    window = DayRange(days.first - dt.timedelta(days=PAIR_HORIZON - 1), days.last)
    past = known["silver.user_item_daily"].where(window.where()).withColumnRenamed("ds", "event_ds")
    asked = pairs.select("ds", "user_id", "item_id").distinct()
    age, lately, taken = F.col("age"), F.col("age") < LATELY, F.col("targets") > 0
    return (
        past.join(asked, ["user_id", "item_id"])
        .withColumn("age", F.datediff("ds", "event_ds"))
        .where(age.between(0, PAIR_HORIZON - 1))
        .groupBy("ds", "user_id", "item_id")
        .agg(
            F.round(F.sum(F.when(lately, F.col("strength") * decay(14.0))), 6).alias("pair_strength"),
            *[F.sum(F.when(lately, F.col(c))).alias(f"pair_{c}") for c in ("targets", "purchases", "impressions")],
            F.min(F.when(lately & (F.col("strength") > 0), age)).alias("pair_age_days"),
            F.sum("targets").alias("pair_takings"),
            F.count_if(taken).alias("pair_taken_days"),
            F.min(F.when(taken, age)).alias("pair_since_taken"),
        )
    )
