"""A person stops the publishing of releases, and starts it again; what is served stays as it is."""

from __future__ import annotations

import datetime as dt
import getpass
from typing import Any

from jobs import ops
from jobs.errors import PublishError, SettingsError
from jobs.lake import Lake
from jobs.publishing import now_ms

HELD, RESUMED = "hold", "resume"


def held(lake: Lake) -> dict[str, Any] | None:
    """The hold in force, or None."""
    rows = lake.rows(ops.HOLD.name, through=False).to_pylist()
    newest = max(rows, key=lambda r: r["at_ms"], default=None)
    return newest if newest and newest["action"] == HELD else None


def hold(lake: Lake, reason: str, person: str | None = None) -> dict[str, Any]:
    """Stop publishing, until `resume`.

    Raises
    ------
    SettingsError
        It is stopped already.
    """
    now = held(lake)
    if now:
        raise SettingsError(f"Publishing is on hold already, by {now['person']}: {now['reason']}.")
    return _append(lake, HELD, reason, person)


def resume(lake: Lake, reason: str, person: str | None = None) -> dict[str, Any]:
    """Start publishing again.

    Raises
    ------
    SettingsError
        It is not stopped.
    """
    if not held(lake):
        raise SettingsError("Publishing is not on hold: there is nothing to resume.")
    return _append(lake, RESUMED, reason, person)


def refuse_on_hold(lake: Lake, ds: dt.date) -> None:
    """Raise where publishing is on hold.

    Raises
    ------
    PublishError
        It is; the sentence says by whom, why, and what to do.
    """
    now = held(lake)
    if now:
        raise PublishError(
            f"Publishing is on hold by {now['person']}: {now['reason']}. The lists of {ds} are staged and not "
            "released, and readers keep the release before. Run `nightjar resume`, then clear this task."
        )


def _append(lake: Lake, action: str, reason: str, person: str | None) -> dict[str, Any]:
    at_ms = now_ms()
    day = dt.datetime.fromtimestamp(at_ms / 1000, dt.UTC).date()
    row = {"ds": day, "action": action, "person": person or getpass.getuser(), "reason": reason, "at_ms": at_ms}
    lake.append(ops.HOLD, [row])
    return row
