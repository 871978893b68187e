"""Who is shown what: the logging policy and the released lists, with true propensities.

A slate is filled from the top. Two slots may be inserted: a curated item (uniform among the day's
entries) and an ad (uniform among the day's ads). They count as shown before the organic slots.

Logging policy. Each organic slot draws from one distribution over all items on offer,

    p(i) = e/N + m·pop(i) + b·q_u(i),    e + m + b = 1,

where ``N`` items are on offer, ``pop`` is proportional to appeal and ``q_u`` is a softmax of noisy
affinity over the person's pool of the day (zero outside of it; without consent to personalisation
``b`` is given to ``pop``). A draw that is in the slate already is skipped, so that the logged
propensity, given what stands in the slate before, is exactly

    p(i) / (1 - sum of p over the items shown before).

Released policy. A slot shows the next unseen item of the person's list with probability ``1 - e``
and otherwise an item drawn uniformly from those on offer and not yet shown:

    p(i) = (1 - e)·[i is next in the list] + e / (N - number shown before).

Where the list is used up, ``e`` is 1. In both, the propensity of an inserted item is one over the
number that it was drawn from, given that the slot is inserted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from jobs.errors import SettingsError

EXPLORE, POPULAR = 0.08, 0.30
CURATED_POSITION, AD_POSITION = 4, 8
CURATED_SHARE, AD_SHARE = 0.25, 0.35
SLOT_TYPES = ("organic", "exploration", "curated", "ad")
ORGANIC, EXPLORATION, CURATED, AD = range(4)
_SPARE_DRAWS = 6


@dataclass(frozen=True)
class Shelf:
    """What a policy may show on a day: items on offer, their popularity, curated entries and ads."""

    eligible: np.ndarray
    popularity: np.ndarray
    curated: np.ndarray
    ads: np.ndarray

    @property
    def cumulative(self) -> np.ndarray:
        return np.cumsum(self.popularity[self.eligible])


@dataclass(frozen=True)
class Pool:
    """Candidates of each person: ``items`` and their softmax ``q``, one row a person; no item has ``q`` twice."""

    items: np.ndarray
    q: np.ndarray
    personal: np.ndarray


@dataclass(frozen=True)
class Slates:
    """Shown items in order of request and position; ``slot`` indexes `SLOT_TYPES`."""

    request: np.ndarray
    item: np.ndarray
    position: np.ndarray
    slot: np.ndarray
    propensity: np.ndarray


def popularity(appeal: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Probability of each item under the popularity part of the logging policy."""
    # The sum is over the active alone: zeros of items still to come would change its rounding.
    return np.where(active, appeal, 0.0) / appeal[active].sum()


def inserted(rng: np.random.Generator, shelf: Shelf, takes_ads: np.ndarray) -> np.ndarray:
    """Curated item and ad of each request, -1 for none; an ad never repeats the curated item."""
    n = len(takes_ads)
    chance = rng.random((n, 4))
    found = np.full((n, 2), -1, dtype=np.int64)
    if len(shelf.curated):
        some = chance[:, 0] < CURATED_SHARE
        found[some, 0] = shelf.curated[(chance[some, 1] * len(shelf.curated)).astype(int)]
    if len(shelf.ads):
        some = takes_ads & (chance[:, 2] < AD_SHARE)
        found[some, 1] = shelf.ads[(chance[some, 3] * len(shelf.ads)).astype(int)]
    found[found[:, 0] == found[:, 1], 1] = -1
    return found


def _lay_out(
    organic: np.ndarray, keep: np.ndarray, slot: np.ndarray, propensity: np.ndarray, extra: np.ndarray, shelf: Shelf
) -> Slates:
    """Give positions to the kept organic items around the inserted ones, and flatten."""
    has_curated, has_ad = extra[:, :1] >= 0, extra[:, 1:] >= 0
    position = np.cumsum(keep, axis=1)
    position += has_curated & (position >= CURATED_POSITION)
    position += has_ad & (position >= AD_POSITION)
    shown = np.concatenate([extra >= 0, keep], axis=1)
    places = np.concatenate([np.tile((CURATED_POSITION, AD_POSITION), (len(extra), 1)), position], axis=1)
    kinds = np.concatenate([np.tile((CURATED, AD), (len(extra), 1)), slot], axis=1)
    uniform = 1 / np.maximum(1, [len(shelf.curated), len(shelf.ads)])
    chances = np.concatenate([np.tile(uniform, (len(extra), 1)), propensity], axis=1)
    items = np.concatenate([extra, organic], axis=1)
    row, column = np.nonzero(shown)
    order = np.lexsort((places[row, column], row))
    row, column = row[order], column[order]
    return Slates(row, items[row, column], places[row, column], kinds[row, column], chances[row, column])


def _room(extra: np.ndarray, slate: int) -> np.ndarray:
    return np.maximum(slate - (extra >= 0).sum(axis=1), 0)


