"""Channels in numpy over users' last items: all of them in one pass of Spark's Python workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from pyspark.sql import DataFrame

from models.ann import Index
from models.channels.channel import AUDITED_DEPTH, Call, Channel

RESULT = "ds date, channel string, user_id bigint, item_id bigint, score double, seed_item_id bigint"
BLOCK = 1_000
"""Users worked on at once."""
DENSE_BYTES = 32 << 20
"""Scores that a search holds at once, whatever the number of items; sorting them takes four times as much."""
SPARE = 20
"""Candidates of a user beyond those that are kept: some are not eligible."""
LONGEST = AUDITED_DEPTH + SPARE
"""Candidates that a search looks for a user, beside the user's own items."""


@dataclass(frozen=True)
class Users:
    """Users with their last items, newest first.

    Parameters
    ----------
    starts
        int64, shape ``(n + 1,)``: the items of user ``u`` are ``items[starts[u]:starts[u + 1]]``.
    items, strengths, last_ms
        Item keys, summed strengths and times of the last action; one entry an item.
    """

    starts: np.ndarray
    items: np.ndarray
    strengths: np.ndarray
    last_ms: np.ndarray

    @classmethod
    def of(cls, batch: pa.RecordBatch) -> Users:
        """From rows of ``features.user_sequence``."""
        lists = batch.column("items")
        starts = np.r_[0, np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))].astype(np.int64)
        flat = [batch.column(name).flatten().to_numpy(zero_copy_only=False) for name in ("strengths", "last_ms")]
        return cls(starts, lists.flatten().to_numpy(zero_copy_only=False), *flat)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def owner(self) -> np.ndarray:
        """The user of each entry."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @property
    def step(self) -> np.ndarray:
        """How many newer items the user has, of each entry."""
        return np.arange(len(self.items)) - self.starts[self.owner]

    @property
    def longest(self) -> int:
        """Items of the user who has most."""
        return int(np.diff(self.starts).max(initial=0))

    def weights(self, step_decay: float) -> np.ndarray:
        """What each entry counts: ``ln(1 + strength)``, and ``step_decay`` as much for every step back."""
        return np.log1p(self.strengths) * step_decay**self.step

    def in_last_session(self, gap_ms: int) -> np.ndarray:
        """True for the entries after which no gap of more than ``gap_ms`` lies."""
        waited = np.r_[0, -np.diff(self.last_ms)]
        gaps = np.cumsum((waited > gap_ms) & (self.step > 0))
        return gaps == np.r_[gaps, 0][self.starts[:-1]][self.owner]

    def kept(self, some: np.ndarray) -> Users:
        """The same users with the entries that the boolean mask keeps."""
        starts = np.r_[0, np.cumsum(np.bincount(self.owner[some], minlength=len(self)))]
        return replace(
            self, starts=starts, items=self.items[some], strengths=self.strengths[some], last_ms=self.last_ms[some]
        )

    def matrix(self, ids: np.ndarray, weights: np.ndarray) -> sp.csr_array:
        """``weights`` of the entries as users x ``ids`` (sorted); items that are not among them are left out."""
        at, known = locate(ids, self.items)
        cells = (weights[known].astype(np.float32), (self.owner[known], at[known]))
        return sp.csr_array(cells, shape=(len(self), len(ids)))


@dataclass(frozen=True)
class Found:
    """Candidates: the user's place in the batch, item key, score, and the item that led to it (0: none)."""

    user_at: np.ndarray
    items: np.ndarray
    scores: np.ndarray
    seeds: np.ndarray | None = None

    @classmethod
    def nothing(cls) -> Found:
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


def recall(calls: Sequence[Call]) -> DataFrame:
    """Candidates of the channels, from one pass over ``features.user_sequence``."""
    searches = [
        (call.channel, partial(call.declared.functions["search"], **call.arguments("search"))) for call in calls
    ]
    users = calls[0].inputs["user_sequence"].select("ds", "user_id", "items", "strengths", "last_ms", "audited")
    return users.mapInArrow(searcher(searches), RESULT)


