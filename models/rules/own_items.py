"""Places that go to what the user took before, so that lists differ where many would see the same bestsellers.

What a shop sells to everyone is the surest for each, and stands in every list. A place lower down for an item of one's
own costs little relevance and shows more of the catalogue (docs/benchmarks.md has both).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.pool import Pool
from models.rules.rule import Rule, Step, must_be_places
from models.surfaces import Surface


@dataclass(frozen=True)
class OwnItems(Rule):
    """``places``, from 1, that go to the best of the user's own candidates (channel ``own_history``) that is left."""

    places: tuple[int, ...] = (8, 9, 10)

    def __post_init__(self) -> None:
        must_be_places(self.places, "own_items")

    def step(self, pool: Pool, surface: Surface) -> Step:
        return _Kept(pool, self.places)


class _Kept(Step):
    why = "the place goes to an item that the user took before"

    def __init__(self, pool: Pool, places: tuple[int, ...]) -> None:
        self.left, self.places = pool.own & pool.open, places

    def holds_back(self, place: int) -> np.ndarray | None:
        if place + 1 not in self.places:
            return None
        return self.left.any(axis=1, keepdims=True) & ~self.left

    def placed(self, place: int, chosen: np.ndarray, slot_type: np.ndarray) -> None:
        rows = np.flatnonzero(chosen >= 0)
        self.left[rows, chosen[rows]] = False


RULE = OwnItems
