"""Who liked what, as arrays: what every model of users and items is fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

HORIZON = 90


@dataclass(frozen=True)
class Preferences:
    """Pairs of user and item, ordered by user and item.

    Parameters
    ----------
    users, items
        Sorted keys, int64.
    user_at, item_at
        Places in them, one a pair.
    strength, last_ms
        Summed strength of the actions, above 0, and time of the last one; one a pair.
    """

    users: np.ndarray
    items: np.ndarray
    user_at: np.ndarray
    item_at: np.ndarray
    strength: np.ndarray
    last_ms: np.ndarray

    def __len__(self) -> int:
        return len(self.strength)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.users), len(self.items)

    def latest(self, n: int) -> Preferences:
        """The ``n`` newest pairs of each user: heavy users then weigh no more than others."""
        order = np.lexsort((self.item_at, -self.last_ms, self.user_at))
        place = np.arange(len(order)) - np.searchsorted(self.user_at, self.user_at[order])
        some = np.sort(order[place < n])
        cut = (each[some] for each in (self.user_at, self.item_at, self.strength, self.last_ms))
        return Preferences(self.users, self.items, *cut)

    def matrix(self, values: np.ndarray) -> sp.csr_array:
        """``values``, one a pair, as users x items."""
        return sp.csr_array((values.astype(np.float32), (self.user_at, self.item_at)), shape=self.shape)


def summed(user_item_daily: DataFrame) -> DataFrame:
    """``user_id, item_id, strength, last_ms`` over the days of ``silver.user_item_daily``, positive ones only."""
    return (
        user_item_daily.where("strength > 0")
        .groupBy("user_id", "item_id")
        .agg(F.round(F.sum("strength"), 4).alias("strength"), F.max("last_ms").alias("last_ms"))
    )


def collect(user_item_daily: DataFrame) -> Preferences:
    """The pairs of ``silver.user_item_daily``, brought here."""
    pairs = summed(user_item_daily).orderBy("user_id", "item_id").toArrow()
    users, user_at = np.unique(pairs["user_id"].to_numpy(), return_inverse=True)
    items, item_at = np.unique(pairs["item_id"].to_numpy(), return_inverse=True)
    return Preferences(users, items, user_at, item_at, pairs["strength"].to_numpy(), pairs["last_ms"].to_numpy())