def searcher(searches: Sequence[tuple[Channel, Callable[[Users], Found]]]) -> Callable:
    """A function for ``mapInArrow``: sequences in, candidates of every channel out, the users' own items left out."""

    def search(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for first in range(0, batch.num_rows, BLOCK):
                block = batch.slice(first, BLOCK)
                users, audited = Users.of(block), block.column("audited").to_numpy(zero_copy_only=False)
                for channel, function in searches:
                    kept = np.where(audited, LONGEST, channel.depth + SPARE)
                    yield _as_rows(channel.name, block, best(new_to_them(function(users), users), kept))

    return search


def new_to_them(found: Found, users: Users) -> Found:
    """The candidates that are none of the user's own items."""
    ids, at = np.unique(np.concatenate([users.items, found.items]), return_inverse=True)
    own, of_item = at[: len(users.items)], at[len(users.items) :]
    new = ~np.isin(found.user_at * len(ids) + of_item, users.owner * len(ids) + own)
    seeds = None if found.seeds is None else found.seeds[new]
    return Found(found.user_at[new], found.items[new], found.scores[new], seeds)


def _as_rows(name: str, block: pa.RecordBatch, found: Found) -> pa.RecordBatch:
    at, n = pa.array(found.user_at), len(found.items)
    seeds = pa.nulls(n, pa.int64()) if found.seeds is None else pa.array(found.seeds, mask=found.seeds == 0)
    return pa.RecordBatch.from_arrays(
        [
            block.column("ds").take(at),
            pa.array([name] * n, pa.string()),
            block.column("user_id").take(at),
            pa.array(found.items),
            pa.array(np.round(found.scores.astype(np.float64), 5)),
            seeds,
        ],
        names=["ds", "channel", "user_id", "item_id", "score", "seed_item_id"],
    )


# -- what searches share -------------------------------------------------------------------------


def locate(ids: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of ``wanted`` in the sorted ``ids``, and which of them are there."""
    if not len(ids):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    at = np.searchsorted(ids, wanted).clip(max=len(ids) - 1)
    return at, ids[at] == wanted


@lru_cache(maxsize=2)
def index_at(path: Path) -> Index:
    """A saved index; kept, because a worker is asked batch by batch."""
    return Index.load(path)


def nearest(index: Index, vectors: np.ndarray, users: Users, k: int = LONGEST) -> Found:
    """The ``k`` items nearest to each user's vector, beside the user's own; a user at the origin gets none."""
    found, scores = index.search(vectors, k + users.longest)
    user_at, column = np.nonzero(np.isfinite(scores) & vectors.any(axis=1, keepdims=True))
    return Found(user_at, found[user_at, column], scores[user_at, column])


def top(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the ``k`` greatest positive scores of each row; of equal ones the first columns."""
    k = min(k, scores.shape[1])
    if k == 0 or not len(scores):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rounded = np.round(scores, 5)
    least = -np.partition(-rounded, k - 1, axis=1)[:, k - 1 : k]
    row, column = np.nonzero((rounded >= least) & (rounded > 0))
    order = np.lexsort((column, -rounded[row, column], row))
    row, column = row[order], column[order]
    place = np.arange(len(row)) - np.searchsorted(row, row)
    return row[place < k], column[place < k]


def top_of_product(
    left: np.ndarray | sp.csr_array, right: np.ndarray | sp.sparray, k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and values of the `top` ``k`` of ``left @ right``, of which `DENSE_BYTES` are made at once.

    Dense ones are multiplied in doubles: the sixth digit of a product of floats depends on who else is in the batch.
    """
    right = right if sp.issparse(right) else right.astype(float)
    rows, parts = max(1, DENSE_BYTES // (8 * max(1, right.shape[1]))), []
    for first in range(0, max(1, left.shape[0]), rows):
        block = left[first : first + rows] @ right
        scores = block.toarray() if sp.issparse(block) else block
        row, column = top(scores, k)
        parts.append((first + row, column, scores[row, column]))
    row, column, value = (np.concatenate(part) for part in zip(*parts, strict=True))
    return row, column, value


def led_to(users: Users, weights: np.ndarray, ids: np.ndarray, graph: sp.csr_array) -> Found:
    """What the users' items lead to: the sum of weight times the graph's value over the items that lead there.

    Parameters
    ----------
    weights
        One an entry of ``users``.
    ids, graph
        Sorted item ids, and the matrix from item to item.

    Returns
    -------
    Found
        With the item that adds most as seed, of several the newest.
    """
    at, known = locate(ids, users.items)
    row, own = at[known], np.flatnonzero(known)
    many = np.diff(graph.indptr)[row]
    entry = np.repeat(own, many)
    cell = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many) + np.repeat(graph.indptr[row], many)
    user, item = users.owner[entry], graph.indices[cell].astype(np.int64)
    part = graph.data[cell] * weights[entry]
    if not len(part):
        return Found.nothing()
    pair = user * len(ids) + item
    order = np.argsort(pair, kind="stable")
    pair, part = pair[order], part[order]
    starts = np.flatnonzero(np.r_[True, np.diff(pair) != 0])
    seeds = users.items[entry[order[_first_greatest(part, starts)]]]
    return Found(pair[starts] // len(ids), ids[pair[starts] % len(ids)], np.add.reduceat(part, starts), seeds)


def _first_greatest(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Place of the greatest value of each run, the first of equal ones; runs begin at ``starts``."""
    greatest = np.repeat(np.maximum.reduceat(values, starts), np.diff(np.r_[starts, len(values)]))
    place = np.where(values == greatest, np.arange(len(values)), len(values))
    return np.minimum.reduceat(place, starts)


def best(found: Found, kept: np.ndarray) -> Found:
    """The best candidates of each user in order, ``kept`` of each (one number a user)."""
    order = np.lexsort((found.items, -np.round(found.scores, 5), found.user_at))
    user = found.user_at[order]
    some = order[np.arange(len(order)) - np.searchsorted(user, user) < kept[user]]
    seeds = None if found.seeds is None else found.seeds[some]
    return Found(found.user_at[some], found.items[some], found.scores[some], seeds)


def best_of_pairs(found: Found) -> Found:
    """Each pair of user and item once, with its greatest score and the seed of that."""
    order = np.lexsort((found.seeds, -np.round(found.scores, 5), found.items, found.user_at))
    user, item = found.user_at[order], found.items[order]
    first = np.r_[True, (np.diff(user) != 0) | (np.diff(item) != 0)] if len(order) else np.zeros(0, bool)
    some = order[first]
    return Found(found.user_at[some], found.items[some], found.scores[some], found.seeds[some])
