"""Minimum distance: items of one category, creator or topic do not stand close to each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.pool import Pool
from models.rules.rule import Rule, Step, must
from models.surfaces import Surface

KINDS = ("category", "creator", "topic")
_FAR = -(10**6)


@dataclass(frozen=True)
class Distance(Rule):
    """Least difference of places of two items of one ``category``, ``creator`` or ``topic``; 1 is none at all."""

    category: int = 2
    creator: int = 3
    topic: int = 2

    def __post_init__(self) -> None:
        wanted = [getattr(self, kind) for kind in KINDS]
        must(all(n >= 1 for n in wanted), "distance", f"distances are 1 or more, not {wanted}.")

    def step(self, pool: Pool, surface: Surface) -> Step:
        return _Spacing(pool, {kind: getattr(self, kind) for kind in KINDS if getattr(self, kind) > 1})


class _Spacing(Step):
    why = "too close to another of its category, creator or topic"

    def __init__(self, pool: Pool, wanted: dict[str, int]) -> None:
        self.wanted = wanted
        self.codes = {kind: pool.of(kind) for kind in wanted}
        self.last = {kind: np.full(pool.shape, _FAR, dtype=np.int32) for kind in wanted}

    def holds_back(self, place: int) -> np.ndarray | None:
        close = None
        for kind, least in self.wanted.items():
            near = place - self.last[kind] < least
            close = near if close is None else close | near
        return close

    def placed(self, place: int, chosen: np.ndarray, slot_type: np.ndarray) -> None:
        rows = np.arange(len(chosen))
        for kind, codes in self.codes.items():
            one = codes[rows, chosen]
            same = (codes == one[:, None]) & ((one >= 0) & (chosen >= 0))[:, None]
            self.last[kind][same] = place


RULE = Distance
