"""The hidden world of a seed: the same for every call, whichever days are landed by it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jobs.simulator.catalogue import Creators, Items, ItemState, item_state, make_creators, make_items, topic_centres
from jobs.simulator.config import Stream, WorldConfig
from jobs.simulator.people import Users, make_users

_CURATED_LASTS, _CURATED_AT_START = 6, 6
_CACHED_BLOCKS = 8


@dataclass(frozen=True)
class Campaign:
    """A sale of two days; ``announced``, ``starts`` and ``ends`` (exclusive) are days."""

    ident: str
    name: str
    kind: str
    segment: str | None
    announced: int
    starts: int
    ends: int


@dataclass(frozen=True)
class Curated:
    """An entry of operations; days as in `Campaign`."""

    ident: str
    item: int
    starts: int
    ends: int
    boost: float
    cap: int
    approver: str


class World:
    """People and things of one seed, up to a last day.

    What belongs to an earlier day does not depend on the last day, so that a world may be
    opened again with a later one.
    """

    def __init__(self, config: WorldConfig, last_day: int | None = None) -> None:
        self.config = config
        self.last_day = config.days - 1 if last_day is None else last_day
        self._blocks: dict[int, Users] = {}

    @cached_property
    def centres(self) -> np.ndarray:
        return topic_centres(self.config)

    @cached_property
    def creators(self) -> Creators:
        return make_creators(self.config)

    @cached_property
    def items(self) -> Items:
        return make_items(self.config, self.creators, self.centres, self.last_day)

    def item_state(self, day: int) -> ItemState:
        return item_state(self.config, self.items, day)

    def blocks(self, day: int) -> range:
        """Numbers of the blocks in which somebody has joined by ``day``."""
        return range(-(-self.config.user_count(day) // self.config.block))

    def users(self, block: int) -> Users:
        if block not in self._blocks:
            if len(self._blocks) >= _CACHED_BLOCKS:
                self._blocks.pop(next(iter(self._blocks)))
            self._blocks[block] = make_users(self.config, self.creators, self.centres, block)
        return self._blocks[block]

    def campaigns(self, day: int) -> list[Campaign]:
        """Campaigns announced by ``day``: one a week, three days ahead."""
        kinds = (("Double day", "sale", None), ("Spring clean", "sale", None), ("Welcome week", "newcomers", "new"))
        found = []
        for number in range(day // 7 + 1):
            starts = 4 + 7 * number
            if max(0, starts - 3) <= day:
                name, kind, segment = kinds[number % len(kinds)]
                found.append(
                    Campaign(
                        f"k{number:04d}",
                        f"{name} {number + 1}",
                        kind,
                        segment,
                        max(0, starts - 3),
                        starts,
                        starts + 2,
                    )
                )
        return found

    def curated(self, day: int) -> list[Curated]:
        """Entries made by ``day``: six on the first, then one a day, each for six days."""
        found = []
        for number in range(_CURATED_AT_START + day):
            rng = self.config.rng(Stream.CURATED, number)
            starts = max(0, number - _CURATED_AT_START + 1)
            found.append(
                Curated(
                    f"o{number:05d}",
                    int(rng.integers(0, self.config.items)),
                    starts,
                    starts + _CURATED_LASTS,
                    round(float(rng.uniform(1.0, 2.0)), 2),
                    int(rng.integers(1, 6)) * self.config.users // 10,
                    ("operations.lead", "content.desk")[int(rng.integers(0, 2))],
                )
            )
        return found
