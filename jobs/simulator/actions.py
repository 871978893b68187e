"""What follows a showing: events, order lines and their refunds, as tables of the landing feeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from jobs.landing import SURFACES
from jobs.simulator import columns
from jobs.simulator.behaviour import BlockDay
from jobs.simulator.config import DAY_MS, Stream
from jobs.simulator.geography import PLACES, TRANSIT, spots
from jobs.simulator.policy import SLOT_TYPES
from jobs.simulator.requests import TERMINALS
from jobs.simulator.vocabulary import TOPICS

REFUND_RATE, REFUND_RATE_DISAPPOINTED = 0.04, 0.30
REFUND_DAYS = (1, 5)
FOLLOW_RATE, REGRET_RATE = 0.03, 0.05
_SEARCH = 1
LOCATED = 0.3
"""Share of pages whose terminal tells where it is."""


@dataclass(frozen=True)
class Piece:
    """Events of one kind; ``row`` is the showing that led to each, ``person`` and ``item`` stand without one."""

    action: str
    row: np.ndarray
    at: np.ndarray
    person: np.ndarray | None = None
    item: np.ndarray | None = None
    request: np.ndarray | None = None
    dwell_ms: np.ndarray | None = None
    play_ratio: np.ndarray | None = None
    rating: np.ndarray | None = None
    topic: np.ndarray | None = None


@dataclass(frozen=True)
class Sales:
    """Order lines of the day; ``row`` is the showing that led to each, ``refunded`` the days until a refund or 0."""

    row: np.ndarray
    at: np.ndarray
    quantity: np.ndarray
    amount: np.ndarray
    discount: np.ndarray
    refunded: np.ndarray


def key_of(day: BlockDay, prefix: str, numbers: np.ndarray) -> pa.Array:
    """Ids that are unique in the world: kind, date, block and number."""
    date = f"{day.sheet.world.config.date(day.sheet.day):%Y%m%d}"
    return columns.numbered(f"{prefix}{date}-{day.block:03d}-", numbers, 7)


def impressions(day: BlockDay) -> pa.Table:
    """The impressions of a block's day, in order of person and time."""
    rng = day.sheet.world.config.rng(Stream.FEEDBACK, day.sheet.day, day.block, 1)
    slates, request, n = day.shown.slates, day.shown.slates.request, len(day.shown.person)
    place = day.requests.place[request]
    device = day.people.device[day.shown.person]
    located = rng.random(len(day.requests)) < LOCATED
    person = day.requests.person
    spot = spots(rng, day.requests.place, day.people.region[person], day.people.home[person], day.people.work[person])
    spot = np.where(located[:, None], spot, np.nan)[request]
    return columns.table(
        "impressions",
        {
            "impression_id": key_of(day, "i", np.arange(n)),
            "request_id": key_of(day, "r", request),
            "user_id": columns.user_ids(day.people.index[day.shown.person]),
            "item_id": columns.item_ids(slates.item),
            "at": columns.instants(day.shown.at),
            "surface": columns.named(SURFACES, day.requests.surface[request]),
            "position": slates.position,
            "slot_type": columns.named(SLOT_TYPES, slates.slot),
            "terminal": columns.named(TERMINALS, day.requests.terminal[request]),
            "policy": pa.array([day.sheet.policy]).take(pa.array(np.zeros(n, dtype=np.int32))),
            "propensity": slates.propensity,
            "load_ms": np.exp(rng.normal(5.6, 0.5, n) + 0.4 * (device == 2)).astype(np.int64),
            "place": columns.named(PLACES, place),
            "latitude": columns.real(spot[:, 0], 5),
            "longitude": columns.real(spot[:, 1], 5),
            "swipe_speed": columns.real(np.exp(rng.normal(-0.4, 0.5, n) + 0.5 * (place == TRANSIT)), 3),
        },
    )


def make_sales(day: BlockDay) -> Sales:
    """Purchases among the clicks: products and services in stock, likelier when liked and on sale."""
    sheet, shown = day.sheet, day.shown
    rng = sheet.world.config.rng(Stream.FEEDBACK, sheet.day, day.block, 2)
    items = sheet.world.items
    chance = 0.11 * day.satisfaction * (1.5 if sheet.sale else 1.0)
    item = shown.slates.item
    buyable = shown.clicked & np.isin(items.content[item], (0, 3)) & (sheet.state.stock[item] != 0)
    row = np.flatnonzero(buyable & (rng.random(len(item)) < chance))
    quantity = 1 + rng.poisson(np.where(sheet.state.price[item[row]] < 8_000, 0.6, 0.05))
    full = sheet.state.price[item[row]] * quantity
    share = np.where(rng.random(len(row)) < (0.9 if sheet.sale else 0.1), rng.integers(5, 25, len(row)), 0)
    discount = full * share // 100
    unhappy = day.satisfaction[row] < 0.4
    back = rng.random(len(row)) < np.where(unhappy, REFUND_RATE_DISAPPOINTED, REFUND_RATE)
    wait = np.where(back, rng.integers(REFUND_DAYS[0], REFUND_DAYS[1] + 1, len(row)), 0)
    at = np.minimum(shown.at[row] + rng.integers(60_000, 600_000, len(row)), sheet.end_ms)
    return Sales(row, at, quantity, full - discount, discount, wait)


