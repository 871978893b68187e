"""What only the simulator knows, kept apart from the landing zone; no job reads it.

``<truth>/<market>/``
    ``world.json``            configuration, click curve, weights, group effects
    ``users/part-*.parquet``  tastes, activity, churn; ``items.parquet`` latent vectors, quality, bait
    ``impressions/ds=…``      probability of the click of every showing
    ``planted.json``          planted faults by feed and arrival day
    ``carry/ds=…``            what goes on into the next day: rows not yet delivered, memories
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.errors import SettingsError
from jobs.simulator import behaviour, columns, people, policy
from jobs.simulator.actions import REFUND_RATE, REFUND_RATE_DISAPPOINTED
from jobs.simulator.behaviour import BlockDay
from jobs.simulator.config import WorldConfig
from jobs.simulator.memory import Memory
from jobs.simulator.people import Users
from jobs.simulator.vocabulary import CATEGORY_NAMES
from jobs.simulator.world import World

_WHY = ("late", "too_late", "duplicates", "refunds")


def world_of(truth: Path, market: str, **given: Any) -> WorldConfig:
    """The world of a market: what is given (``None`` is not), else what its truth says, else the defaults.

    Raises
    ------
    SettingsError
        What is given is not what the market's world was made with.
    """
    path = Path(truth) / market / "world.json"
    recorded = json.loads(path.read_text())["config"] if path.exists() else {}
    known = {field.name: recorded.get(field.name) for field in fields(WorldConfig)} | {"market": market}
    known |= {name: value for name, value in given.items() if value is not None}
    config = WorldConfig(**{name: value for name, value in known.items() if value is not None})
    if recorded:
        Truth(truth, config).open()
    return config


class Truth:
    """The truth folder of one world."""

    def __init__(self, truth: Path, config: WorldConfig) -> None:
        self.folder, self._config = Path(truth) / config.market, config

    def open(self) -> None:
        """Write the world's parameters, or make sure that the folder is of the same world.

        Raises
        ------
        SettingsError
            The folder belongs to a world with another configuration.
        """
        ours = {**asdict(self._config), "days": None}
        path = self.folder / "world.json"
        if path.exists():
            theirs = {**json.loads(path.read_text())["config"], "days": None}
            if differing := sorted(k for k in ours | theirs if ours.get(k) != theirs.get(k)):
                raise SettingsError(
                    f"{self.folder} is the truth of a world with other {', '.join(differing)}: use that "
                    f"configuration, or another market."
                )
            return
        _write_json(path, {"config": ours, **parameters()})

    def world(self, world: World) -> None:
        """Write items anew, and the users of blocks that are not there yet."""
        things = world.items
        _write_parquet(
            self.folder / "items.parquet",
            pa.table(
                {
                    "item_id": columns.item_ids(np.arange(len(things))),
                    "quality": things.quality,
                    "title_party": things.bait,
                    "appeal": things.appeal,
                    "latent": list(things.latent),
                    "category": columns.named(CATEGORY_NAMES, things.category),
                    "born_day": things.born,
                    "gone_day": things.gone,
                }
            ),
        )
        for block in world.blocks(world.last_day):
            path = self.folder / "users" / f"part-{block:05d}.parquet"
            if not path.exists():
                _write_parquet(path, user_table(world.users(block)))

    def impressions(self, day: BlockDay, ids: pa.Array) -> None:
        folder = self.folder / "impressions" / f"ds={self._config.date(day.sheet.day)}"
        _write_parquet(
            folder / f"part-{day.block:05d}.parquet",
            pa.table(
                {
                    "impression_id": ids,
                    "click_probability": day.shown.chance,
                    "relevance": day.shown.relevance,
                    "affinity": day.shown.affinity,
                    "satisfaction": day.satisfaction,
                }
            ),
        )

    def planted(self, day: int, counts: dict[str, Counter[str]], landed: dict[str, int]) -> None:
        """Add a day to ``planted.json``: ``{feed: {arrival day: {fault: rows}}}``."""
        path = self.folder / "planted.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        for feed, found in counts.items():
            entry = {name: count for name, count in sorted(found.items()) if count}
            known.setdefault(feed, {})[str(self._config.date(day))] = {**entry, "landed": landed[feed]}
        _write_json(path, known)

    def _carry(self, day: int) -> Path:
        return self.folder / "carry" / f"ds={self._config.date(day)}"

    def memory(self, day: int, block: int) -> Memory:
        """What a block remembers on the evening of a day; nothing where it had not joined."""
        path = self._carry(day) / f"memory-{block:05d}.parquet"
        return Memory.of(pq.read_table(path)) if path.exists() else Memory.empty()

    def save_memory(self, day: int, block: int, memory: Memory) -> None:
        _write_parquet(self._carry(day) / f"memory-{block:05d}.parquet", memory.table())

    def pending(self, day: int, feed: str) -> pa.Table:
        """Rows that are still to be delivered on the evening of a day, with ``_day`` and ``_why``.

        Raises
        ------
        SettingsError
            The day has not been simulated.
        """
        if day < 0:
            return waiting(columns.schema(feed).empty_table(), 0, _WHY[0])
        path = self._carry(day) / f"{feed}.parquet"
        if not path.exists():
            raise SettingsError(
                f"{self._config.date(day)} of market {self._config.market} has not been simulated: days follow "
                f"one another, start with it or before."
            )
        return pq.read_table(path)

    def save_pending(self, day: int, feed: str, rows: pa.Table) -> None:
        _write_parquet(self._carry(day) / f"{feed}.parquet", rows)


def waiting(rows: pa.Table, day: int, why: str) -> pa.Table:
    """Rows to be delivered on a day."""
    rows = rows.append_column("_day", pa.array(np.full(len(rows), day, dtype=np.int64)))
    return rows.append_column("_why", pa.array([why] * len(rows), pa.string()))


def due(rows: pa.Table, day: int) -> tuple[pa.Table, Counter[str], pa.Table]:
    """Split waiting rows into those due on a day, counted by reason, and the rest."""
    now = pc.equal(rows.column("_day"), day)
    ready = rows.filter(now)
    counts = Counter(ready.column("_why").to_pylist())
    return ready.drop_columns(["_day", "_why"]), counts, rows.filter(pc.invert(now))


def user_table(users: Users) -> pa.Table:
    """Tastes of a whole block, also of those yet to join, at both poles of their drift; see `jobs.simulator.people`."""
    top = np.argsort(-users.mix, axis=1, kind="stable")[:, :3]
    return pa.table(
        {
            "user_id": columns.user_ids(users.index),
            "joined_day": users.joined,
            "churn_day": users.churned,
            "pages_per_day": users.rate,
            "drift": users.drift,
            "thrift": users.thrift,
            "group_logit": users.group_logit,
            "home": list(users.home),
            "work": list(users.work),
            "top_categories": [[CATEGORY_NAMES[c] for c in row] for row in top],
            "category_mix": list(users.mix),
            "next_category_mix": list(users.next_mix),
            "latent": list(users.latent),
            "next_latent": list(users.next_latent),
        }
    )


def parameters() -> dict[str, object]:
    """Everything about the world that is a constant of the code."""
    return {
        "click": {
            "probability": "position^-examination_power * "
            "sigmoid(base + affinity + quality + bait + group + context + mood)",
            "examination_power": behaviour.EXAMINATION_POWER,
            "base": behaviour.BASE,
            "quality": behaviour.QUALITY_CLICK,
            "bait": behaviour.BAIT_CLICK,
            "context": behaviour.CONTEXT_LOGIT,
            "liked": behaviour.LIKED_MOOD,
            "disliked": behaviour.DISLIKED_MOOD,
            "bought": behaviour.BOUGHT_MOOD,
        },
        "affinity": {
            "category": people.CATEGORY_WEIGHT,
            "latent": people.LATENT_WEIGHT,
            "creator": people.CREATOR_WEIGHT,
            "brand": people.BRAND_WEIGHT,
            "price": people.PRICE_WEIGHT,
        },
        "policy": {"explore": policy.EXPLORE, "popular": policy.POPULAR},
        "refunds": {"rate": REFUND_RATE, "rate_disappointed": REFUND_RATE_DISAPPOINTED},
        "groups": {
            "gender_log_category_weight": people.GENDER_TILT,
            "under_25_log_category_weight": people.YOUNG_TILT,
            "from_45_log_category_weight": people.OLD_TILT,
            "region_click_logit": people.REGION_LOGIT,
            "age_click_logit": people.AGE_LOGIT,
        },
    }


def _write_parquet(path: Path, rows: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path, compression="zstd")


def _write_json(path: Path, body: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(body, indent=1, sort_keys=True))
    os.replace(partial, path)
