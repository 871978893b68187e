"""A list is not of one category: at most a share of it, and a ceiling where it cannot be filled otherwise.

Both are parts of the rows that the list has. Which that will be is known before anything is placed: as many as the
candidates fill without any category above its ceiling of just these rows. Two relaxations:

- A place for which only categories remain that have their share takes the best of them, up to the ceiling.
- Candidates of too few categories for any ceiling (two at 40 or 50 %) share the list evenly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.pool import Pool
from models.rules.rule import Rule, Step, must
from models.surfaces import Surface


@dataclass(frozen=True)
class CategoryShare(Rule):
    """``share`` and ``ceiling``: parts of the list's rows, from 0 to 1."""

    share: float = 0.30
    ceiling: float = 0.40

    def __post_init__(self) -> None:
        ordered = 0 < self.share <= self.ceiling <= 1
        must(ordered, "category_share", f"0 < share <= ceiling <= 1, not {self.share} and {self.ceiling}.")

    def step(self, pool: Pool, surface: Surface) -> Step:
        return _Counting(pool, self.share, self.ceiling, len(surface.places))


def most_of(part: float | np.ndarray, rows: int | np.ndarray) -> np.ndarray:
    """Items of one category that are at most a part of so many rows, and always one."""
    # 0.3 * 20 is 5.999… in floating point
    return np.maximum(1, np.floor(part * rows + 1e-9)).astype(int)


def most_under(ceiling: float, rows: int | np.ndarray, variety: np.ndarray) -> np.ndarray:
    """Items of one category that so many rows may have, by user: an even share where that reaches the ceiling."""
    return np.where(1 / variety >= ceiling, -(-rows // variety), most_of(ceiling, rows))


def fillable(counts: np.ndarray, ceiling: float, variety: np.ndarray, places: int) -> np.ndarray:
    """The most rows, up to ``places``, that a user's categories fill without any above the ceiling of these rows.

    Parameters
    ----------
    counts, variety
        Candidates by user and category, shape ``(u, k)``; categories with any, at least 1, shape ``(u,)``.
    """
    rows = np.zeros(len(counts), dtype=int)
    for n in range(places, 0, -1):
        enough = np.minimum(counts, most_under(ceiling, n, variety)[:, None]).sum(axis=1) >= n
        rows = np.where((rows == 0) & enough, n, rows)
        if rows.all():
            break
    return rows


class _Counting(Step):
    why = "its category has its part of the list"

    def __init__(self, pool: Pool, share: float, ceiling: float, places: int) -> None:
        self.category = pool.categories()
        users, codes = np.arange(pool.shape[0])[:, None], int(self.category.max()) + 1
        keys = (users * codes + self.category)[pool.free]
        counts = np.bincount(keys, minlength=len(users) * codes).reshape(len(users), codes)
        variety = np.maximum(pool.variety(), 1)
        # whoever has curated candidates alone gets one
        self.rows = np.maximum(fillable(counts, ceiling, variety, places), 1)
        self.cap = most_of(share, self.rows)[:, None]
        self.ceiling = most_under(ceiling, self.rows, variety)[:, None]
        self.count, self.filled = np.zeros(pool.shape, dtype=np.int16), np.zeros(len(users), dtype=int)

    def holds_back(self, place: int) -> np.ndarray:
        return self.count >= self.cap

    def forbids(self, place: int) -> np.ndarray:
        return (self.count >= self.ceiling) | (self.filled >= self.rows)[:, None]

    def placed(self, place: int, chosen: np.ndarray, slot_type: np.ndarray) -> None:
        rows = np.arange(len(chosen))
        same = self.category == self.category[rows, chosen][:, None]
        self.count += same & (chosen >= 0)[:, None]
        self.filled += chosen >= 0


RULE = CategoryShare
