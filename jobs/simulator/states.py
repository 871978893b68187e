"""The state feeds: everything on the first day, then only rows that are new or have changed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from jobs.landing import SURFACES
from jobs.simulator import columns
from jobs.simulator.catalogue import DISTRICTS, REGIONS, STAGES, ItemState
from jobs.simulator.config import DAY_MS
from jobs.simulator.people import AGE_BANDS, DEVICES, GENDERS, INCOME_BANDS, LANGUAGES, Users
from jobs.simulator.vocabulary import BRAND_NAMES, BRANDS_PER_CATEGORY, CATEGORY_NAMES, CONTENT_TYPES, TOPICS
from jobs.simulator.world import World

CREATOR_GROWTH = 0.03
_HOUSES = ("Studio", "Daily", "Maker", "Club")


def users(people: Users, day: int) -> pa.Table:
    """Who joined (on the first day: everyone so far) or changed device on the day."""
    changed = (people.joined == day) | ((people.device_day == day) & (people.joined <= day))
    some = people.take(np.flatnonzero(changed))
    return columns.table(
        "users",
        {
            "user_id": columns.user_ids(some.index),
            "registered_at": columns.instants(some.registered_ms),
            "birth_year": columns.whole(np.where(some.tells_birth, some.birth_year, -1)),
            "age_band": columns.named(AGE_BANDS, some.age_band),
            "gender": columns.named(GENDERS, some.gender),
            "income_band": columns.named(INCOME_BANDS, some.income),
            "region": columns.named(REGIONS, some.region),
            "city_tier": some.tier,
            "device": columns.named(DEVICES, some.device_on(day)),
            "language": columns.named(LANGUAGES, some.language),
        },
    )


def consent(world: World, people: Users, day: int) -> pa.Table:
    """Answers given on joining, and withdrawals of the day."""
    noon = world.config.midnight_ms(day) + DAY_MS // 2
    parts = []
    for column, purpose in enumerate(("personalisation", "ads")):
        asked = people.joined == day
        left = people.consents[:, column] & (people.withdrawn[:, column] == day) & ~asked & (people.joined <= day)
        rows = np.flatnonzero(asked | left)
        parts.append(
            columns.table(
                "consent",
                {
                    "user_id": columns.user_ids(people.index[rows]),
                    "purpose": pa.array([purpose] * len(rows), pa.string()),
                    "granted": (people.consents[:, column] & asked)[rows],
                    "at": columns.instants(np.where(asked[rows], people.registered_ms[rows], noon)),
                },
            )
        )
    return pa.concat_tables(parts)


def items(world: World, day: int, now: ItemState, before: ItemState | None) -> pa.Table:
    """Items that are new or whose price, stock or status moved since the day before."""
    things, changed = world.items, now.known.copy()
    if before is not None:
        changed &= (
            ~before.known | (now.price != before.price) | (now.stock != before.stock) | (now.active != before.active)
        )
    rows = np.flatnonzero(changed)
    topics = np.array([name for _, name, _ in TOPICS], dtype=object)
    return columns.table(
        "items",
        {
            "item_id": columns.item_ids(rows),
            "title": pa.array(things.title[rows], pa.string()),
            "description": pa.array(things.description[rows], pa.string()),
            "category": columns.named(CATEGORY_NAMES, things.category[rows]),
            "subcategory": pa.array(topics[things.topic[rows]], pa.string()),
            "brand": columns.named(BRAND_NAMES, things.brand[rows]),
            "creator_id": columns.creator_ids(things.creator[rows]),
            "content_type": columns.named(CONTENT_TYPES, things.content[rows]),
            "duration_ms": columns.whole(things.duration_ms[rows]),
            "price_minor": columns.whole(now.price[rows]),
            "stock": columns.whole(now.stock[rows]),
            "status": columns.named(("delisted", "active"), now.active[rows].astype(int)),
            "regions": columns.named(REGIONS, things.region[rows]),
            "age_limit": columns.whole(things.age_limit[rows]),
            "place": columns.named(DISTRICTS, things.place[rows]),
            "created_at": columns.instants(things.created_ms[rows]),
        },
    )


def creators(world: World, day: int) -> pa.Table:
    """All creators on the first day; later, a seventh of them a day, with followers grown by 3 % a week."""
    makers = world.creators
    number = np.arange(len(makers))
    rows = number if day == 0 else number[number % 7 == day % 7]
    names = [f"{BRAND_NAMES[makers.category[n] * BRANDS_PER_CATEGORY + n % 5]} {_HOUSES[n % 4]} {n}" for n in rows]
    followers = makers.followers[rows] * (1 + CREATOR_GROWTH * (day // 7))
    return columns.table(
        "creators",
        {
            "creator_id": columns.creator_ids(rows),
            "name": pa.array(names, pa.string()),
            "stage": columns.named(STAGES, makers.stage[rows]),
            "category": columns.named(CATEGORY_NAMES, makers.category[rows]),
            "region": columns.named(REGIONS, makers.region[rows]),
            "followers": followers.astype(np.int64),
            "joined_at": columns.instants(makers.joined_ms[rows]),
        },
    )


def campaigns(world: World, day: int) -> pa.Table:
    """Campaigns announced on the day."""
    new = [c for c in world.campaigns(day) if c.announced == day]
    return columns.table(
        "campaigns",
        {
            "campaign_id": pa.array([c.ident for c in new], pa.string()),
            "name": pa.array([c.name for c in new], pa.string()),
            "kind": pa.array([c.kind for c in new], pa.string()),
            "starts_at": columns.instants(np.array([world.config.midnight_ms(c.starts) for c in new], dtype=np.int64)),
            "ends_at": columns.instants(np.array([world.config.midnight_ms(c.ends) - 1 for c in new], dtype=np.int64)),
            "segment": pa.array([c.segment for c in new], pa.string()),
        },
    )


def curated(world: World, day: int) -> pa.Table:
    """Entries of operations that start on the day."""
    new = [c for c in world.curated(day) if c.starts == day]
    return columns.table(
        "curated",
        {
            "curated_id": pa.array([c.ident for c in new], pa.string()),
            "item_id": columns.item_ids(np.array([c.item for c in new], dtype=np.int64)),
            "surface": pa.array([SURFACES[0]] * len(new), pa.string()),
            "starts_at": columns.instants(np.array([world.config.midnight_ms(c.starts) for c in new], dtype=np.int64)),
            "ends_at": columns.instants(np.array([world.config.midnight_ms(c.ends) - 1 for c in new], dtype=np.int64)),
            "boost": pa.array([c.boost for c in new], pa.float64()),
            "cap": pa.array([c.cap for c in new], pa.int64()),
            "approver": pa.array([c.approver for c in new], pa.string()),
        },
    )


def costs(world: World, day: int) -> pa.Table:
    """Running costs of the day by kind, in proportion to people, and those of campaigns that run."""
    count = world.config.user_count(day)
    lines = [("content", 40, None), ("infrastructure", 15, None), ("support", 10, None)]
    lines += [("marketing", 60, c.ident) for c in world.campaigns(day) if c.starts <= day < c.ends]
    date = f"{world.config.date(day):%Y%m%d}"
    return columns.table(
        "costs",
        {
            "cost_id": pa.array([f"x{date}-{n}" for n in range(len(lines))], pa.string()),
            "at": columns.instants(np.full(len(lines), world.config.midnight_ms(day))),
            "kind": pa.array([kind for kind, _, _ in lines], pa.string()),
            "amount_minor": pa.array([share * count for _, share, _ in lines], pa.int64()),
            "campaign_id": pa.array([campaign for _, _, campaign in lines], pa.string()),
        },
    )
