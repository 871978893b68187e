"""Takedowns: items that are ordered off every list, of what is served now and of the nights to come.

An order is a row of ``ops.takedown``. The coming nights read it as eligibility (``features.item_stats``); what is
served is patched (``jobs.patches``), by ``nightjar takedown`` at once, and by every later look for feedback.
"""

from __future__ import annotations

from typing import Any

from jobs import ops, releases
from jobs.errors import SettingsError
from jobs.lake import Lake
from jobs.locks import exclusive
from jobs.publishing import now_ms
from jobs.settings import Settings


def order(settings: Settings, item: str, reason: str, run_id: str, active: bool = True) -> dict[str, Any]:
    """Record that an item is taken down, or with ``active=False`` that it may come back.

    Parameters
    ----------
    item
        The source's id.

    Returns
    -------
    dict
        The row of ``ops.takedown``. It holds from the day of the current release on.

    Raises
    ------
    SettingsError
        No item of that id is known.
    """
    lake = Lake(settings)
    days = lake.days("silver.items")
    known = lake.rows("silver.items", ["item_id"], ds=days[-1], original_id=item).to_pylist() if days else []
    if not known:
        raise SettingsError(f"There is no item {item!r} in market {settings.market.name}: give the source's id.")
    served = releases.current(lake)
    row = {
        "ds": served["ds"] if served else days[-1],
        "item_id": known[0]["item_id"],
        "original_id": item,
        "active": active,
        "reason": reason,
        "run_id": run_id,
    }
    with exclusive(settings.locks, ops.TAKEDOWN.name):
        # of two orders the later one holds, also where a clock went back
        newest = max([r["at_ms"] for r in lake.rows(ops.TAKEDOWN.name, ["at_ms"]).to_pylist()], default=0)
        row["at_ms"] = max(now_ms(), newest + 1)
        lake.append(ops.TAKEDOWN, [row])
    return row


def taken_down(lake: Lake) -> tuple[int, ...]:
    """Keys of the items that are down now, whatever the day of what is served.

    The order that was given last holds: after a rollback it is of an earlier day than those before it.
    """
    newest: dict[int, tuple[int, bool]] = {}
    for row in lake.rows(ops.TAKEDOWN.name, ["item_id", "active", "at_ms"]).to_pylist():
        found = (row["at_ms"], row["active"])
        newest[row["item_id"]] = max(newest.get(row["item_id"], found), found)
    return tuple(sorted(item for item, (_, active) in newest.items() if active))
