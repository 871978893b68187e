"""One named failure of a gate may pass, for a time, because a person answers for it."""

from __future__ import annotations

import datetime as dt
import getpass
from collections.abc import Mapping
from typing import Any

from jobs import ops
from jobs.errors import SettingsError
from jobs.lake import Lake
from jobs.publishing import now_ms

NO_ANSWER = "no answer"
"""How what was observed begins where a check could not be judged: that is no failure which somebody could know."""


def waive(
    lake: Lake, table: str, check: str, ds: dt.date, until: dt.date, reason: str, person: str | None = None
) -> dict[str, Any]:
    """Let failures of one check of one table pass in the nights from ``ds`` to ``until``.

    Raises
    ------
    SettingsError
        ``until`` lies before ``ds``, or no gate has ever seen that check fail on ``ds``: then there is nothing
        to waive, or its name is mistyped. A check without an answer did not fail: nobody knows what it would find.
    """
    if until < ds:
        raise SettingsError(f"A waiver from {ds} until {until} would never hold: --until lies before --ds.")
    found = lake.rows(ops.DATA_QUALITY.name, ["table", "check", "success", "observed"], ds=ds).to_pylist()
    failed = {(row["table"], row["check"]) for row in found if not row["success"] and was_answered(row)}
    if (table, check) not in failed:
        known = "; ".join(sorted(f"{t} {c!r}" for t, c in failed)) or "none"
        raise SettingsError(f"Check {check!r} of {table} did not fail on {ds}, so it is not waived. Failed: {known}.")
    row = {
        "ds": ds,
        "table": table,
        "check": check,
        "until": until,
        "person": person or getpass.getuser(),
        "reason": reason,
        "at_ms": now_ms(),
    }
    lake.append(ops.WAIVER, [row])
    return row


def was_answered(row: Mapping[str, Any]) -> bool:
    """Whether a row of ``audit.data_quality`` says what its check found."""
    return not row["observed"].startswith(NO_ANSWER)


def waived(lake: Lake, ds: dt.date) -> dict[tuple[str, str], str]:
    """What passes in the night of ``ds``: by table and check, the sentence that says who let it."""
    rows = sorted(lake.rows(ops.WAIVER.name).to_pylist(), key=lambda r: r["at_ms"])
    return {
        (r["table"], r["check"]): f"waived by {r['person']} until {r['until']}: {r['reason']}"
        for r in rows
        if r["ds"] <= ds <= r["until"]
    }
