"""Whether what was bought or clicked may return: by category, as the market says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from jobs.settings import BLOCK_DAYS
from models.pool import LOOK_BACK, Pool
from models.rules.rule import Rule, must


@dataclass(frozen=True)
class Repeats(Rule):
    """``clicked_days`` by category that a clicked item stays away, ``"*"`` for every other category.

    A bought one does on every surface, for `BLOCK_DAYS`, but for the market's ``repeat_categories``.
    """

    clicked_days: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        days = list(self.clicked_days.values())
        fits = all(type(n) is int and 0 <= n <= LOOK_BACK for n in days)
        must(fits, "repeats", f"days are from 0 to {LOOK_BACK}, not {days}.")

    def removed(self, pool: Pool) -> Iterator[tuple[str, np.ndarray]]:
        touched = pool.touched.where(pool.touched.at >= 0)
        categories = pool.shelf.names["category"]
        bought = touched.where(touched.age < BLOCK_DAYS)
        free = pool.repeat_categories
        # one code more than there are names: items without a category have -1
        once = np.array([not ("*" in free or name in free) for name in [*categories, ""]])
        yield (
            f"bought in the last {BLOCK_DAYS} days",
            (pool.counted(bought, bought.bought) > 0) & once[pool.of("category")],
        )
        away = np.array([self.clicked_days.get(name, self.clicked_days.get("*", 0)) for name in [*categories, ""]])
        if away.any():
            category = pool.shelf.columns["category"][touched.at]
            clicked = touched.where(touched.age < away[category])
            yield "clicked lately, in a category that does not repeat", pool.counted(clicked, clicked.clicked) > 0


RULE = Repeats