def orders(day: BlockDay, sales: Sales) -> tuple[pa.Table, pa.Table, np.ndarray]:
    """Sales, refunds and the days until each refund; lines of one person's session share an order."""
    shown, rows = day.shown, sales.row
    session = day.requests.session[shown.slates.request[rows]]
    basket = shown.person[rows] * 8 + session
    values = {
        "order_line_id": key_of(day, "l", np.arange(len(rows))),
        "order_id": key_of(day, "o", basket),
        "user_id": columns.user_ids(day.people.index[shown.person[rows]]),
        "item_id": columns.item_ids(shown.slates.item[rows]),
        "at": columns.instants(sales.at),
        "kind": pa.array(["sale"] * len(rows), pa.string()),
        "quantity": sales.quantity,
        "amount_minor": sales.amount,
        "discount_minor": sales.discount,
        "source_system": columns.named(("payment", "order"), (basket % 10 == 0).astype(int)),
    }
    back = np.flatnonzero(sales.refunded)
    refunds = columns.table("orders", values).take(pa.array(back))
    changed = {name: refunds.column(name) for name in refunds.column_names} | {
        "order_line_id": key_of(day, "b", back),
        "at": columns.instants(sales.at[back] + sales.refunded[back] * DAY_MS),
        "kind": pa.array(["refund"] * len(back), pa.string()),
        "discount_minor": np.zeros(len(back), dtype=np.int64),
    }
    return columns.table("orders", values), columns.table("orders", changed), sales.refunded[back]