def draw_logging(
    rng: np.random.Generator, shelf: Shelf, pool: Pool, person: np.ndarray, takes_ads: np.ndarray, slate: int
) -> Slates:
    """Slates of the logging policy; ``person`` is each request's row in the pool."""
    n, draws = len(person), slate + _SPARE_DRAWS
    extra = inserted(rng, shelf, takes_ads)
    personal = np.where(pool.personal[person], 1 - EXPLORE - POPULAR, 0.0)[:, None]
    part, chance = rng.random((n, draws)), rng.random((n, draws))
    cumulative = shelf.cumulative
    top = len(shelf.eligible) - 1
    explored, pooled = part < EXPLORE, part >= 1 - personal
    organic = shelf.eligible[np.minimum(np.searchsorted(cumulative, chance * cumulative[-1]), top)]
    organic[explored] = shelf.eligible[(chance[explored] * (top + 1)).astype(int)]
    row, column = np.nonzero(pooled)
    picked = row_draw(pool.q, person[row], chance[row, column])
    organic[row, column] = pool.items[person[row], picked]

    shown = np.concatenate([extra, organic], axis=1)
    p = EXPLORE / len(shelf.eligible) + (1 - EXPLORE - personal) * shelf.popularity[shown]
    p[row, column + 2] += personal[row, 0] * pool.q[person[row], picked]
    row, column = np.nonzero(np.concatenate([extra >= 0, ~pooled], axis=1))
    p[row, column] += personal[row, 0] * pool_share(pool, person[row], shown[row, column])

    fresh = shown >= 0
    for j in range(1, shown.shape[1]):
        fresh[:, j] &= ~(shown[:, :j] == shown[:, j : j + 1]).any(axis=1)
    mass = np.where(fresh, p, 0.0)
    before = np.cumsum(mass, axis=1) - mass
    keep = fresh[:, 2:] & (np.cumsum(fresh[:, 2:], axis=1) <= _room(extra, slate)[:, None])
    slot = np.where(explored, EXPLORATION, ORGANIC)
    return _lay_out(organic, keep, slot, np.minimum((p / (1 - before))[:, 2:], 1.0), extra, shelf)


