"""What is on offer: creators, items with their hidden qualities, and how prices, stock and status move."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jobs.simulator.config import DAY_MS, Stream, WorldConfig, arrival_day
from jobs.simulator.vocabulary import (
    BRANDS_PER_CATEGORY,
    CATEGORIES,
    CONTENT_TYPES,
    TOPICS,
    TOPICS_PER_CATEGORY,
    item_texts,
)

LATENT = 8
STAGES = ("novice", "waist", "head")
REGIONS = ("north", "east", "south", "central", "southwest", "northwest", "northeast")
DISTRICTS = ("old_town", "riverside", "tech_park", "university", "harbour", "garden_city")
_ITEM_BLOCK = 4_096


@dataclass(frozen=True)
class Creators:
    category: np.ndarray
    stage: np.ndarray
    followers: np.ndarray
    region: np.ndarray
    joined_ms: np.ndarray
    by_category: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.category)

    @cached_property
    def shares(self) -> list[np.ndarray]:
        """Cumulative share of each creator within the category, by the root of followers."""
        weights = [np.sqrt(self.followers[own] + 1.0) for own in self.by_category]
        return [np.cumsum(w) / w.sum() for w in weights]

    def pick(self, category: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """A creator of each given category, likelier when followed by many."""
        chosen = np.empty(category.shape, dtype=np.int32)
        for number, (own, share) in enumerate(zip(self.by_category, self.shares, strict=True)):
            here = category == number
            chosen[here] = own[np.minimum(np.searchsorted(share, uniform[here]), len(own) - 1)]
        return chosen


@dataclass(frozen=True)
class Items:
    """Fixed properties of items, one array each; ``born`` and ``gone`` are days.

    ``quality`` moves clicks and satisfaction alike, ``bait`` raises clicks and lowers satisfaction
    (title party), ``appeal`` is the weight by which the logging policy takes an item as popular.
    """

    category: np.ndarray
    topic: np.ndarray
    brand: np.ndarray
    creator: np.ndarray
    content: np.ndarray
    duration_ms: np.ndarray
    base_price: np.ndarray
    quality: np.ndarray
    bait: np.ndarray
    appeal: np.ndarray
    latent: np.ndarray
    region: np.ndarray
    age_limit: np.ndarray
    place: np.ndarray
    born: np.ndarray
    gone: np.ndarray
    created_ms: np.ndarray
    title: np.ndarray
    description: np.ndarray

    def __len__(self) -> int:
        return len(self.category)


@dataclass(frozen=True)
class ItemState:
    """What moves from day to day: price in minor units, stock (-1 is no limit), and who is on offer."""

    price: np.ndarray
    stock: np.ndarray
    known: np.ndarray
    active: np.ndarray


def topic_centres(config: WorldConfig) -> np.ndarray:
    """Unit vectors of the topics; topics of one category lie near each other."""
    rng = config.rng(Stream.TOPICS)
    of_category = rng.normal(size=(len(CATEGORIES), LATENT))
    centres = np.repeat(of_category, TOPICS_PER_CATEGORY, axis=0) + 0.9 * rng.normal(size=(len(TOPICS), LATENT))
    return (centres / np.linalg.norm(centres, axis=1, keepdims=True)).astype(np.float32)


def make_creators(config: WorldConfig) -> Creators:
    rng, count = config.rng(Stream.CREATORS), config.creators
    category = np.arange(count) % len(CATEGORIES)
    stage = rng.choice(3, count, p=[0.6, 0.3, 0.1])
    followers = np.exp(rng.normal([4.5, 8.0, 12.0], 0.8, (count, 3)))[np.arange(count), stage].astype(np.int64)
    return Creators(
        category,
        stage,
        followers,
        rng.integers(0, len(REGIONS), count),
        config.midnight_ms(0) - rng.integers(30, 1_500, count) * DAY_MS,
        [np.flatnonzero(category == c) for c in range(len(CATEGORIES))],
    )


def make_items(config: WorldConfig, creators: Creators, centres: np.ndarray, day: int) -> Items:
    """All items that have been offered by ``day``; those of earlier days do not depend on it."""
    count = config.item_count(day)
    blocks = [_item_block(config, creators, centres, first) for first in range(0, count, _ITEM_BLOCK)]
    return Items(**{name: np.concatenate([b[name] for b in blocks])[:count] for name in blocks[0]})


def _item_block(config: WorldConfig, creators: Creators, centres: np.ndarray, first: int) -> dict[str, np.ndarray]:
    rng, n = config.rng(Stream.ITEMS, first), _ITEM_BLOCK
    weight = np.array([c.weight for c in CATEGORIES])
    category = rng.choice(len(CATEGORIES), n, p=weight / weight.sum())
    topic = category * TOPICS_PER_CATEGORY + rng.integers(0, TOPICS_PER_CATEGORY, n)
    brand = category * BRANDS_PER_CATEGORY + rng.integers(0, BRANDS_PER_CATEGORY, n)
    mixes = np.cumsum([c.mix for c in CATEGORIES], axis=1)
    content = np.minimum((mixes[category] < rng.random((n, 1))).sum(axis=1), len(CONTENT_TYPES) - 1)
    creator = creators.pick(category, rng.random(n))
    quality = rng.normal(0, 0.5, n) + 0.15 * (creators.stage[creator] - 0.5)
    bait = rng.random(n) < config.title_party_rate
    latent = centres[topic] + 0.22 * rng.normal(size=(n, LATENT))
    latent /= np.linalg.norm(latent, axis=1, keepdims=True)
    length_s = np.where(content == 1, np.exp(rng.normal(4.3, 0.8, n)), np.exp(rng.normal(5.0, 0.5, n)))
    median = np.array([c.price for c in CATEGORIES])[category]
    price = (median * np.exp(rng.normal(0, 0.6, n)) / 100).astype(np.int64) * 100 + 90
    born = arrival_day(np.arange(first, first + n), config.items, config.new_items_daily)
    age_days = np.where(born == 0, np.maximum(rng.exponential(120, n), 0.1), rng.uniform(0.0, 0.3, n))
    titles, descriptions = item_texts(rng, topic, brand, content, bait)
    return {
        "category": category.astype(np.int32),
        "topic": topic.astype(np.int32),
        "brand": brand.astype(np.int32),
        "creator": creator,
        "content": content.astype(np.int32),
        "duration_ms": np.where(np.isin(content, (1, 2)), (length_s * 1000).astype(np.int64), -1),
        "base_price": np.where(np.isin(content, (0, 3)), price, 0),
        "quality": quality.astype(np.float32),
        "bait": bait,
        "appeal": np.exp(1.1 * quality + 0.5 * bait + rng.normal(0, 0.8, n)),
        "latent": latent.astype(np.float32),
        "region": np.where((content == 3) | (rng.random(n) < 0.02), rng.integers(0, len(REGIONS), n), -1),
        "age_limit": np.where(rng.random(n) < 0.01, 18, -1),
        "place": np.where(content == 3, rng.integers(0, len(DISTRICTS), n), -1),
        "born": born,
        "gone": born + rng.geometric(0.002, n),
        "created_ms": config.midnights_ms(born) - (age_days * DAY_MS).astype(np.int64),
        "title": np.array(titles, dtype=object),
        "description": np.array(descriptions, dtype=object),
    }


def item_state(config: WorldConfig, items: Items, day: int) -> ItemState:
    """Prices, stock and status on a day, replayed from the first: each day 2 % change price, 6 % change stock."""
    count = len(items)
    price, stock = items.base_price.copy(), np.full(count, -1, dtype=np.int64)
    for past in range(day + 1):
        rng, known = config.rng(Stream.PRICES, past), config.item_count(past)
        fresh = rng.random((4, known))
        moved = (fresh[0] < 0.02) & (past > 0)
        factor = np.array([0.7, 0.8, 0.9, 1.0, 1.1])[(fresh[1] * 5).astype(int)]
        price[:known][moved] = (items.base_price[:known] * factor).astype(np.int64)[moved]
        counted = items.content[:known] == 0
        stocked = counted & ((fresh[2] < 0.06) | (items.born[:known] == past))
        stock[:known][stocked] = np.maximum(0, fresh[3] * 520 - 20).astype(np.int64)[stocked]
    known = items.born <= day
    return ItemState(price, stock, known, known & (items.gone > day))
