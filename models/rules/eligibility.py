"""What may be shown at all: on offer, allowed in the user's region and at their age, and not curated for others.

What operations inject may stand in the lists that its entry is for alone: its surface's, and not beyond its cap.
A restriction needs proof, as in `models.eligibility`: who has no known region or age is not shown what is
restricted by it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.pool import Pool
from models.rules.rule import Rule


@dataclass(frozen=True)
class Eligibility(Rule):
    """No options: it is the law."""

    def removed(self, pool: Pool) -> Iterator[tuple[str, np.ndarray]]:
        yield "not on offer", ~pool.of("on_offer")
        yield "not for the user's region", ~_here(pool)
        limit = pool.of("age_limit")
        # a comparison with NaN, an age that is not known, is false
        yield "not for the user's age", (limit > 0) & ~(pool.least_age[:, None] >= limit)
        yield "curated for other lists", pool.injected & np.isnan(pool.curated)


def _here(pool: Pool) -> np.ndarray:
    """Where the item has no regions, or the user's is one of them."""
    allowed = [set(regions.split("|")) for regions in pool.shelf.names["regions"]]
    regions, of_user = np.unique([str(region or "") for region in pool.region], return_inverse=True)
    # the last column is for items without regions, whose code is -1
    table = np.array([[bool(region) and region in each for each in allowed] + [True] for region in regions])
    return table[of_user[:, None], pool.of("regions")]


RULE = Eligibility
