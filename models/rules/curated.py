"""Places for what operations want shown (silver.curated): the entry with the largest boost first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.pool import Pool
from models.rules.rule import Rule, Step, Taken, must_be_places
from models.surfaces import Surface


@dataclass(frozen=True)
class Curated(Rule):
    """``places``, from 1, that go to the curated candidate with the largest boost. Elsewhere one that a channel
    found as well competes as any other does, and is organic there; what operations alone put in is not shown there.
    """

    places: tuple[int, ...] = (4,)

    def __post_init__(self) -> None:
        must_be_places(self.places, "curated")

    def step(self, pool: Pool, surface: Surface) -> Step | None:
        return _Slots(pool, self.places) if np.isfinite(pool.curated).any() else None


class _Slots(Step):
    why = "only operations put it in, at the places for that"

    def __init__(self, pool: Pool, places: tuple[int, ...]) -> None:
        self.boost, self.injected, self.places, self.value_of = pool.curated, pool.injected, places, pool.value

    def forbids(self, place: int) -> np.ndarray | None:
        return None if place + 1 in self.places else self.injected

    def takes(self, place: int, allowed: np.ndarray) -> Taken | None:
        if place + 1 not in self.places:
            return None
        usable = allowed & np.isfinite(self.boost)
        boost = np.where(usable, self.boost, -np.inf)
        best = usable & (boost == boost.max(axis=1, keepdims=True))
        chosen = np.where(best, self.value_of, -np.inf).argmax(axis=1)
        found = np.where(usable.any(axis=1), chosen, -1)
        why = np.full(len(found), "curated by operations", dtype=object)
        return Taken(found, "curated", np.full(len(found), np.nan), why)


RULE = Curated
