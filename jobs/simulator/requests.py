"""When and where people open the app on a day: pages, in sessions at habitual hours and places."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jobs.simulator.catalogue import DISTRICTS
from jobs.simulator.config import DAY_MS, WorldConfig
from jobs.simulator.geography import FIRST_DISTRICT, HOME, TRANSIT, WORK
from jobs.simulator.people import SLOTS, Users

TERMINALS = ("app", "mini_program", "h5")
SURFACE_SHARES = (0.80, 0.12, 0.08)
WEEKDAY_FACTOR = (0.95, 0.93, 0.95, 0.97, 1.05, 1.2, 1.15)
_OPENS_MIN = np.array([420, 705, 1050, 1170, 1350])
_WIDTH_MIN = np.array([120, 100, 105, 170, 60])
_PAGE_MS = 100_000
_LAST_MS = DAY_MS - 5 * 60_000
_MOST_PAGES = 40


@dataclass(frozen=True)
class Requests:
    """Pages in order of person and time; ``person`` is a row among the day's active users."""

    person: np.ndarray
    at: np.ndarray
    session: np.ndarray
    page: np.ndarray
    surface: np.ndarray
    terminal: np.ndarray
    place: np.ndarray

    def __len__(self) -> int:
        return len(self.person)


def active_rows(rng: np.random.Generator, config: WorldConfig, users: Users, day: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the users who come on a day, and how many pages each opens: Poisson of rate x weekday."""
    factor = WEEKDAY_FACTOR[config.date(day).weekday()]
    alive = (users.joined <= day) & (users.churned > day)
    pages = np.minimum(rng.poisson(np.where(alive, users.rate * factor, 0.0)), _MOST_PAGES)
    rows = np.flatnonzero(pages)
    return rows, pages[rows]


def make_requests(
    rng: np.random.Generator, config: WorldConfig, people: Users, pages: np.ndarray, day: int
) -> Requests:
    """Requests of the active users ``people``."""
    person = np.repeat(np.arange(len(people)), pages)
    weekend = config.date(day).weekday() >= 5
    share = np.cumsum(people.habits * ((0.3, 1.2, 0.4, 1.2, 1.2) if weekend else 1.0), axis=1)
    chance = rng.random(len(person)) * share[person, -1]
    slot = np.minimum((share[person] < chance[:, None]).sum(axis=1), len(SLOTS) - 1)
    order = np.lexsort((slot, person))
    slot, group = slot[order], person[order] * len(SLOTS) + slot[order]
    opened = (_OPENS_MIN + _WIDTH_MIN * rng.random((len(people), len(SLOTS)))) * 60_000
    within = ordinal(group)
    at = np.minimum(opened[person, slot] + within * (_PAGE_MS + rng.integers(-9_000, 30_000, len(person))), _LAST_MS)
    # A session of many pages can reach into the next slot's, so that time, not slot, orders the pages.
    order = np.lexsort((at, person))
    slot, at = slot[order], at[order]
    return Requests(
        person=person,
        at=config.midnight_ms(day) + at.astype(np.int64),
        session=slot,
        page=ordinal(person),
        surface=rng.choice(len(SURFACE_SHARES), len(person), p=SURFACE_SHARES),
        terminal=np.searchsorted((0.7, 0.9), people.index * 7919 % 10 / 10 + 0.05)[person],
        place=_places(rng, people, person, slot, weekend),
    )


def ordinal(group: np.ndarray) -> np.ndarray:
    """Number of each row within its group, from 0; groups are contiguous."""
    if not len(group):
        return np.zeros(0, dtype=np.int64)
    first = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    return np.arange(len(group)) - np.repeat(first, np.diff(np.r_[first, len(group)]))


def _places(rng: np.random.Generator, people: Users, person: np.ndarray, slot: np.ndarray, weekend: bool) -> np.ndarray:
    """Commutes are in transit and lunch is at work or in its district; weekends are at home or out."""
    n, often = len(person), rng.random(len(person))
    if weekend:
        return np.where(often < 0.7, HOME, FIRST_DISTRICT + rng.integers(0, len(DISTRICTS), n))
    lunch = np.where(often < 0.6, WORK, FIRST_DISTRICT + people.works_in[person])
    return np.choose(np.array([0, 1, 0, 2, 2])[slot], [np.full(n, TRANSIT), lunch, np.full(n, HOME)])
