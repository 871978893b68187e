"""One day of a block of users: what they are shown, what they click, and what they do next.

A showing at position ``k`` is clicked with probability ``k^-0.55 · sigmoid(x)``: an examination curve
times relevance, where

``x = -3.45 + affinity + 0.8·quality + 1.3·bait + group + context + mood``

and ``mood`` is what is remembered of the item (liked: above 0, disliked or bought: below).
Satisfaction is ``sigmoid(0.4 + 0.5·affinity + 1.2·quality - 3·bait + noise)``: it drives dwell, ratings,
purchases and refunds, so that a title-party item is clicked much and completed little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jobs.simulator.catalogue import ItemState
from jobs.simulator.config import Stream
from jobs.simulator.geography import HOME, TRANSIT
from jobs.simulator.memory import Memory
from jobs.simulator.people import Taste, Users, taste_on
from jobs.simulator.policy import (
    Pool,
    ReleasedDay,
    Shelf,
    Slates,
    draw_logging,
    popularity,
    row_draw,
)
from jobs.simulator.requests import Requests, active_rows, make_requests
from jobs.simulator.world import World

EXAMINATION_POWER = 0.55
BASE, QUALITY_CLICK, BAIT_CLICK = -3.45, 0.8, 1.3
LIKED_MOOD, DISLIKED_MOOD, BOUGHT_MOOD = 0.4, -1.5, -1.0
CONTEXT_LOGIT = {"transit": (-0.15, 0.35, 0.15, -0.2), "home": (0.1, 0.0, -0.05, 0.0), "other": (0.0, 0.0, 0.0, 0.2)}
_POOL_BY_TASTE, _POOL_BY_CREATOR = 44, 6
_POOL_SHARPNESS, _POOL_NOISE = 0.6, 0.5
_ADS_A_WEEK = 20


@dataclass(frozen=True)
class Sheet:
    """What is true of the whole market on one day."""

    world: World
    day: int
    state: ItemState
    shelf: Shelf
    released: ReleasedDay | None
    policy: str
    sale: bool

    @property
    def end_ms(self) -> int:
        return self.world.config.midnight_ms(self.day + 1) - 1


@dataclass(frozen=True)
class Showings:
    """Everything shown to a block in a day, in order of request and position."""

    slates: Slates
    person: np.ndarray
    at: np.ndarray
    affinity: np.ndarray
    relevance: np.ndarray
    chance: np.ndarray
    clicked: np.ndarray
    bought_before: np.ndarray


@dataclass(frozen=True)
class BlockDay:
    """A block's day before it becomes feeds; ``people`` are its active users."""

    sheet: Sheet
    block: int
    people: Users
    taste: Taste
    requests: Requests
    shown: Showings
    satisfaction: np.ndarray
    recalled: tuple[np.ndarray, np.ndarray, np.ndarray]


