"""What the rules of a list see: users by candidates, as matrices, and the items that they point to.

A row is a user, a column one of their candidates in the ranker's order. Nothing here knows Spark.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from jobs.settings import BLOCK_DAYS

SCALE = 127
"""Vectors are kept as whole numbers, so that their products add up to the same in any order."""
NOBODY = -1
LOOK_BACK = BLOCK_DAYS
"""Days of what people did that rules see, the day of the lists included."""
_SPLIT = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


@dataclass(frozen=True)
class Shelf:
    """The items of a day, by position; ``columns`` are arrays of one length, codes where they were names.

    Parameters
    ----------
    ids
        int64, ascending.
    columns
        ``category``, ``creator``, ``topic``, ``regions`` as codes (-1: none); ``quality``, ``effort``, ``age_days``,
        ``age_limit`` (NaN: not known); ``on_offer``, ``long_tail``, ``novice``.
    names
        The names behind codes.
    vectors
        int8, shape ``(n, d)``: content vectors times `SCALE`; a zero row where an item has none.
    """

    ids: np.ndarray
    columns: Mapping[str, np.ndarray]
    names: Mapping[str, list[Any]]
    vectors: np.ndarray

    @classmethod
    def load(cls, folder: Path) -> Shelf:
        """The shelf of an artifact's folder (models.shelf); once a process, its name tells its content."""
        return _load(str(folder))

    def find(self, items: np.ndarray) -> np.ndarray:
        """Positions of items by key, -1 for an unknown one."""
        if not len(self.ids):
            return np.full(len(items), NOBODY)
        at = np.minimum(np.searchsorted(self.ids, items), len(self.ids) - 1)
        return np.where(self.ids[at] == items, at, NOBODY)


@lru_cache(maxsize=2)
def _load(folder: str) -> Shelf:
    rows = pq.read_table(Path(folder) / "items.parquet")
    columns, names = {}, {}
    for name in rows.column_names:
        column = rows[name].combine_chunks()
        if name in ("category", "creator", "topic", "regions"):
            coded = column.dictionary_encode()
            names[name] = coded.dictionary.to_pylist()
            columns[name] = coded.indices.fill_null(NOBODY).to_numpy(zero_copy_only=False).astype(np.int32)
        else:
            columns[name] = column.to_numpy(zero_copy_only=False)
    vectors = np.load(Path(folder) / "vectors.npy", mmap_mode="r", allow_pickle=False)
    return Shelf(columns.pop("item_id"), columns, names, vectors)


@dataclass(frozen=True)
class Touched:
    """What users did with items in the last days: arrays of one length, a row for user, item and day.

    ``user`` is a row of the pool, ``at`` a position on the shelf, ``age`` 0 for the pool's day; ``shown``,
    ``clicked`` and ``bought`` count, ``told`` is a refusal (`jobs.interactions.REFUSALS`), that it is saved, or empty.
    """

    user: np.ndarray
    at: np.ndarray
    age: np.ndarray
    shown: np.ndarray
    clicked: np.ndarray
    bought: np.ndarray
    told: np.ndarray

    def where(self, mask: np.ndarray) -> Touched:
        return Touched(*(getattr(self, name)[mask] for name in self.__dataclass_fields__))


