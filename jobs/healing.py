"""What a night builds beside its own day, so that days in any order end as a clean serial run.

*Days are missing*, because nobody ran them or they failed: snapshots and windows look back over them, so they are built
first. *A day landed anew*: a file came after its day was taken in. *Rows came late*: they reach the day of their event.
*An older day is run*: later days derive from it. All of it is read from what landed, from the tables' logs and from
``ops.run``, where a group's rows appear at once: what a killed run did not finish is done again.

Bronze and silver follow every night. Tables with windows are dearer and change little by a few rows: they follow once a
week, or at once where more than a share of a day's rows changed, or of one table's (``Market.heal_weekday``,
``Market.heal_late_share``).
"""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from jobs import ops
from jobs.catalog import Catalog
from jobs.contract import DayRange, Table, TableInput
from jobs.lake import Lake
from jobs.landing import FEEDS, first_landed, landed_rows

log = logging.getLogger(__name__)
WINDOWED = ("features", "examples")
"""Groups of tables with windows."""
BACK = 30
"""How many days a night goes back by itself for what changed; further back is a backfill's, which somebody plans."""
LEAST_MOVED = 20
"""So many rows of one table must have moved for its share to count by itself."""
DAY = dt.timedelta(days=1)
Account = Mapping[str, Mapping[str, int]]
"""Rows of an event day by day of arrival and what became of them (`jobs.reconcile`)."""


def touched(each: TableInput, changed: DayRange) -> DayRange:
    """The days of a reader whose window of ``each`` holds one of the ``changed`` days."""
    return DayRange(
        changed.first + dt.timedelta(days=each.lag - each.ahead),
        changed.last + dt.timedelta(days=each.lag + each.days - 1),
    )


def affected(catalog: Catalog, changed: Mapping[str, DayRange], last: dt.date) -> dict[str, DayRange]:
    """Every table that reads changed days, directly or not, with its own touched days up to ``last``.

    Parameters
    ----------
    changed
        Tables and the days whose rows changed.
    last
        The newest day that is built; nothing later can be touched.

    Returns
    -------
    dict
        In working order, the changed tables first among them.
    """
    found = dict(changed)
    for name in catalog.order:
        node = catalog.node(name)
        ranges = [touched(i, found[i.table]) for i in node.table_inputs if i.table in found and i.table != name]
        if name in changed:
            ranges.append(changed[name])
        ranges = [r for r in ranges if r.first <= last]
        if ranges:
            # a table that reads its own yesterday carries a change on to the last day
            ends = last if node.contract.stateful else min(last, max(r.last for r in ranges))
            found[name] = DayRange(min(r.first for r in ranges), ends)
    return {name: found[name] for name in catalog.order if name in found}


@dataclass(frozen=True)
class Record:
    """What ``ops.run`` says of builds.

    Parameters
    ----------
    built
        By table and day, when the newest build was published.
    accounts
        By day and row-preserving table, every account with its time, oldest first.
    """

    built: Mapping[str, Mapping[dt.date, int]]
    accounts: Mapping[dt.date, Mapping[str, list[tuple[int, Account]]]]

    @classmethod
    def of(cls, lake: Lake) -> Record:
        built: dict[str, dict[dt.date, int]] = defaultdict(dict)
        accounts: dict[dt.date, dict[str, list[tuple[int, Account]]]] = defaultdict(lambda: defaultdict(list))
        columns = ["ds", "table", "status", "inputs", "reconciliation", "at_ms"]
        rows = lake.rows(ops.RUN.name, columns).to_pylist()
        for row in sorted((r for r in rows if r["status"] == "published"), key=lambda r: r["at_ms"]):
            built[row["table"]][row["ds"]] = row["at_ms"]
            if row["inputs"] is None:  # `nightjar restore` put it back to a day that was never built
                del built[row["table"]][row["ds"]]
            if row["reconciliation"]:
                accounts[row["ds"]][row["table"]].append((row["at_ms"], json.loads(row["reconciliation"])))
        return cls(built, accounts)

    def missing(self, tables: Iterable[str], first: dt.date) -> dt.date | None:
        """The day after the newest before ``first`` that the tables all have; None where none was ever built."""
        before = [[day for day in self.built.get(table, ()) if day < first] for table in tables]
        return min((max(days) + DAY for days in before if days), default=None)

    def newest(self, tables: Iterable[str], least: dt.date) -> dt.date:
        """The newest day that any of the tables has, or ``least`` where that is later."""
        return max([least, *(day for table in tables for day in self.built.get(table, ()))])

    def accounted(self, table: str) -> Counter[str]:
        """Rows that the newest accounts of a table hold, by day of arrival."""
        found: Counter[str] = Counter()
        for tables in self.accounts.values():
            for arrival, parts in tables[table][-1][1].items() if table in tables else ():
                found[arrival] += sum(parts.values())
        return found