def row_draw(shares: np.ndarray, row: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """A column for each ``chance``, drawn by the shares of its row; a column of share 0 is never drawn."""
    cumulative = np.cumsum(shares, axis=1)
    cumulative /= cumulative[:, -1:]
    width = shares.shape[1]
    flat = (cumulative + np.arange(len(shares))[:, None]).ravel()
    return np.minimum(np.searchsorted(flat, row + chance, side="right") - row * width, width - 1)


def pool_share(pool: Pool, person: np.ndarray, items: np.ndarray) -> np.ndarray:
    """``q`` of items for persons, 0 outside of the pool."""
    return np.where(pool.items[person] == items[:, None], pool.q[person], 0.0).sum(axis=1)


@dataclass(frozen=True)
class ReleasedLists:
    """Published lists that the next day's exposures follow.

    Parameters
    ----------
    lists
        Columns ``user_id``, ``rank``, ``item_id`` (original ids), ``surface``; optional ``release_id``,
        ``slot_type`` and any more. Only rows of surface ``feed`` are shown.
    fallback
        Columns ``segment``, ``rank``, ``item_id``: for people without a list.
    segment_of
        Segment by original user id; others are in ``default_segment``.
    explore
        Share of slots that are drawn uniformly.
    """

    lists: pd.DataFrame
    fallback: pd.DataFrame | None = None
    segment_of: Mapping[str, str] = field(default_factory=dict)
    default_segment: str = "all"
    explore: float = 0.05

    def __post_init__(self) -> None:
        if missing := {"user_id", "rank", "item_id"} - set(self.lists.columns):
            raise SettingsError(f"Released lists need the columns {sorted(missing)}; they have {list(self.lists)}.")
        if self.fallback is not None and (missing := {"segment", "rank", "item_id"} - set(self.fallback.columns)):
            raise SettingsError(f"Fallback lists need the columns {sorted(missing)}; they have {list(self.fallback)}.")
        if not 0 < self.explore <= 1:
            raise SettingsError(f"The share of exploration must be above 0 and at most 1, not {self.explore}.")

    @property
    def name(self) -> str:
        """Name in the impressions' ``policy``: ``released:<release_id>``."""
        ids = self.lists["release_id"].dropna().unique() if "release_id" in self.lists else ()
        return f"released:{ids[0]}" if len(ids) else "released"


@dataclass(frozen=True)
class Book:
    """Lists as flat arrays: row ``r`` of ``keys`` owns ``items[starts[r]:starts[r + 1]]``, in rank order."""

    keys: np.ndarray
    starts: np.ndarray
    items: np.ndarray
    slots: np.ndarray

    @classmethod
    def of(cls, frame: pd.DataFrame, key: str, active: np.ndarray) -> Book:
        """Build from a frame; items that are not on offer are left out, unknown ones refused."""
        if "surface" in frame:
            frame = frame[frame["surface"] == "feed"]
        number = pd.to_numeric(frame["item_id"].astype(str).str[1:], errors="coerce").fillna(-1).astype(np.int64)
        if len(unknown := frame["item_id"][(number < 0) | (number >= len(active))]):
            raise SettingsError(f"The lists name item {unknown.iloc[0]!r}, which this simulated world does not have.")
        kept = frame.assign(_item=number)[active[number.to_numpy()]].sort_values([key, "rank"], kind="stable")
        kept = kept.drop_duplicates([key, "_item"])
        keys, starts = np.unique(kept[key].to_numpy(dtype=str), return_index=True)
        kinds = kept["slot_type"] if "slot_type" in kept else pd.Series("organic", index=kept.index)
        slots = kinds.map({name: code for code, name in enumerate(SLOT_TYPES)}).fillna(ORGANIC).to_numpy(dtype=np.int64)
        return cls(keys, np.append(starts, len(kept)), kept["_item"].to_numpy(), slots)

    def find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Start and length of each key's list; length 0 where there is none."""
        if not len(self.keys):
            return np.zeros(len(keys), dtype=np.int64), np.zeros(len(keys), dtype=np.int64)
        row = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        found = self.keys[row] == keys
        return np.where(found, self.starts[row], 0), np.where(found, self.starts[row + 1] - self.starts[row], 0)


class ReleasedDay:
    """Released lists, made ready for the items on offer on one day."""

    def __init__(self, lists: ReleasedLists, active: np.ndarray) -> None:
        self._lists = lists
        own = Book.of(lists.lists, "user_id", active)
        if lists.fallback is None:
            other = Book(np.array([], dtype=str), np.zeros(1, dtype=np.int64), own.items[:0], own.slots[:0])
        else:
            other = Book.of(lists.fallback, "segment", active)
        self._own, self._other = own, other
        self._items = np.concatenate([own.items, other.items, [-1]])
        self._slots = np.concatenate([own.slots, other.slots, [ORGANIC]])

    def _lists_of(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        start, length = self._own.find(users)
        default = self._lists.default_segment
        segments = np.array([self._lists.segment_of.get(user, default) for user in users], dtype=str)
        other_start, other_length = self._other.find(segments)
        owns = length > 0
        return np.where(owns, start, other_start + len(self._own.items)), np.where(owns, length, other_length)

    def draw(
        self,
        rng: np.random.Generator,
        shelf: Shelf,
        users: np.ndarray,
        person: np.ndarray,
        page: np.ndarray,
        takes_ads: np.ndarray,
        slate: int,
    ) -> Slates:
        """Slates that follow the lists; page ``n`` of a day starts ``n`` slates down, and wraps around."""
        start, length = (values[person] for values in self._lists_of(users))
        extra = inserted(rng, shelf, takes_ads)
        n, e, total = len(person), self._lists.explore, len(shelf.eligible)
        shown = np.concatenate([extra, np.full((n, slate), -1)], axis=1)
        slot, propensity = np.full((n, slate), ORGANIC), np.zeros((n, slate))
        step, offset = np.zeros(n, dtype=np.int64), page * slate
        for k in range(slate):
            step, upcoming = self._next(step, offset, start, length, shown)
            listed = (step < length) & (rng.random(n) >= e)
            uniform = self._unseen(rng, shelf, shown)
            shown[:, k + 2] = np.where(listed, upcoming, uniform)
            place = np.where(listed, start + (offset + step) % np.maximum(length, 1), len(self._slots) - 1)
            slot[:, k] = np.where(listed, self._slots[place], EXPLORATION)
            rate = np.where(step < length, e, 1.0)
            is_next = (step < length) & (shown[:, k + 2] == upcoming)
            propensity[:, k] = rate / (total - (extra >= 0).sum(axis=1) - k) + (1 - rate) * is_next
        keep = np.arange(slate) < _room(extra, slate)[:, None]
        return _lay_out(shown[:, 2:], keep, slot, propensity, extra, shelf)

    def _next(
        self, step: np.ndarray, offset: np.ndarray, start: np.ndarray, length: np.ndarray, shown: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Move on to each list's next item that is not in the slate."""
        while True:
            place = np.where(step < length, start + (offset + step) % np.maximum(length, 1), len(self._items) - 1)
            upcoming = self._items[place]
            seen = (step < length) & (shown == upcoming[:, None]).any(axis=1)
            if not seen.any():
                return step, upcoming
            step = step + seen

    @staticmethod
    def _unseen(rng: np.random.Generator, shelf: Shelf, shown: np.ndarray) -> np.ndarray:
        """An item on offer for each row, uniform among those that the row does not show yet."""
        found = shelf.eligible[rng.integers(0, len(shelf.eligible), len(shown))]
        while (again := (shown == found[:, None]).any(axis=1)).any():
            found[again] = shelf.eligible[rng.integers(0, len(shelf.eligible), int(again.sum()))]
        return found
