"""Simulate days of a world: land their feeds, and keep the truth apart."""

from __future__ import annotations

import datetime as dt
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa

from jobs.errors import SettingsError
from jobs.simulator import actions, feedback, states
from jobs.simulator.behaviour import Sheet, live, make_sheet, remember
from jobs.simulator.config import Stream, WorldConfig
from jobs.simulator.faults import FEEDS as FAULTY
from jobs.simulator.faults import deliver
from jobs.simulator.policy import ReleasedDay, ReleasedLists
from jobs.simulator.truth import Truth, due, waiting
from jobs.simulator.world import World
from jobs.simulator.writer import DayWriter

LOGGING_POLICY = "logging-1"
_LOG = logging.getLogger(__name__)


def simulate(
    config: WorldConfig,
    landing: Path,
    truth: Path,
    first_day: dt.date | None = None,
    last_day: dt.date | None = None,
    released: ReleasedLists | None = None,
) -> dict[str, dict[str, int]]:
    """Land the days from ``first_day`` to ``last_day``; the same configuration gives the same bytes.

    Days may be landed in one call or in several: the files are the same.

    Parameters
    ----------
    config
        The world.
    landing, truth
        Roots of the landing zone and of the truth; the market's name is added to both. Truth must
        not lie in the landing zone.
    first_day, last_day
        Default to the world's first day and to ``config.days`` days from there.
    released
        Lists that these days' exposures follow; without them, the logging policy chooses.

    Returns
    -------
    Landed rows, ``{day: {feed: rows}}``.

    Raises
    ------
    SettingsError
        The days are not of this world, the day before was not simulated, or the truth is another world's.
    LandingError
        A day has landed already.
    """
    first, last = _range(config, first_day, last_day)
    if Path(truth).resolve().is_relative_to(Path(landing).resolve()):
        raise SettingsError(f"The truth folder {truth} must not lie in the landing zone {landing}.")
    world, known = World(config, last), Truth(truth, config)
    known.open()
    known.world(world)
    return {str(config.date(day)): _land(world, known, landing, day, released) for day in range(first, last + 1)}


def _range(config: WorldConfig, first_day: dt.date | None, last_day: dt.date | None) -> tuple[int, int]:
    first = 0 if first_day is None else (first_day - config.first_day).days
    last = config.days - 1 if last_day is None else (last_day - config.first_day).days
    if first < 0 or last < first:
        raise SettingsError(
            f"The days {first_day} to {last_day} cannot be simulated: the world starts on {config.start}, "
            f"and the last day is not before the first."
        )
    return first, last


def _land(world: World, truth: Truth, landing: Path, day: int, released: ReleasedLists | None) -> dict[str, int]:
    """Land one day; its manifests are written last, so that a killed day can be landed again."""
    writer = DayWriter(landing, world.config, day)
    pending = {feed: truth.pending(day - 1, feed) for feed in FAULTY}
    now = world.item_state(day)
    lists = None if released is None else ReleasedDay(released, now.active)
    sheet = make_sheet(world, day, now, lists, LOGGING_POLICY if released is None else released.name)
    counts: dict[str, Counter[str]] = {feed: Counter() for feed in FAULTY}
    for block in world.blocks(day):
        _land_block(sheet, truth, writer, block, pending, counts)
    for feed in FAULTY:
        ready, why, rest = due(pending[feed], day)
        writer.add(feed, "carried", ready)
        truth.save_pending(day, feed, rest)
        counts[feed].update(why)
    before = world.item_state(day - 1) if day else None
    writer.add("items", "00000", states.items(world, day, now, before))
    for feed in ("creators", "campaigns", "curated", "costs"):
        writer.add(feed, "00000", getattr(states, feed)(world, day))
    landed = writer.close()
    truth.planted(day, counts, landed)
    _LOG.info("Landed %s of market %s: %s rows.", world.config.date(day), world.config.market, sum(landed.values()))
    return landed


def _land_block(
    sheet: Sheet,
    truth: Truth,
    writer: DayWriter,
    block: int,
    pending: dict[str, pa.Table],
    counts: dict[str, Counter[str]],
) -> None:
    world, day = sheet.world, sheet.day
    users, memory = world.users(block), truth.memory(day - 1, block)
    lived = live(sheet, block, users, memory)
    sales = actions.make_sales(lived)
    sold, refunds, delays = actions.orders(lived, sales)
    facts = {"impressions": actions.impressions(lived), "events": actions.events(lived, sales), "orders": sold}
    for number, (feed, rows) in enumerate(facts.items()):
        found = deliver(world.config.rng(Stream.FAULTS, day, block, number), world.config, feed, rows)
        if feed == "events":
            follows = actions.follows(lived, len(rows))
            found.on_time = pa.concat_tables([found.on_time, follows])
            found.counts["clean"] += len(follows)
        writer.add(feed, f"{block:05d}", found.on_time, found.damaged)
        counts[feed].update(found.counts)
        later = [waiting(rows, day + days, why) for days, why, rows in found.later]
        pending[feed] = pa.concat_tables([pending[feed], *later])
    for wait in sorted(set(delays.tolist())):
        back = refunds.filter(pa.array(delays == wait))
        pending["orders"] = pa.concat_tables([pending["orders"], waiting(back, day + wait, "refunds")])
    writer.add("reviews", f"{block:05d}", feedback.reviews(lived, sales))
    writer.add("surveys", f"{block:05d}", feedback.surveys(lived))
    writer.add("users", f"{block:05d}", states.users(users, day))
    writer.add("consent", f"{block:05d}", states.consent(world, users, day))
    truth.impressions(lived, facts["impressions"].column("impression_id"))
    purchased = np.zeros(len(lived.shown.clicked), dtype=bool)
    purchased[sales.row] = True
    truth.save_memory(day, block, remember(lived, memory, purchased))