def night_ranges(lake: Lake, catalog: Catalog, group: str, days: DayRange) -> dict[str, DayRange]:
    """The days of a group's tables and artifacts in the night of ``days``: those, and what they make to be built again.

    Returns
    -------
    dict
        By name; what is not in it is built for ``days``. It needs no engine, so a plan can ask as well.
    """
    nodes = catalog.group(group)
    tables = [node.name for node in nodes if isinstance(node.contract, Table)]
    if group == "bronze":
        return _bronze_ranges(lake, catalog, days)
    if group == "silver":
        whole, events = _silver_ranges(lake, tables, days)
        state = {node.name for node in nodes if node.contract.stateful}
        return {node.name: whole if node.name in state else events for node in nodes}
    if group in WINDOWED:
        return dict.fromkeys((node.name for node in nodes), windowed_range(Record.of(lake), lake, tables, days))
    return {}


def landed_anew(lake: Lake, days: DayRange) -> dict[str, list[dt.date]]:
    """By feed the days within the late limit before ``days`` of which other rows landed than bronze has.

    Where nothing has landed, or what did is no longer kept, there is nothing to read again.
    """
    root, market = lake.settings.landing, lake.settings.market
    before = [days.first - n * DAY for n in range(market.late_days, 0, -1)]
    found = {}
    for feed in FEEDS:
        landed = {day: rows for day in before if (rows := landed_rows(root, market.name, feed.name, day))}
        has = lake.counts(f"bronze.{feed.name}") if landed else {}
        if anew := [day for day, rows in landed.items() if rows != has.get(str(day), 0)]:
            found[feed.name] = anew
    return found


def _bronze_ranges(lake: Lake, catalog: Catalog, days: DayRange) -> dict[str, DayRange]:
    feeds = {node.name: node.landing_inputs[0].feed for node in catalog.group("bronze")}
    begin, anew = _begin(Record.of(lake), lake, feeds, days.first), landed_anew(lake, days)
    if begin < days.first:
        log.warning("%s to %s are missing before %s: they are built first.", begin, days.first - DAY, days)
    found = {}
    for name, feed in feeds.items():
        late = [day for day in anew.get(feed, ()) if day < begin]
        if late:
            log.warning("%s landed anew since %s took it in: it is built again.", ", ".join(map(str, late)), name)
        found[name] = DayRange(min([begin, *late]), days.last)
    return found


def _begin(record: Record, lake: Lake, tables: Iterable[str], first: dt.date) -> dt.date:
    """The first day to build: after the newest before ``first``, else the first that landed: users are told of once."""
    settings = lake.settings
    found = record.missing(tables, first) or first_landed(settings.landing, settings.market.name) or first
    return min(found, first)


def _silver_ranges(lake: Lake, tables: list[str], days: DayRange) -> tuple[DayRange, DayRange]:
    """The days of snapshots, and those of facts and what counts them, which begin at the earliest late row."""
    record = Record.of(lake)
    arrivals = _unsettled(record, lake, days)
    first = min([_begin(record, lake, tables, days.first), *arrivals])
    # a day that changed is part of every later snapshot
    last = record.newest(tables, days.last) if arrivals else days.last
    return DayRange(first, last), DayRange(_earliest_event(lake, first, days.last), last)


def _unsettled(record: Record, lake: Lake, days: DayRange) -> set[dt.date]:
    """Days of arrival up to the night whose rows in silver's accounts are not those that bronze has, or will have."""
    found = {day for anew in landed_anew(lake, days).values() for day in anew}
    for feed in FEEDS:
        accounted = record.accounted(f"silver.{feed.name}")
        delivered = lake.counts(f"bronze.{feed.name}").items()
        found |= {dt.date.fromisoformat(ds) for ds, rows in delivered if rows != accounted[ds]}
    return {day for day in found if days.first - BACK * DAY <= day <= days.last}


