"""Determinantal point process: the list whose items are relevant and span the most.

Greedy MAP inference of Chen, Zhang and Zhou (2018), with their trade-off: a place goes to the largest
``relevance * value + (1 - relevance) * log d²``, where d² is what the candidate adds to the determinant of the
content vectors' Gram matrix. It has a rank: where nothing adds to it any more, the best value follows (back-fill).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.pool import Pool
from models.rules.rule import Rule, Step, must
from models.surfaces import Surface

NOTHING = 1e-6
_BEHIND = -1e6


@dataclass(frozen=True)
class Dpp(Rule):
    """``relevance``: weight of the value against what an item adds, from 0 to 1."""

    relevance: float = 0.9
    diversifies = True

    def __post_init__(self) -> None:
        must(0 <= self.relevance <= 1, "dpp", f"relevance is from 0 to 1, not {self.relevance}.")

    def step(self, pool: Pool, surface: Surface) -> Step:
        return _Greedy(pool, self.relevance, surface.length)


class _Greedy(Step):
    """``factor``: rows of the incremental Cholesky factor, shape ``(u, placed, c)``; ``added``: d², ``(u, c)``."""

    def __init__(self, pool: Pool, relevance: float, length: int) -> None:
        self.pool, self.relevance, self.count = pool, relevance, 0
        self.added = pool.length()
        self.factor = np.zeros((pool.shape[0], length, pool.shape[1]))

    def value(self, place: int) -> np.ndarray:
        adds = self.added > NOTHING
        gain = np.log(np.where(adds, self.added, 1.0))
        marginal = self.relevance * self.pool.value + (1 - self.relevance) * gain
        return np.where(adds, marginal, _BEHIND + self.pool.value)

    def placed(self, place: int, chosen: np.ndarray, slot_type: np.ndarray) -> None:
        rows = np.arange(len(chosen))
        own = self.added[rows, chosen]
        counts = (chosen >= 0) & (own > NOTHING)
        before = self.factor[:, : self.count]
        shared = np.einsum("uk,ukc->uc", before[rows, :, chosen], before)
        row = (self.pool.likeness(chosen) - shared) / np.sqrt(np.where(counts, own, 1.0))[:, None]
        row = np.where(counts[:, None], row, 0.0)
        self.factor[:, self.count] = row
        self.added = self.added - row * row
        self.added[rows[counts], chosen[counts]] = 0.0
        self.count += 1


RULE = Dpp
