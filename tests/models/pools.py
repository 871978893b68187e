"""Pools by hand: a shelf of a few items and users who have all of them as candidates."""

from __future__ import annotations

import datetime as dt

import numpy as np

from models.pool import SCALE, Pool, Shelf, Touched

DAY = dt.date(2024, 3, 10)
PLAIN = {
    "category": "c",
    "creator": None,
    "topic": None,
    "regions": None,
    "quality": 0.5,
    "effort": 0.5,
    "age_days": 100.0,
    "age_limit": 0,
    "on_offer": True,
    "long_tail": False,
    "novice": False,
}
CODED = ("category", "creator", "topic", "regions")


def shelf(items: list[dict], vectors=None) -> Shelf:
    """Items 0, 1, 2 … with `PLAIN` for what they do not say; vectors are all different by default."""
    columns, names = {}, {}
    for name, plain in PLAIN.items():
        values = [item.get(name, plain) for item in items]
        if name in CODED:
            names[name] = sorted({v for v in values if v is not None}, key=str)
            columns[name] = np.array([-1 if v is None else names[name].index(v) for v in values], dtype=np.int32)
        else:
            columns[name] = np.array(values)
    rows = np.eye(len(items)) if vectors is None else np.asarray(vectors, dtype=float)
    return Shelf(np.arange(len(items)), columns, names, np.rint(rows * SCALE).astype(np.int8))


def touched(*rows: dict) -> Touched:
    """Rows with ``user``, ``at`` and any of the counts."""
    plain = {"user": 0, "at": 0, "age": 0, "shown": 0, "clicked": 0, "bought": 0, "told": ""}
    return Touched(
        *(np.array([row.get(k, v) for row in rows], dtype=type(v) if v != "" else object) for k, v in plain.items())
    )


def pool(items: list[dict] | Shelf, users: int = 1, scores=None, vectors=None, did=(), **more) -> Pool:
    """Users whose candidates are all items in their order; scores fall evenly from 1 by default."""
    of = items if isinstance(items, Shelf) else shelf(items, vectors)
    n = len(of.ids)
    fall = np.linspace(1, 0, n) if scores is None else np.asarray(scores, dtype=float)
    nothing = np.full((users, n), np.nan)
    given = {
        "region": np.full(users, None, dtype=object),
        "least_age": np.full(users, np.nan),
        "curated": nothing.copy(),
        "injected": np.zeros((users, n), dtype=bool),
        "own": np.zeros((users, n), dtype=bool),
        "barred": np.zeros((users, n), dtype=bool),
        "signals": np.ones((users, 1)),
        **more,
    }
    return Pool(
        day=DAY,
        context=given.pop("context", "usual"),
        shelf=of,
        user_id=np.arange(users) + 1,
        at=np.tile(np.arange(n), (users, 1)),
        present=np.ones((users, n), dtype=bool),
        heads={
            name: np.tile(fall, (users, 1)) if name == "score" else nothing
            for name in ("score", "pctr", "pcvr", "relevance")
        },
        touched=touched(*did),
        **given,
    )
