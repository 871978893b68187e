"""Item vectors by skip-gram with negative sampling on users' sequences, and clusters of them (item2vec)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyspark.sql import DataFrame

from jobs.contract import Artifact, DayRange, TableInput
from models.ann import Index, IndexParams, build_index, normalised
from models.preferences import HORIZON, Preferences, collect


@dataclass(frozen=True)
class Params:
    """How vectors are fitted.

    Parameters
    ----------
    dimensions, window, recent
        Length of a vector; steps between two items that are a pair; newest items of a user that count.
    epochs, batch, negatives, rate
        Passes over the pairs; pairs a step; negatives drawn for a pair; rate of Adagrad.
    pool
        Negatives of one step, which its pairs share: one matrix product instead of a draw a pair.
    clusters, min_items
        Number of clusters; with fewer items nothing is fitted.
    """

    dimensions: int = 32
    window: int = 5
    recent: int = 100
    epochs: int = 12
    batch: int = 4096
    negatives: int = 5
    rate: float = 0.1
    pool: int = 128
    clusters: int = 40
    min_items: int = 20
    seed: int = 7


CONTRACT = Artifact(
    name="models.item2vec",
    group="fit",
    owner="candidates",
    description="Item vectors by skip-gram with negative sampling over the order in which users took items in 90 "
    "days (Barkan and Koenigstein, 2016), k-means clusters of them, and an index.",
    inputs=[TableInput("silver.user_item_daily", days=HORIZON)],
    every_days=7,
    fill_gap=True,
    log="ops.index",
)


def build(user_item_daily: DataFrame, *, days: DayRange, params: Params, out: Path) -> dict[str, Any]:
    """Write the index's files, ``vectors.npy`` (unit, float32), ``clusters.npy`` and ``users.npy`` (int64, a row
    an item): its cluster, and how many users took it."""
    from threadpoolctl import threadpool_limits

    taken = collect(user_item_daily).latest(params.recent)
    ids = taken.items if len(taken.items) >= params.min_items else taken.items[:0]
    with threadpool_limits(1):
        vectors = normalised(fit(taken, params)) if len(ids) else np.zeros((0, params.dimensions), np.float32)
        clusters = cluster(vectors, params)
    np.save(out / "vectors.npy", vectors, allow_pickle=False)
    np.save(out / "clusters.npy", clusters, allow_pickle=False)
    np.save(out / "users.npy", np.bincount(taken.item_at, minlength=len(ids))[: len(ids)], allow_pickle=False)
    facts = build_index(ids, vectors, out, IndexParams(metric="cosine", seed=params.seed))
    return {**facts, "pairs": len(pairs_of(taken, params.window)), "clusters": int(clusters.max(initial=-1)) + 1}


def pairs_of(taken: Preferences, window: int) -> np.ndarray:
    """Pairs (item, item nearby) of users' sequences, both ways; int64, shape ``(pairs, 2)``."""
    order = np.lexsort((taken.item_at, taken.last_ms, taken.user_at))
    user, item = taken.user_at[order], taken.item_at[order]
    ahead = [
        np.stack([item[:-d], item[d:]], axis=1)[user[:-d] == user[d:]] for d in range(1, min(window, len(item) - 1) + 1)
    ]
    one_way = np.concatenate(ahead) if ahead else np.zeros((0, 2), np.int64)
    return np.concatenate([one_way, one_way[:, ::-1]])


def fit(taken: Preferences, params: Params) -> np.ndarray:
    r"""Vectors of the items, float32, shape ``(items, dimensions)``; reproducible on one thread.

    Minimises, over pairs :math:`(i, j)` and :math:`K` items :math:`n` drawn by count to the power 3/4,

    .. math:: -\log \sigma(u_i \cdot v_j) - \sum_n \log \sigma(-u_i \cdot v_n)

    Mikolov et al., Distributed representations of words and phrases and their compositionality, NIPS 2013.
    Vectorised over a step's pairs; a library for it would be one more dependency for sixty lines.
    """
    rng = np.random.default_rng(params.seed)
    pairs, n = pairs_of(taken, params.window), len(taken.items)
    inner = rng.normal(0, 0.1, (n, params.dimensions)).astype(np.float32)
    outer = np.zeros_like(inner)
    frequency = np.bincount(taken.item_at, minlength=n) ** 0.75
    steps = (np.full_like(inner, 1e-6), np.full_like(outer, 1e-6))
    for _ in range(params.epochs):
        mixed = pairs[rng.permutation(len(pairs))]
        for first in range(0, len(mixed), params.batch):
            centre, near = mixed[first : first + params.batch].T
            pool = rng.choice(n, params.pool, p=frequency / frequency.sum())
            _step(inner, outer, steps, (centre, near, pool), params)
    # what all vectors share says nothing of any (Mu and Viswanath, All-but-the-top, ICLR 2018)
    return inner - inner.mean(axis=0)


def _step(
    inner: np.ndarray,
    outer: np.ndarray,
    steps: tuple[np.ndarray, np.ndarray],
    drawn: tuple[np.ndarray, np.ndarray, np.ndarray],
    params: Params,
) -> None:
    """One step of Adagrad on a batch of pairs, in place."""
    centre, near, pool = drawn
    u, v, w = inner[centre], outer[near], outer[pool]
    positive = (sigmoid((u * v).sum(axis=1)) - 1)[:, None]
    negative = sigmoid(u @ w.T) * np.float32(params.negatives / len(pool))
    gradients = (
        gathered(centre, positive * v + negative @ w, len(inner)),
        gathered(near, positive * u, len(outer)) + gathered(pool, negative.T @ u, len(outer)),
    )
    for table, squared, gradient in zip((inner, outer), steps, gradients, strict=True):
        squared += gradient**2
        table -= params.rate * gradient / np.sqrt(squared)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def gathered(rows: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Sum ``values`` by their row in a table of ``n``."""
    return sp.csr_array((np.ones(len(rows), np.float32), (rows, np.arange(len(rows)))), shape=(n, len(rows))) @ values


def cluster(vectors: np.ndarray, params: Params) -> np.ndarray:
    """The k-means cluster of each vector, int64."""
    from sklearn.cluster import KMeans

    if not len(vectors):
        return np.zeros(0, np.int64)
    k = min(params.clusters, max(1, len(vectors) // 5))
    return KMeans(k, n_init=2, max_iter=50, random_state=params.seed).fit_predict(vectors).astype(np.int64)


@dataclass(frozen=True)
class ItemSpace:
    """A fitted space: sorted item ids with their unit vectors, clusters and numbers of users, and its index."""

    ids: np.ndarray
    vectors: np.ndarray
    clusters: np.ndarray
    users: np.ndarray
    index: Index

    @property
    def centroids(self) -> np.ndarray:
        """Unit vector of each cluster, shape ``(clusters, dimensions)``."""
        return normalised(gathered(self.clusters, self.vectors, int(self.clusters.max(initial=-1)) + 1))


@lru_cache(maxsize=2)
def load(path: Path) -> ItemSpace:
    """A saved artifact; kept, because a worker is asked batch by batch."""
    made = {name: np.load(path / f"{name}.npy", allow_pickle=False) for name in ("ids", "vectors", "clusters", "users")}
    return ItemSpace(index=Index.load(path), **made)
