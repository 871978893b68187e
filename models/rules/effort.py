"""Lighter or deeper items, as the context asks: short ones on the way, long ones at the weekend."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.pool import Pool
from models.rules.rule import Rule, must

WAYS = ("lighter", "deeper", "any")


@dataclass(frozen=True)
class Effort(Rule):
    """``prefer`` lighter, deeper or any; ``weight`` of it beside the objective, which is from 0 to 1.

    The effort of an item is its place among the market's items by length, 0 the shortest; one without a length
    has 0.5 and is neither preferred nor put back.
    """

    prefer: str = "any"
    weight: float = 0.2

    def __post_init__(self) -> None:
        must(self.prefer in WAYS, "effort", f"prefer is one of {WAYS}, not {self.prefer!r}.")
        must(0 <= self.weight <= 1, "effort", f"weight is from 0 to 1, not {self.weight}.")

    def adjusted(self, pool: Pool) -> np.ndarray | None:
        if self.prefer == "any":
            return None
        more = pool.of("effort") - 0.5
        return pool.value + self.weight * (more if self.prefer == "deeper" else -more)


RULE = Effort
