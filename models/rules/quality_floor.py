"""Nothing below a quality: an item of which nothing is known has the market's mean and passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.pool import Pool
from models.rules.rule import Rule, must


@dataclass(frozen=True)
class QualityFloor(Rule):
    """``floor`` of the item's quality (features.item_stats), from 0 to 1."""

    floor: float = 0.2

    def __post_init__(self) -> None:
        must(0 <= self.floor <= 1, "quality_floor", f"floor is from 0 to 1, not {self.floor}.")

    def removed(self, pool: Pool) -> Iterator[tuple[str, np.ndarray]]:
        # a comparison with NaN, a quality that is not known, is false
        yield f"quality below {self.floor:g}", pool.of("quality") < self.floor


RULE = QualityFloor
