"""Maximal marginal relevance: each place goes to what is relevant and unlike all that stands above it.

Carbonell and Goldstein (1998): ``relevance * value - (1 - relevance) * max cosine to what is placed``, on content
vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.pool import Pool
from models.rules.rule import Rule, Step, must
from models.surfaces import Surface


@dataclass(frozen=True)
class Mmr(Rule):
    """``relevance``: weight of the value against the likeness, from 0 to 1; 1 is the order of the values."""

    relevance: float = 0.9
    diversifies = True

    def __post_init__(self) -> None:
        must(0 <= self.relevance <= 1, "mmr", f"relevance is from 0 to 1, not {self.relevance}.")

    def step(self, pool: Pool, surface: Surface) -> Step:
        return _Marginal(pool, self.relevance)


class _Marginal(Step):
    def __init__(self, pool: Pool, relevance: float) -> None:
        self.pool, self.relevance = pool, relevance
        self.nearest = np.zeros(pool.shape)

    def value(self, place: int) -> np.ndarray:
        return self.relevance * self.pool.value - (1 - self.relevance) * self.nearest

    def placed(self, place: int, chosen: np.ndarray, slot_type: np.ndarray) -> None:
        likeness = np.where((chosen >= 0)[:, None], self.pool.likeness(chosen), 0.0)
        np.maximum(self.nearest, likeness, out=self.nearest)


RULE = Mmr
