"""Topics of items by latent Dirichlet allocation: users are the documents, the items that they took the words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyspark.sql import DataFrame

from jobs.contract import Artifact, DayRange, TableInput
from models.preferences import HORIZON, Preferences, collect


@dataclass(frozen=True)
class Params:
    """``topics`` and ``sweeps`` of the fit; ``recent`` items of a user count; below ``min_items`` none is fitted."""

    topics: int = 20
    sweeps: int = 10
    recent: int = 100
    min_items: int = 20
    seed: int = 7


CONTRACT = Artifact(
    name="models.topics",
    group="fit",
    owner="candidates",
    description="Topics of items by latent Dirichlet allocation (Hoffman et al., 2010): users of 90 days are the "
    "documents, the items that they took the words.",
    inputs=[TableInput("silver.user_item_daily", days=HORIZON)],
    every_days=7,
    fill_gap=True,
)


def build(user_item_daily: DataFrame, *, days: DayRange, params: Params, out: Path) -> dict[str, Any]:
    """Write ``ids.npy`` and ``share.npy`` (float32, topics x items: the part that an item has of a topic)."""
    from threadpoolctl import threadpool_limits

    taken = collect(user_item_daily).latest(params.recent)
    ids = taken.items if len(taken.items) >= params.min_items else taken.items[:0]
    share = np.zeros((params.topics, 0), np.float32)
    if len(ids):
        with threadpool_limits(1):
            share = fit(taken, params)
    np.save(out / "ids.npy", ids, allow_pickle=False)
    np.save(out / "share.npy", share, allow_pickle=False)
    return {"users": len(taken.users), "items": len(ids), "topics": params.topics}


def fit(taken: Preferences, params: Params) -> np.ndarray:
    """Share of each topic that each item has, float32, shape ``(topics, items)``; rows add up to 1."""
    from sklearn.decomposition import LatentDirichletAllocation

    model = LatentDirichletAllocation(
        params.topics, learning_method="online", max_iter=params.sweeps, random_state=params.seed, n_jobs=1
    )
    parts = model.fit(sp.csr_matrix(taken.matrix(np.ones(len(taken))))).components_
    return (parts / parts.sum(axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Topics:
    """Sorted item ids and the shares of topics that they have."""

    ids: np.ndarray
    share: np.ndarray

    def mixture(self, taken: sp.csr_array) -> np.ndarray:
        """Topics of users by the items that they took (users x items): each item counts for the topics it is of."""
        of_item = self.share / np.maximum(self.share.sum(axis=0), 1e-12)
        mixed = np.asarray(taken @ of_item.T, dtype=np.float32)
        return mixed / np.maximum(mixed.sum(axis=1, keepdims=True), 1e-12)


@lru_cache(maxsize=2)
def load(path: Path) -> Topics:
    """A saved artifact; kept, because a worker is asked batch by batch."""
    return Topics(*(np.load(path / name, allow_pickle=False) for name in ("ids.npy", "share.npy")))
