"""Showings with a planted truth: what a ranker must be able to find, and what another cannot see."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa

from models.ranking_features import FEATURES


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def showings(
    rng: np.random.Generator,
    user: np.ndarray,
    item: np.ndarray,
    click: np.ndarray,
    conversion: np.ndarray | None = None,
    recent: np.ndarray | None = None,
    dwell_s: np.ndarray | None = None,
    **features: np.ndarray,
) -> pa.Table:
    """Rows of ``training.examples`` drawn from chances; in order of user, as training reads them.

    Parameters
    ----------
    user, item, click, conversion
        Keys, and chances of a click and of a conversion after it, shape ``(rows,)``.
    recent
        Items of the user's sequence, newest first, shape ``(rows, length)``; 0 is none.
    dwell_s
        Seconds that a click lasts.
    """
    rows = len(user)
    clicked = (rng.random(rows) < click).astype(np.int32)
    after = np.zeros(rows) if conversion is None else conversion
    bought = (clicked & (rng.random(rows) < after)).astype(np.int32)
    seconds = np.zeros(rows) if dwell_s is None else dwell_s
    columns = {name: features.get(name, np.zeros(rows)).astype(np.float32) for name in FEATURES}
    past = [[] for _ in range(rows)] if recent is None else [[i for i in of if i] for of in recent.tolist()]
    table = pa.table(
        {
            "shown_ds": pa.array([dt.date(2024, 3, 1)] * rows),
            "user_id": user.astype(np.int64),
            "item_id": item.astype(np.int64),
            "label": clicked,
            "converted": bought,
            "dwell_ms": (1000 * seconds * clicked).astype(np.int64),
            "weight": np.ones(rows),
            "recent_items": pa.array(past, pa.list_(pa.int64())),
            **columns,
        }
    )
    return table.take(pa.array(np.argsort(user, kind="stable")))


def strengths(seed: int, rows: int = 3000, funnel: bool = True) -> pa.Table:
    """A click is likelier the stronger the user's past with the item; a conversion likelier on popular items."""
    rng = np.random.default_rng(seed)
    strength, popular = rng.uniform(0, 4, rows), rng.integers(0, 50, rows).astype(float)
    user = np.repeat(np.arange(rows // 12 + 1), 12)[:rows]
    return showings(
        rng,
        user,
        rng.integers(0, 200, rows),
        sigmoid(3 * strength - 6),
        0.2 + popular / 100 if funnel else None,
        recent=rng.integers(1, 200, (rows, 4)),
        dwell_s=5 + 10 * strength if funnel else None,
        pair_strength=strength,
        item_target_users_7d=popular,
    )


def interactions(seed: int, rows: int) -> pa.Table:
    """Users and items have a taste each: they meet or not. No user and no item is clicked more than another."""
    rng = np.random.default_rng(seed)
    user, item = rng.integers(0, 100, rows), rng.integers(0, 100, rows)
    meet = (user % 4) == (item % 4)
    return showings(rng, user, item, np.where(meet, 0.8, 0.1))


def histories(seed: int, rows: int) -> pa.Table:
    """An item is clicked by who did something with its kind before; every user is seen once."""
    rng = np.random.default_rng(seed)
    kind, item = rng.integers(0, 6, rows), rng.integers(1, 61, rows)
    recent = 6 * rng.integers(0, 10, (rows, 6)) + kind[:, None] + 1
    noise = rng.random((rows, 6)) < 0.3
    recent = np.where(noise, rng.integers(1, 61, (rows, 6)), recent)
    user = np.arange(rows) + 1_000_000 * seed
    return showings(rng, user, item, np.where((item - 1) % 6 == kind, 0.8, 0.1), recent=recent)


def turns(seed: int, rows: int) -> pa.Table:
    """A user has done two things of two kinds each, one after the other; an item is clicked if it is of the later."""
    rng = np.random.default_rng(seed)
    before, now = rng.permuted(np.tile(np.arange(6), (rows, 1)), axis=1)[:, :2].T
    # newest first
    kinds = np.where(np.arange(6) < 3, now[:, None], before[:, None])
    recent = 6 * rng.integers(0, 10, (rows, 6)) + kinds + 1
    kind = np.where(rng.random(rows) < 0.5, before, now)
    item = 6 * rng.integers(0, 10, rows) + kind + 1
    user = np.arange(rows) + 1_000_000 * seed
    return showings(rng, user, item, np.where(kind == now, 0.8, 0.1), recent=recent)


def lures(seed: int, rows: int, items: int = 100) -> tuple[pa.Table, np.ndarray]:
    """Some items lure, some are worth the time, and neither tells the other; only the item's key tells both.

    Returns
    -------
    table, ndarray
        The rows, and each one's true chance of a click of 30 seconds or more.
    """
    lure, worth = np.random.default_rng(98).normal(size=(2, items))
    rng = np.random.default_rng(seed)
    item = rng.integers(0, items, rows)
    click, seconds = sigmoid(2 * lure - 1)[item], (30 * np.exp(worth))[item]
    table = showings(rng, np.arange(rows) // 12, item, click, dwell_s=seconds)
    return table, np.where(seconds >= 30, click, 0)


def funnel(seed: int, rows: int, items: int = 2000) -> tuple[pa.Table, np.ndarray]:
    """Good items are clicked and bought more often; only the item's key tells.

    Returns
    -------
    table, ndarray
        The rows, and each one's true chance of a purchase once clicked.
    """
    worth = np.random.default_rng(99).normal(size=items)
    rng = np.random.default_rng(seed)
    item = rng.integers(0, items, rows)
    conversion = sigmoid(1.5 * worth - 1)
    order = np.arange(rows) // 12
    table = showings(rng, order, item, sigmoid(1.5 * worth - 2)[item], conversion[item])
    return table, conversion[item]