@dataclass
class Pool:
    """The candidates of some users on one surface in one context.

    Parameters
    ----------
    day, context
        The day of the data; the context of these users.
    user_id
        int64, shape ``(u,)``.
    at, present
        Shape ``(u, c)``: position on the shelf; where there is a candidate.
    heads
        Name to float64 of shape ``(u, c)``: the ranker's heads, NaN where it has none.
    touched
        What these users did lately.
    region, least_age
        Shape ``(u,)``: region code of the shelf's names or text, None where not known; age in years, NaN.
    curated, injected
        Shape ``(u, c)``: boost of a curated entry for this list, NaN for any other candidate; where nothing but the
        curated pool led to a candidate, for whatever list.
    own
        Shape ``(u, c)``: the user took it before, and may again.
    barred
        Shape ``(u, c)``: only channels that the surface is without here led to it.
    signals
        float64, shape ``(u, s)``: what a policy of exploration decides on.
    evidence
        What is known of the arms of exploration, rows for `models.bandit.Evidence` with their ``context``.
    repeat_categories
        Of the market: bought items of these may return at once; ``("*",)`` is all.
    value, open
        Shape ``(u, c)``: the objective, which rules adjust; what rules left in.
    """

    day: dt.date
    context: str
    shelf: Shelf
    user_id: np.ndarray
    at: np.ndarray
    present: np.ndarray
    heads: Mapping[str, np.ndarray]
    touched: Touched
    region: np.ndarray
    least_age: np.ndarray
    curated: np.ndarray
    injected: np.ndarray
    own: np.ndarray
    barred: np.ndarray
    signals: np.ndarray
    evidence: Sequence[Mapping[str, Any]] = ()
    repeat_categories: tuple[str, ...] = ()
    value: np.ndarray = field(init=False)
    open: np.ndarray = field(init=False)
    _cache: dict[str, np.ndarray] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Undo what rules did, so that the pool can be reranked anew."""
        self.open, self.value, self._cache = self.present.copy(), np.zeros(self.at.shape), {}

    @property
    def shape(self) -> tuple[int, int]:
        return self.at.shape

    def of(self, name: str) -> np.ndarray:
        """A column of the shelf for every candidate, shape ``(u, c)``."""
        return self._kept(name, lambda: self.shelf.columns[name][self.at])

    def categories(self) -> np.ndarray:
        """Category of every candidate as a code, shape ``(u, c)``: those without one are of a category each."""
        known = self.of("category")
        return np.where(known >= 0, known, len(self.shelf.names["category"]) + np.arange(self.shape[1]))

    @property
    def free(self) -> np.ndarray:
        """Candidates that rules left in and that may stand at any place, shape ``(u, c)``."""
        return self.open & ~self.injected

    def variety(self) -> np.ndarray:
        """How many categories the free candidates are of, shape ``(u,)``."""
        codes = np.sort(np.where(self.free, self.categories(), NOBODY), axis=1)
        return (np.diff(codes, axis=1, prepend=NOBODY) > 0).sum(axis=1)

    def likeness(self, chosen: np.ndarray) -> np.ndarray:
        """Cosine of every candidate to each user's candidate number ``chosen``, shape ``(u, c)``."""
        vectors = self._kept("vectors", lambda: self.shelf.vectors[self.at].astype(np.float32))
        one = vectors[np.arange(len(chosen)), chosen]
        return (vectors @ one[:, :, None])[:, :, 0].astype(np.float64) / SCALE**2

    def length(self) -> np.ndarray:
        """Squared length of every candidate's vector, about 1, shape ``(u, c)``."""
        vectors = self._kept("vectors", lambda: self.shelf.vectors[self.at].astype(np.float32))
        return np.einsum("ucd,ucd->uc", vectors, vectors).astype(np.float64) / SCALE**2

    def counted(self, rows: Touched, count: np.ndarray) -> np.ndarray:
        """Sum of ``count`` over the rows of each user and candidate, shape ``(u, c)``."""
        total = np.zeros(self.shape, dtype=np.int64)
        keys, sums = _summed(rows.user * len(self.shelf.ids) + rows.at, count)
        if len(keys):
            wanted = np.arange(self.shape[0])[:, None] * len(self.shelf.ids) + self.at
            at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            total = np.where(self.present & (keys[at] == wanted), sums[at], 0)
        return total

    def drawn(self, purpose: int) -> np.ndarray:
        """A number in [0, 1) for each user, by user, day and purpose alone (SplitMix64; Steele et al., 2014)."""
        first, second, third = (np.uint64(n) for n in _SPLIT)
        with np.errstate(over="ignore"):
            mixed = self.user_id.astype(np.uint64) + first * np.uint64(self.day.toordinal() * 1009 + purpose)
            mixed = (mixed ^ (mixed >> np.uint64(30))) * second
            mixed = (mixed ^ (mixed >> np.uint64(27))) * third
        return ((mixed ^ (mixed >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2.0**53

    def _kept(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        if name not in self._cache:
            self._cache[name] = make()
        return self._cache[name]


def _summed(keys: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Different keys, ascending, with the sum of their counts."""
    found, inverse = np.unique(keys, return_inverse=True)
    return found, np.bincount(inverse, weights=count, minlength=len(found)).astype(np.int64)


def scaled(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Each row's present values brought to 0..1; 0 where they are missing, or all alike."""
    usable = present & np.isfinite(values)
    low = np.min(np.where(usable, values, np.inf), axis=1, initial=np.inf, keepdims=True)
    high = np.max(np.where(usable, values, -np.inf), axis=1, initial=-np.inf, keepdims=True)
    spread = np.where(high > low, high - low, 1.0)
    return np.where(usable & (high > low), (np.where(usable, values, 0) - np.where(high > low, low, 0)) / spread, 0.0)
