"""A list is not of one category: at most a share of it, and a ceiling where it cannot be filled otherwise.

The relaxation: a place for which only categories remain that have their share takes the best of them, up to the
ceiling. A list that the ceiling leaves short stays short.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.pool import Pool
from models.rules.rule import Rule, Step, must
from models.surfaces import Surface


@dataclass(frozen=True)
class CategoryShare(Rule):
    """``share`` and ``ceiling``: parts of the list's length, from 0 to 1."""

    share: float = 0.30
    ceiling: float = 0.40

    def __post_init__(self) -> None:
        ordered = 0 < self.share <= self.ceiling <= 1
        must(ordered, "category_share", f"0 < share <= ceiling <= 1, not {self.share} and {self.ceiling}.")

    def step(self, pool: Pool, surface: Surface) -> Step:
        # 0.3 * 20 is 5.999… in floating point
        return _Counting(pool, *(max(1, int(part * surface.length + 1e-9)) for part in (self.share, self.ceiling)))


class _Counting(Step):
    def __init__(self, pool: Pool, cap: int, ceiling: int) -> None:
        self.category, self.count = pool.of("category"), np.zeros(pool.shape, dtype=np.int16)
        self.cap, self.ceiling = cap, ceiling
        self.why = f"{cap} of its category are placed"

    def holds_back(self, place: int) -> np.ndarray:
        return self.count >= self.cap

    def forbids(self, place: int) -> np.ndarray:
        return self.count >= self.ceiling

    def placed(self, place: int, chosen: np.ndarray, slot_type: np.ndarray) -> None:
        rows = np.arange(len(chosen))
        same = self.category == self.category[rows, chosen][:, None]
        # items without a category are of no common one
        self.count += same & (self.category >= 0) & (chosen >= 0)[:, None]


RULE = CategoryShare
