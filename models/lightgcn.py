"""Item vectors by LightGCN: embeddings spread over the graph of users and items, fitted by pairs (BPR)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyspark.sql import DataFrame

from jobs.contract import Artifact, DayRange, TableInput
from models.ann import Index, IndexParams, build_index
from models.item2vec import gathered, sigmoid
from models.preferences import HORIZON, Preferences, collect


@dataclass(frozen=True)
class Params:
    """How vectors are fitted.

    Parameters
    ----------
    dimensions, layers, recent
        Length of a vector; times that it is spread over the graph; newest items of a user that count.
    steps, batch, rate, regularization
        Steps of Adam; pairs a step; its rate; weight of the squared vectors of a step's pairs.
    min_items
        With fewer items nothing is fitted.
    """

    dimensions: int = 32
    layers: int = 2
    recent: int = 100
    steps: int = 300
    batch: int = 8192
    rate: float = 0.02
    regularization: float = 1e-3
    min_items: int = 20
    seed: int = 7


CONTRACT = Artifact(
    name="models.lightgcn",
    group="fit",
    owner="candidates",
    description="Item vectors by LightGCN (He et al., 2020) on the graph of users and the items that they took in 90 "
    "days, and an index. Users are folded in from their sequence by one more spread.",
    inputs=[TableInput("silver.user_item_daily", days=HORIZON)],
    every_days=7,
    fill_gap=True,
    log="ops.index",
)


def build(user_item_daily: DataFrame, *, days: DayRange, params: Params, out: Path) -> dict[str, Any]:
    """Write the index's files and ``vectors.npy`` and ``pull.npy`` (float32, a row an item)."""
    from threadpoolctl import threadpool_limits

    taken = collect(user_item_daily).latest(params.recent)
    ids = taken.items if len(taken.items) >= params.min_items else taken.items[:0]
    vectors = np.zeros((0, params.dimensions), np.float32)
    if len(ids):
        with threadpool_limits(1):
            vectors = fit(taken, params)
    degree = np.bincount(taken.item_at, minlength=len(ids))[: len(ids)]
    np.save(out / "vectors.npy", vectors, allow_pickle=False)
    np.save(out / "pull.npy", vectors / np.sqrt(np.maximum(degree, 1))[:, None].astype(np.float32), allow_pickle=False)
    facts = build_index(ids, vectors, out, IndexParams(metric="inner_product", seed=params.seed))
    return {**facts, "users": len(taken.users), "edges": len(taken)}


def graph(taken: Preferences) -> sp.csr_array:
    """Edges of users and items by ``1 / sqrt(degree x degree)``, users first; square and symmetric."""
    users, items = taken.shape
    of_user, of_item = np.bincount(taken.user_at, minlength=users), np.bincount(taken.item_at, minlength=items)
    weight = 1 / np.sqrt(of_user[taken.user_at] * of_item[taken.item_at])
    one_way = taken.matrix(weight)
    return sp.csr_array(sp.block_array([[None, one_way], [one_way.T, None]], format="csr", dtype=np.float32))


def spread_over(edges: sp.csr_array, vectors: np.ndarray, layers: int) -> np.ndarray:
    """Mean of the vectors of layers 0 to ``layers``, each the one before spread over the edges."""
    total, layer = vectors.copy(), vectors
    for _ in range(layers):
        layer = edges @ layer
        total += layer
    return total / (layers + 1)


def fit(taken: Preferences, params: Params) -> np.ndarray:
    r"""Vectors of the items, float32, shape ``(items, dimensions)``; reproducible on one thread.

    Minimises, over pairs (user, item taken) and an item :math:`j` drawn evenly,

    .. math:: -\log \sigma(e_u \cdot e_i - e_u \cdot e_j), \quad e = \frac{1}{L+1} \sum_{l=0}^{L} A^l e^{(0)}

    He et al., LightGCN, SIGIR 2020. The spread is linear and symmetric, so the gradient of the first layer is the
    spread of the last one's.
    """
    rng = np.random.default_rng(params.seed)
    edges, (users, items) = graph(taken), taken.shape
    base = rng.normal(0, 0.1, (users + items, params.dimensions)).astype(np.float32)
    mean, square = np.zeros_like(base), np.zeros_like(base)
    for step in range(1, params.steps + 1):
        some = rng.integers(0, len(taken), min(params.batch, len(taken)))
        drawn = taken.user_at[some], users + taken.item_at[some], users + rng.integers(0, items, len(some))
        gradient = _gradient(base, edges, drawn, params)
        mean += 0.1 * (gradient - mean)
        square += 0.001 * (gradient**2 - square)
        base -= params.rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return spread_over(edges, base, params.layers)[users:].astype(np.float32)


def _gradient(
    base: np.ndarray, edges: sp.csr_array, drawn: tuple[np.ndarray, np.ndarray, np.ndarray], params: Params
) -> np.ndarray:
    user, liked, other = drawn
    made = spread_over(edges, base, params.layers)
    u, i, j = made[user], made[liked], made[other]
    pull = (sigmoid((u * (i - j)).sum(axis=1)) - 1)[:, None] / len(user)
    rows, n = np.concatenate([user, liked, other]), len(base)
    of_last = gathered(rows, np.concatenate([pull * (i - j), pull * u, -pull * u]), n)
    of_first = gathered(rows, base[rows], n) * np.float32(2 * params.regularization / len(user))
    return spread_over(edges, of_last, params.layers) + of_first


@dataclass(frozen=True)
class GraphSpace:
    """A fitted space: sorted item ids, what each adds to a user who took it, and its index."""

    ids: np.ndarray
    pull: np.ndarray
    index: Index

    def fold_in(self, taken: sp.csr_array) -> np.ndarray:
        """Vectors of users from the items that they took (users x items, 1 where taken), float32."""
        many = np.maximum(taken.sum(axis=1), 1)
        return np.asarray((taken @ self.pull) / np.sqrt(many)[:, None], dtype=np.float32)


@lru_cache(maxsize=2)
def load(path: Path) -> GraphSpace:
    """A saved artifact; kept, because a worker is asked batch by batch."""
    ids, pull = (np.load(path / name, allow_pickle=False) for name in ("ids.npy", "pull.npy"))
    return GraphSpace(ids, pull, Index.load(path))
