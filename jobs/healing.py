"""Late rows reach their own day: which days of which tables a delivery touches, derived from the contracts.

Every night rebuilds facts and daily aggregates back to the earliest row that arrived late. Tables with
windows are dearer and change little by a few late rows: they follow once a week, or at once where a day
gained more than a share of its rows (``Market.heal_weekday``, ``Market.heal_late_share``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from jobs.catalog import Catalog
from jobs.contract import DayRange, TableInput
from jobs.lake import Lake
from jobs.reconcile import accounts
from jobs.settings import Market

WEEK = 7
NIGHTLY, WINDOWED = "silver", ("features", "examples")
"""The group that is healed every night, and those that follow weekly."""


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
class LateRows:
    """Rows of an event day that arrived after it."""

    ds: dt.date
    late: int
    rows: int

    @property
    def share(self) -> float:
        """Late rows by all rows of the day; 0 for an empty day."""
        return self.late / self.rows if self.rows else 0.0


def late_rows(lake: Lake, arrivals: DayRange) -> list[LateRows]:
    """What the deliveries of ``arrivals`` added to earlier days, from the reconciliation of the newest builds."""
    late: dict[dt.date, int] = {}
    rows: dict[dt.date, int] = {}
    for (_, ds), account in accounts(lake).items():
        for arrived, parts in account.items():
            arrival, written = dt.date.fromisoformat(arrived), parts.get("written", 0)
            rows[ds] = rows.get(ds, 0) + written
            if max(arrivals.first, ds + dt.timedelta(days=1)) <= arrival <= arrivals.last:
                late[ds] = late.get(ds, 0) + written
    return [LateRows(ds, late[ds], rows[ds]) for ds in sorted(late)]


def windowed_range(lake: Lake, market: Market, days: DayRange) -> DayRange:
    """The days for which tables with windows are rebuilt in the night of ``days.last``.

    Once a week back to the earliest day that the week's deliveries reached, on other nights back to the
    earliest day that gained more than the market's share by tonight's; else the night's own days.
    """
    weekly = days.last.weekday() == market.heal_weekday
    arrivals = DayRange(days.last - dt.timedelta(days=WEEK - 1), days.last) if weekly else days
    found = [each.ds for each in late_rows(lake, arrivals) if weekly or each.share > market.heal_late_share]
    return DayRange(min([*found, days.first]), days.last)