def make_sheet(world: World, day: int, state: ItemState, released: ReleasedDay | None, policy: str) -> Sheet:
    active = state.active
    eligible = np.flatnonzero(active)
    curated = np.array(sorted({c.item for c in world.curated(day) if c.starts <= day < c.ends}), dtype=np.int64)
    sellable = np.flatnonzero(active[: world.config.items] & (world.items.content[: world.config.items] == 0))
    ads = world.config.rng(Stream.ADS, day // 7).permutation(world.config.items)
    ads = np.intersect1d(ads[: 3 * _ADS_A_WEEK], sellable)[:_ADS_A_WEEK]
    sale = any(c.kind == "sale" and c.starts <= day < c.ends for c in world.campaigns(day))
    shelf = Shelf(eligible, popularity(world.items.appeal, active), curated[active[curated]], ads)
    return Sheet(world, day, state, shelf, released, policy, sale)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def examination(position: np.ndarray) -> np.ndarray:
    """Probability that a position is looked at: ``k^-0.55``."""
    return np.asarray(position, dtype=np.float64) ** -EXAMINATION_POWER


def make_pool(rng: np.random.Generator, sheet: Sheet, taste: Taste, remembered: np.ndarray) -> Pool:
    """The logging policy's candidates: drawn by taste, from favourite creators, and remembered ones."""
    items, n = sheet.world.items, len(taste.users)
    weight = np.where(sheet.state.active, np.sqrt(items.appeal), 0.0)
    by_taste = _draw_grouped(rng, weight, items.category, taste.mix, _POOL_BY_TASTE)
    own = taste.users.creators[:, rng.integers(0, taste.users.creators.shape[1], _POOL_BY_CREATOR)]
    by_creator = _draw_within(rng, weight, items.creator, own)
    pool = np.sort(np.concatenate([by_taste, by_creator, remembered], axis=1), axis=1)
    usable = (pool >= 0) & sheet.state.active[pool]
    usable[:, 1:] &= pool[:, 1:] != pool[:, :-1]
    row = np.repeat(np.arange(n), pool.shape[1])
    score = taste.affinity(row, pool.ravel(), items, sheet.state.price).reshape(pool.shape) + 0.5 * items.quality[pool]
    score = _POOL_SHARPNESS * score + rng.normal(0, _POOL_NOISE, pool.shape)
    best = score.max(axis=1, keepdims=True, initial=-1e9, where=usable)
    q = np.exp(np.where(usable, score - best, -np.inf))
    q /= np.maximum(q.sum(axis=1, keepdims=True), 1e-300)
    return Pool(pool, q, taste.users.granted(sheet.day)[:, 0])


def _draw_grouped(
    rng: np.random.Generator, weight: np.ndarray, group: np.ndarray, shares: np.ndarray, count: int
) -> np.ndarray:
    row = np.repeat(np.arange(len(shares)), count)
    groups = row_draw(shares.astype(np.float64), row, rng.random(len(row))).reshape(len(shares), count)
    return _draw_within(rng, weight, group, groups)


def _draw_within(rng: np.random.Generator, weight: np.ndarray, group: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """An item of each wanted group, by weight; -1 where the group has none."""
    order = np.argsort(group, kind="stable")
    cumulative = np.cumsum(weight[order])
    bounds = np.searchsorted(group[order], np.arange(max(int(group.max()), int(wanted.max(initial=0))) + 2))
    edge = np.r_[0.0, cumulative][bounds]
    low, high = edge[wanted], edge[wanted + 1]
    place = np.searchsorted(cumulative, low + (high - low) * rng.random(wanted.shape), side="right")
    place = np.minimum(place, bounds[wanted + 1] - 1)
    return np.where(high > low, order[place], -1)


def _show(sheet: Sheet, people: Users, taste: Taste, requests: Requests, remembered: np.ndarray, block: int) -> Slates:
    config = sheet.world.config
    rng = config.rng(Stream.EXPOSURE, sheet.day, block)
    takes_ads = people.granted(sheet.day)[:, 1][requests.person]
    if sheet.released is not None:
        users = np.array([f"u{index:07d}" for index in people.index])
        return sheet.released.draw(
            rng,
            sheet.shelf,
            users,
            requests.person,
            requests.page,
            takes_ads,
            config.slate,
        )
    pool = make_pool(rng, sheet, taste, remembered)
    return draw_logging(rng, sheet.shelf, pool, requests.person, takes_ads, config.slate)


def _relevance(
    sheet: Sheet,
    taste: Taste,
    place: np.ndarray,
    person: np.ndarray,
    item: np.ndarray,
    affinity: np.ndarray,
    recalled: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Probability of a click on an examined showing, and whether the item was bought before."""
    items = sheet.world.items
    context = np.array([CONTEXT_LOGIT["other"]] * 16)
    context[HOME], context[TRANSIT] = CONTEXT_LOGIT["home"], CONTEXT_LOGIT["transit"]
    same = recalled[0][person] == item[:, None]
    mood = np.where(same, recalled[1][person], 0).sum(axis=1)
    logit = BASE + affinity + QUALITY_CLICK * items.quality[item] + BAIT_CLICK * items.bait[item]
    logit = logit + taste.users.group_logit[person] + context[place, items.content[item]] + mood
    return sigmoid(logit), (same & recalled[2][person]).any(axis=1)


def live(sheet: Sheet, block: int, users: Users, memory: Memory) -> BlockDay:
    """Simulate a block's day; ``memory`` is that of the evening before."""
    world, day = sheet.world, sheet.day
    rng = world.config.rng(Stream.REQUESTS, day, block)
    rows, pages = active_rows(rng, world.config, users, day)
    people = users.take(rows)
    requests = make_requests(rng, world.config, people, pages, day)
    taste = taste_on(people, day)
    recalled = memory.rows_of(people.index)
    slates = _show(sheet, people, taste, requests, recalled[0], block)
    rng = world.config.rng(Stream.REACTIONS, day, block)
    person = requests.person[slates.request]
    affinity = taste.affinity(person, slates.item, world.items, sheet.state.price)
    place = requests.place[slates.request]
    relevance, bought = _relevance(sheet, taste, place, person, slates.item, affinity, recalled)
    chance = examination(slates.position) * relevance
    at = requests.at[slates.request] + slates.position * rng.integers(1_200, 4_000, len(person))
    clicked = rng.random(len(person)) < chance
    shown = Showings(
        slates,
        person,
        np.minimum(at, sheet.end_ms - 60_000),
        affinity,
        relevance,
        chance,
        clicked,
        bought,
    )
    return BlockDay(
        sheet,
        block,
        people,
        taste,
        requests,
        shown,
        _satisfaction(rng, sheet, slates.item, affinity),
        recalled,
    )


def _satisfaction(rng: np.random.Generator, sheet: Sheet, item: np.ndarray, affinity: np.ndarray) -> np.ndarray:
    items = sheet.world.items
    noise = rng.normal(0, 0.7, len(item))
    return sigmoid(0.4 + 0.5 * affinity + 1.2 * items.quality[item] - 3.0 * items.bait[item] + noise)


def remember(block_day: BlockDay, memory: Memory, purchased: np.ndarray) -> Memory:
    """Memory after the day; ``purchased`` marks the showings that were bought."""
    shown = block_day.shown
    rows = np.flatnonzero(shown.clicked)
    content = block_day.satisfaction[rows]
    mood = np.where(content > 0.55, LIKED_MOOD, np.where(content < 0.35, DISLIKED_MOOD, 0.0))
    mood = np.where(purchased[rows], BOUGHT_MOOD, mood).astype(np.float32)
    return memory.later(
        Memory(
            block_day.people.index[shown.person[rows]].astype(np.int64),
            shown.slates.item[rows].astype(np.int64),
            np.full(len(rows), block_day.sheet.day, dtype=np.int64),
            mood,
            purchased[rows],
        )
    )