def _reading(day: BlockDay, rng: np.random.Generator, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dwell in ms and part played of clicked showings; the part played is known of videos only."""
    items = day.sheet.world.items
    item, content = day.shown.slates.item[row], day.satisfaction[row]
    kind, length = items.content[item], items.duration_ms[item]
    part = np.clip(1.15 * content + rng.normal(0, 0.15, len(row)), 0.02, 1.5)
    glance = np.exp(rng.normal(8.6, 0.6, len(row)) + 1.8 * (content - 0.5))
    dwell = np.where(length > 0, length * np.minimum(part, 1.2), glance)
    return np.minimum(dwell, 3_600_000).astype(np.int64), np.where(kind == 1, part, np.nan)


def _after_click(day: BlockDay, rng: np.random.Generator) -> list[Piece]:
    """Click, view, and the reactions that satisfaction makes likely or unlikely."""
    items, row = day.sheet.world.items, np.flatnonzero(day.shown.clicked)
    liking, item = day.satisfaction[row], day.shown.slates.item[row]
    clicked = day.shown.at[row] + rng.integers(300, 3_000, len(row))
    dwell, part = _reading(day, rng, row)
    read = clicked + dwell
    buyable = np.isin(items.content[item], (0, 3))
    chances = {
        "like": 0.16 * liking**2,
        "favourite": 0.10 * liking**2,
        "add_to_cart": 0.16 * liking * buyable,
        "share": 0.04 * liking**2,
        "comment": 0.03 + 0 * liking,
        "dislike": 0.08 * (1 - liking) ** 2,
        "not_interested": 0.06 * (1 - liking) ** 2,
        "block_author": 0.012 * (1 - liking) ** 3,
    }
    pieces = [Piece("click", row, clicked), Piece("view", row, read, dwell_ms=dwell, play_ratio=part)]
    for action, chance in chances.items():
        some = rng.random(len(row)) < chance
        stars = np.clip(np.round(5 * liking[some] + rng.normal(0, 0.5, some.sum())), 1, 5)
        when = read[some] + rng.integers(500, 20_000, some.sum())
        pieces.append(Piece(action, row[some], when, rating=stars if action == "comment" else None))
    return pieces


def _without_click(day: BlockDay, rng: np.random.Generator) -> list[Piece]:
    """Refusals of showings, log-ins, and searches, which name the topic of the page's first item."""
    shown, requests = day.shown, day.requests
    weary = ~shown.clicked & (rng.random(len(shown.at)) < 0.006 / (1 + np.exp(shown.affinity + 1)))
    again = shown.bought_before & (rng.random(len(shown.at)) < 0.15)
    first = np.flatnonzero((requests.page == 0) & (rng.random(len(requests)) < 0.8))
    found = np.flatnonzero(shown.slates.position == 1)
    found = found[requests.surface[shown.slates.request[found]] == _SEARCH]
    wait = rng.integers(800, 3_000, len(shown.at))
    return [
        Piece("not_interested", np.flatnonzero(weary), shown.at[weary] + wait[weary]),
        Piece("already_purchased", np.flatnonzero(again), shown.at[again] + wait[again]),
        Piece("login", np.full(len(first), -1), requests.at[first] - 1_500, person=requests.person[first]),
        Piece(
            "search",
            np.full(len(found), -1),
            requests.at[shown.slates.request[found]] - 200,
            person=shown.person[found],
            request=shown.slates.request[found],
            topic=day.sheet.world.items.topic[shown.slates.item[found]],
        ),
    ]


def _returns(day: BlockDay) -> list[Piece]:
    """Liked items that people open again by themselves, with no showing."""
    rng = day.sheet.world.config.rng(Stream.RETURNS, day.sheet.day, day.block)
    items, mood, _ = day.recalled
    person, column = np.nonzero((items >= 0) & (mood > 0) & (rng.random(items.shape) < 0.05))
    item = items[person, column]
    offered = day.sheet.state.active[item]
    person, item = person[offered], item[offered]
    opened = np.flatnonzero(day.requests.page == 0)
    at = day.requests.at[opened][person] + rng.integers(5_000, 60_000, len(person))
    dwell = np.exp(rng.normal(9.0, 0.6, len(person))).astype(np.int64)
    none = np.full(len(person), -1)
    return [Piece("click", none, at, person, item), Piece("view", none, at + dwell, person, item, dwell_ms=dwell)]


def events(day: BlockDay, sales: Sales) -> pa.Table:
    """The events of a block's day but those of `follows`, in order of time."""
    rng = day.sheet.world.config.rng(Stream.FEEDBACK, day.sheet.day, day.block, 3)
    pieces = [*_after_click(day, rng), *_without_click(day, rng), *_returns(day)]
    return _as_events(day, [*pieces, Piece("purchase", sales.row, sales.at)])


def follows(day: BlockDay, first: int) -> pa.Table:
    """Creators followed after a click that satisfied, a few of them unfollowed in the same day; ids from ``first``.

    They are drawn, numbered and delivered by themselves: a world is otherwise the one that it was without them.
    """
    rng = day.sheet.world.config.rng(Stream.FOLLOWS, day.sheet.day, day.block)
    row = np.flatnonzero(day.shown.clicked)
    row = row[rng.random(len(row)) < FOLLOW_RATE * day.satisfaction[row] ** 2]
    at = day.shown.at[row] + rng.integers(5_000, 60_000, len(row))
    regret, wait = rng.random(len(row)) < REGRET_RATE, rng.integers(60_000, 6 * 3_600_000, len(row))
    regretted = Piece("unfollow_author", row[regret], (at + wait)[regret])
    return _as_events(day, [Piece("follow_author", row, at), regretted], first)


def _as_events(day: BlockDay, pieces: list[Piece], first: int = 0) -> pa.Table:
    """Pieces as rows of the feed, in order of time, numbered from ``first``."""
    actions = tuple(dict.fromkeys(piece.action for piece in pieces))
    row = np.concatenate([p.row for p in pieces]).astype(np.int64)
    shown, at_shown = day.shown, row >= 0
    person, item = _gather(pieces, "person", -1), _gather(pieces, "item", -1)
    request = _gather(pieces, "request", -1)
    person[at_shown], item[at_shown] = shown.person[row[at_shown]], shown.slates.item[row[at_shown]]
    request[at_shown] = shown.slates.request[row[at_shown]]
    action = np.repeat([actions.index(p.action) for p in pieces], [len(p.row) for p in pieces])
    at = np.minimum(np.concatenate([p.at for p in pieces]), day.sheet.end_ms)
    order = np.lexsort((action, item, person, at))
    row, person, item, request, action = (v[order] for v in (row, person, item, request, action))

    def of_request(values: np.ndarray, otherwise: int) -> np.ndarray:
        return np.where(request >= 0, values[np.maximum(request, 0)], otherwise)

    topic = _gather(pieces, "topic", -1)[order]
    rated, part = _gather(pieces, "rating", np.nan)[order], _gather(pieces, "play_ratio", np.nan)[order]
    return columns.table(
        "events",
        {
            "event_id": key_of(day, "e", first + np.arange(len(row))),
            "user_id": columns.user_ids(day.people.index[person]),
            "item_id": columns.item_ids(item),
            "at": columns.instants(at[order]),
            "action": columns.named(actions, action),
            "impression_id": key_of(day, "i", row),
            "request_id": key_of(day, "r", request),
            "surface": columns.named(SURFACES, of_request(day.requests.surface, -1)),
            "terminal": columns.named(TERMINALS, of_request(day.requests.terminal, 0)),
            "dwell_ms": columns.whole(_gather(pieces, "dwell_ms", -1)[order]),
            "play_ratio": columns.real(part, 3),
            "rating": columns.real(rated, 1),
            "query": columns.named(_QUERIES, np.where(topic >= 0, topic * 6 + person % 6, -1)),
            "place": columns.named(PLACES, of_request(day.requests.place, -1)),
        },
    )


_QUERIES = tuple(query for _, name, words in TOPICS for query in (name, *words))


def _gather(pieces: list[Piece], name: str, missing: float) -> np.ndarray:
    """One column of all pieces; ``missing`` where a piece has none."""
    kind = np.float64 if np.isnan(missing) else np.int64
    found = [getattr(p, name) for p in pieces]
    return np.concatenate(
        [
            np.full(len(p.row), missing, dtype=kind) if values is None else values.astype(kind)
            for p, values in zip(pieces, found, strict=True)
        ]
    )
