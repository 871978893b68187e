"""How much a placed item resembles what its user lately looked at, saved or bought in the same category."""

from __future__ import annotations

import numpy as np

from jobs.interactions import SAVE
from models.pool import SCALE, Pool
from models.reranking import Lists


def style_match(pool: Pool, lists: Lists) -> tuple[np.ndarray, np.ndarray]:
    """Mean cosine of content vectors, and of how many items, for every place; NaN and 0 without any.

    Returns
    -------
    ndarray, ndarray
        Shape ``(u, places)``. An item is not held against itself.
    """
    match, count = np.full(lists.chosen.shape, np.nan), np.zeros(lists.chosen.shape, dtype=np.int32)
    touched = pool.touched
    did = touched.where((touched.at >= 0) & ((touched.clicked + touched.bought > 0) | (touched.told == SAVE)))
    ends = np.searchsorted(did.user, np.arange(pool.shape[0] + 1))
    category = pool.shelf.columns["category"]
    for user in np.flatnonzero(np.diff(ends)):
        known = np.unique(did.at[ends[user] : ends[user + 1]])
        placed = np.flatnonzero(lists.chosen[user] >= 0)
        items = pool.at[user, lists.chosen[user, placed]]
        same = (category[items][:, None] == category[known]) & (items[:, None] != known)
        products = pool.shelf.vectors[items].astype(np.float64) @ pool.shelf.vectors[known].astype(np.float64).T
        count[user, placed] = same.sum(axis=1)
        with np.errstate(invalid="ignore"):
            match[user, placed] = np.round((products * same).sum(axis=1) / same.sum(axis=1) / SCALE**2, 6)
    return match, count
