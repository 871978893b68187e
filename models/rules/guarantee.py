"""Places that new creators and the long tail are sure of, as far as there are candidates.

It acts late: only when the places that are left are as many as are still owed, everything else waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.pool import Pool
from models.rules.rule import Rule, Step, must
from models.surfaces import Surface

KINDS = {"new_creators": "novice", "long_tail": "long_tail"}


@dataclass(frozen=True)
class Guarantee(Rule):
    """Least number of items in a list: by creators of stage novice, and outside the most shown (item_stats)."""

    new_creators: int = 1
    long_tail: int = 2

    def __post_init__(self) -> None:
        owed = [self.new_creators, self.long_tail]
        must(all(n >= 0 for n in owed), "guarantee", f"numbers are 0 or more, not {owed}.")

    def step(self, pool: Pool, surface: Surface) -> Step:
        return _Owing(pool, surface.places, {column: getattr(self, kind) for kind, column in KINDS.items()})


class _Owing(Step):
    why = "the last places are owed to new creators or the long tail"

    def __init__(self, pool: Pool, places: Sequence[int], owed: dict[str, int]) -> None:
        self.members = {column: pool.of(column) for column in owed}
        self.owed = {column: np.full(pool.shape[0], n) for column, n in owed.items()}
        self.places = places

    def holds_back(self, place: int) -> np.ndarray:
        wanted = np.zeros(next(iter(self.members.values())).shape, dtype=bool)
        for column, owed in self.owed.items():
            wanted |= self.members[column] & (owed > 0)[:, None]
        # places that are kept for ads are not to come
        late = sum(self.owed.values()) >= len([other for other in self.places if other >= place])
        return late[:, None] & ~wanted & (sum(self.owed.values()) > 0)[:, None]

    def placed(self, place: int, chosen: np.ndarray, slot_type: np.ndarray) -> None:
        rows = np.arange(len(chosen))
        for column, owed in self.owed.items():
            met = self.members[column][rows, chosen] & (chosen >= 0)
            self.owed[column] = np.maximum(owed - met, 0)


RULE = Guarantee