def _earliest_event(lake: Lake, first: dt.date, last: dt.date) -> dt.date:
    """The earliest day of a fact that was delivered from ``first`` on and within the late limit."""
    late = lake.settings.market.late_days
    # what arrives later than this cannot belong to a day before the first
    arrivals = list(DayRange(first, min(last, first + late * DAY)))
    found = [first]
    for feed in FEEDS:
        if feed.mode == "facts":
            rows = lake.rows(f"bronze.{feed.name}", ["ds", "event_ds"], ds=arrivals)
            if rows.num_rows:
                event, arrival = (pc.cast(rows[name], pa.int32()) for name in ("event_ds", "ds"))
                found.append(pc.min(rows["event_ds"].filter(pc.less_equal(pc.subtract(arrival, event), late))).as_py())
    return min(day for day in found if day is not None)


@dataclass(frozen=True)
class Change:
    """How far a day moved, or one table's part of it, since its windows were built: rows that came or went, and their
    earliest arrival.
    """

    ds: dt.date
    moved: int
    rows: int
    since: dt.date

    @property
    def share(self) -> float:
        """Moved rows by all rows."""
        return self.moved / max(1, self.rows)


def changes(record: Record, tables: Iterable[str], days: DayRange) -> list[Change]:
    """The days whose accounts are others than when the first of the tables' days was built that reads them.

    A day changed as far as all its rows together, or those of the table of which the largest share moved: many rows of
    another one hide nothing. In a table of a few rows a late one says little: alone it counts from `LEAST_MOVED` on.
    """
    found = []
    for ds in days:
        readers = [[(day, at) for day, at in record.built.get(name, {}).items() if day >= ds] for name in tables]
        known = min((min(later)[1] for later in readers if later), default=None)
        accounts = record.accounts.get(ds, {}).values() if known is not None else ()
        each = [_change(ds, account, known) for account in accounts]
        if any(change.moved for change in each):
            since = min(change.since for change in each if change.moved)
            whole = Change(ds, sum(c.moved for c in each), sum(c.rows for c in each), since)
            alone = [replace(change, since=since) for change in each if change.moved >= LEAST_MOVED]
            found.append(max([whole, *alone], key=lambda change: change.share))
    return found


def _change(ds: dt.date, accounts: list[tuple[int, Account]], known: int) -> Change:
    """How far the newest of a table's accounts is from what it was when a reader knew it."""
    then: Account = next((account for at, account in reversed(accounts) if at <= known), {})
    now = accounts[-1][1]
    written = {a: [account.get(a, {}).get("written", 0) for account in (then, now)] for a in {*then, *now}}
    moved = {arrival: abs(after - before) for arrival, (before, after) in written.items()}
    since = min((dt.date.fromisoformat(arrival) for arrival, n in moved.items() if n), default=ds)
    return Change(ds, sum(moved.values()), sum(after for _, after in written.values()), since)


def windowed_range(record: Record, lake: Lake, tables: Iterable[str], days: DayRange) -> DayRange:
    """The days for which tables with windows are built in the night of ``days``, the missing ones before it included.

    What changed is followed once a week, whatever became of the week's night; at once where it is more than the
    market's share of the day or of one table's; and where later days derive from what is built now.
    """
    market = lake.settings.market
    missing = record.missing(tables, days.first) or days.first
    first = max(min(missing, days.first), days.first - BACK * DAY)
    newest = record.newest(tables, days.last)
    weekly = days.last - (days.last.weekday() - market.heal_weekday) % 7 * DAY
    # what happened before there were any windows is of no day that they were built for
    oldest = min((day for table in tables for day in record.built.get(table, ())), default=days.first)
    begin = max(min(oldest, days.first), days.first - BACK * DAY)
    due = []
    for change in changes(record, tables, DayRange(begin, days.last)):
        below = change.ds >= first and newest > days.last
        if change.since <= weekly or change.share > market.heal_late_share or below:
            due.append(change.ds)
    return DayRange(min([first, *due]), newest if due else days.last)
