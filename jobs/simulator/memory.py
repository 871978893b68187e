"""What people remember of the days before: the items that they clicked last, and how they liked them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

DEPTH = 6
_DAYS_KEPT = 14


@dataclass(frozen=True)
class Memory:
    """Clicked items by user, at most `DEPTH` each; ``mood`` is added to the logit of a next click."""

    user: np.ndarray
    item: np.ndarray
    day: np.ndarray
    mood: np.ndarray
    bought: np.ndarray

    @classmethod
    def empty(cls) -> Memory:
        none = np.zeros(0, dtype=np.int64)
        return cls(none, none, none, none.astype(np.float32), none.astype(bool))

    @classmethod
    def of(cls, table: pa.Table) -> Memory:
        return cls(*(table.column(name).to_numpy() for name in ("user", "item", "day", "mood", "bought")))

    def table(self) -> pa.Table:
        return pa.table(dict(vars(self)))

    def later(self, other: Memory) -> Memory:
        """Memory after the newer clicks of ``other``: the latest of each item, and the latest few of each user."""
        both = [np.concatenate([a, b]) for a, b in zip(vars(self).values(), vars(other).values(), strict=True)]
        user, item, day, mood, bought = both
        newest = np.zeros(len(user), dtype=bool)
        order = np.lexsort((np.arange(len(user)), item, user))
        newest[order] = np.r_[(user[order][1:] != user[order][:-1]) | (item[order][1:] != item[order][:-1]), True][
            : len(order)
        ]
        latest = day.max(initial=0)
        rows = np.flatnonzero(newest & (day > latest - _DAYS_KEPT))
        rows = rows[np.lexsort((-rows, -day[rows], user[rows]))]
        first = np.searchsorted(user[rows], user[rows])
        rows = rows[np.arange(len(rows)) - first < DEPTH]
        return Memory(user[rows], item[rows], day[rows], mood[rows], bought[rows])

    def rows_of(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Items, moods and purchases of users: matrices of `DEPTH` columns, item -1 where nothing is remembered."""
        items = np.full((len(users), DEPTH), -1, dtype=np.int64)
        mood = np.zeros((len(users), DEPTH), dtype=np.float32)
        bought = np.zeros((len(users), DEPTH), dtype=bool)
        if not len(self.user):
            return items, mood, bought
        start = np.searchsorted(self.user, users)
        for column in range(DEPTH):
            row = np.minimum(start + column, len(self.user) - 1)
            here = (start + column < len(self.user)) & (self.user[row] == users)
            items[here, column] = self.item[row[here]]
            mood[here, column] = self.mood[row[here]]
            bought[here, column] = self.bought[row[here]]
        return items, mood, bought
