"""What many users took, one row a user and no name: the neighbours of user-based collaborative filtering."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyspark.sql import DataFrame

from jobs.contract import Artifact, DayRange, TableInput
from models.preferences import HORIZON, collect

DAY_MS = 86_400_000


@dataclass(frozen=True)
class Params:
    """``recent`` items of a user count, each half as much after ``half_life_days``; who took fewer than
    ``min_length`` is nobody's neighbour; ``people`` at most are kept, the latest active ones.
    """

    recent: int = 50
    half_life_days: float = 30.0
    min_length: int = 3
    people: int = 50_000


CONTRACT = Artifact(
    name="models.crowd",
    group="fit",
    owner="candidates",
    description="The last 50 items of up to 50,000 users, without their keys, and how rare each item is: the users "
    "that user-based collaborative filtering compares with.",
    inputs=[TableInput("silver.user_item_daily", days=HORIZON)],
    every_days=7,
    fill_gap=True,
)


def build(user_item_daily: DataFrame, *, days: DayRange, params: Params, out: Path) -> dict[str, Any]:
    """Write ``ids.npy``, ``rarity.npy`` (a value an item) and ``crowd.npz`` (users x items, decayed by age)."""
    taken = collect(user_item_daily).latest(params.recent)
    length = np.bincount(taken.user_at, minlength=len(taken.users))
    newest = np.zeros(len(taken.users), np.int64)
    np.maximum.at(newest, taken.user_at, taken.last_ms)
    # lexsort's last key leads: those long enough, then the latest, then by key
    order = np.lexsort((taken.users, -newest, length < params.min_length))
    rows = np.sort(order[: min(params.people, int((length >= params.min_length).sum()))])
    age = (taken.last_ms.max(initial=0) - taken.last_ms) / DAY_MS
    crowd = taken.matrix(0.5 ** (age / params.half_life_days))[rows]
    # ln(users / users of the item): what everyone took says little of likeness
    rarity = np.log1p(len(taken.users) / np.maximum(np.bincount(taken.item_at, minlength=len(taken.items)), 1))
    np.save(out / "ids.npy", taken.items, allow_pickle=False)
    np.save(out / "rarity.npy", rarity.astype(np.float32), allow_pickle=False)
    sp.save_npz(out / "crowd.npz", crowd)
    return {"users": len(rows), "items": len(taken.items), "pairs": int(crowd.nnz)}


@dataclass(frozen=True)
class Crowd:
    """Sorted item ids, their rarity, what the crowd took (users x items), and the directions of its rows.

    Directions of users times those of the crowd are cosines in which rare items count more.
    """

    ids: np.ndarray
    rarity: np.ndarray
    taken: sp.csr_array
    directions: sp.csr_array


def directions_of(taken: sp.csr_array, rarity: np.ndarray) -> sp.csr_array:
    """Rows (users x items, 1 where taken) of the rarity of what was taken, of length 1; an empty row stays empty."""
    weighted = sp.csr_array(taken.sign().multiply(rarity))
    length = np.sqrt(weighted.multiply(weighted).sum(axis=1))
    scale = (1 / np.where(length == 0, 1, length)).astype(np.float32)
    return sp.csr_array(sp.diags_array(scale) @ weighted)


@lru_cache(maxsize=2)
def load(path: Path) -> Crowd:
    """A saved artifact; kept, because a worker is asked batch by batch."""
    ids, rarity = (np.load(path / name, allow_pickle=False) for name in ("ids.npy", "rarity.npy"))
    taken = sp.csr_array(sp.load_npz(path / "crowd.npz"))
    return Crowd(ids, rarity, taken, directions_of(taken, rarity))
