"""No item again and again: what was shown several times in a short period rests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.pool import LOOK_BACK, Pool
from models.rules.rule import Rule, must


@dataclass(frozen=True)
class RepeatGuard(Rule):
    """An item that was shown ``times`` or more in ``days`` days rests, with ``unless_clicked`` only where the user
    did not once click it in these days: what somebody comes back to is not forced on them.
    """

    times: int = 3
    days: int = 3
    unless_clicked: bool = False

    def __post_init__(self) -> None:
        must(self.times >= 1, "repeat_guard", f"times is 1 or more, not {self.times}.")
        must(1 <= self.days <= LOOK_BACK, "repeat_guard", f"days is from 1 to {LOOK_BACK}, not {self.days}.")

    def removed(self, pool: Pool) -> Iterator[tuple[str, np.ndarray]]:
        recent = pool.touched.where((pool.touched.age < self.days) & (pool.touched.at >= 0))
        often = pool.counted(recent, recent.shown) >= self.times
        said = f"shown {self.times} times or more in {self.days} days"
        if self.unless_clicked:
            yield f"{said} without a click", often & (pool.counted(recent, recent.clicked) == 0)
        else:
            yield said, often


RULE = RepeatGuard
