"""The planted faults of delivery: rows that come late, come twice or come damaged.

Damaged rows are extra rows with ids of their own: what is left after cleaning is exactly what
happened. The counts of every fault are kept by feed and arrival day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.simulator import columns
from jobs.simulator.config import WorldConfig

FEEDS = ("impressions", "events", "orders")
LATE_SHARES = (0.6, 0.25, 0.15)
TOO_LATE_DAYS = (4, 7)
_FUTURE_DAYS = 400
NOT_UTF8 = b"\xff\xfe\xfa"
NOT_UTF8_MARK = "NOTUTF8"

Damage = Callable[[dict[str, pa.Array]], None]


@dataclass
class Delivery:
    """One feed's rows of a block and day, by when and how they are delivered.

    ``later`` holds ``(days until delivery, why, rows)`` with why one of late, too_late, duplicates;
    ``damaged`` holds rows by kind of damage.
    """

    on_time: pa.Table
    later: list[tuple[int, str, pa.Table]] = field(default_factory=list)
    damaged: dict[str, pa.Table] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)


def deliver(rng: np.random.Generator, config: WorldConfig, feed: str, rows: pa.Table) -> Delivery:
    """Spread a feed's rows over arrival days, repeat some, and add damaged ones."""
    if feed not in FEEDS or not len(rows):
        return Delivery(rows, counts=Counter(clean=len(rows)))
    n, chance = len(rows), rng.random(len(rows))
    late = chance < config.late_rate
    too_late = ~late & (chance < config.late_rate + config.too_late_rate)
    twice = ~late & ~too_late & (rng.random(n) < config.duplicate_rate)
    wait = np.where(
        late,
        rng.choice(len(LATE_SHARES), n, p=LATE_SHARES) + 1,
        np.where(too_late, rng.integers(TOO_LATE_DAYS[0], TOO_LATE_DAYS[1] + 1, n), 0),
    )
    next_day = twice & (rng.random(n) < 0.5)
    same_day = twice & ~next_day
    on_time = np.flatnonzero(wait == 0)
    order = np.sort(np.concatenate([on_time, np.flatnonzero(same_day)]), kind="stable")
    found = Delivery(rows.take(pa.array(order)))
    found.counts.update(clean=len(on_time), duplicates=int(same_day.sum()))
    for days in range(1, TOO_LATE_DAYS[1] + 1):
        for why, chosen in (("late", late), ("too_late", too_late)):
            if len(here := np.flatnonzero(chosen & (wait == days))):
                found.later.append((days, why, rows.take(pa.array(here))))
    if next_day.any():
        found.later.append((1, "duplicates", rows.take(pa.array(np.flatnonzero(next_day)))))
    _damage(rng, config, feed, rows, found)
    return found


def _damage(rng: np.random.Generator, config: WorldConfig, feed: str, rows: pa.Table, found: Delivery) -> None:
    victims = np.flatnonzero(rng.random(len(rows)) < config.corrupt_rate)
    kinds = rng.integers(0, len(DAMAGES[feed]), len(victims))
    for number, (kind, damage) in enumerate(DAMAGES[feed].items()):
        chosen = rows.take(pa.array(victims[kinds == number]))
        if not len(chosen):
            continue
        values = {name: chosen.column(name).combine_chunks() for name in chosen.column_names}
        key = chosen.column_names[0]
        values[key] = pc.binary_join_element_wise(values[key], "x", "-")
        damage(values)
        found.damaged[kind] = columns.table(feed, values)
        found.counts[f"corrupt.{kind}"] = len(chosen)


def _constant(name: str, value: object) -> Damage:
    def damage(values: dict[str, pa.Array]) -> None:
        values[name] = pa.array([value] * len(values[name]), values[name].type)

    return damage


def _negative(name: str) -> Damage:
    def damage(values: dict[str, pa.Array]) -> None:
        values[name] = pc.negate(pc.add(values[name], 1))

    return damage


def _future(values: dict[str, pa.Array]) -> None:
    moments = pc.utf8_replace_slice(values["at"], 23, 24, "").cast(pa.timestamp("ms"))
    values["at"] = columns.instants(moments.cast(pa.int64()).to_numpy() + _FUTURE_DAYS * 86_400_000)


def _unreadable(values: dict[str, pa.Array]) -> None:
    """The line is cut in half when it is written."""


def _foreign_bytes(values: dict[str, pa.Array]) -> None:
    _constant("action", "search")(values)
    _constant("query", NOT_UTF8_MARK)(values)


DAMAGES: dict[str, dict[str, Damage]] = {
    "impressions": {
        "missing_user": _constant("user_id", None),
        "future_time": _future,
        "bad_position": _constant("position", 0),
        "bad_propensity": _constant("propensity", 1.7),
    },
    "events": {
        "unparseable": _unreadable,
        "unknown_action": _constant("action", "teleport"),
        "missing_user": _constant("user_id", None),
        "future_time": _future,
        "not_utf8": _foreign_bytes,
    },
    "orders": {
        "negative_amount": _negative("amount_minor"),
        "unknown_kind": _constant("kind", "gift"),
        "missing_user": _constant("user_id", None),
        "future_time": _future,
    },
}
