"""What the user asked not to see (`jobs.interactions.REFUSALS`): an item, or all of a blocked author."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jobs.interactions import REFUSALS
from jobs.settings import BLOCK_DAYS
from models.pool import Pool
from models.rules.rule import Rule


@dataclass(frozen=True)
class NegativeFeedback(Rule):
    """No options: a refusal holds on every surface, for `BLOCK_DAYS` (`models.fused` takes it from the candidates)."""

    def removed(self, pool: Pool) -> Iterator[tuple[str, np.ndarray]]:
        recent = pool.touched.where((pool.touched.age < BLOCK_DAYS) & (pool.touched.at >= 0))
        for told in (each for each in REFUSALS if each != "block_author"):
            rows = recent.where(recent.told == told)
            yield f"the user said {told.replace('_', ' ')}", pool.counted(rows, np.ones(len(rows.at))) > 0
        blocked = recent.where(recent.told == "block_author")
        creator = pool.shelf.columns["creator"][blocked.at]
        pairs = (blocked.user * (1 << 32) + creator)[creator >= 0]
        wanted = np.arange(pool.shape[0])[:, None] * (1 << 32) + pool.of("creator")
        item_itself = pool.counted(blocked, np.ones(len(blocked.at))) > 0
        yield "the user blocked its author", np.isin(wanted, pairs) | item_itself


RULE = NegativeFeedback
