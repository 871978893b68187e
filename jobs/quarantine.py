"""Refused rows: what was refused and why, and taking in again what has been repaired.

Silver is a function of bronze and of the rules. A replay therefore builds it again, for the days that hold
refused rows: after a repaired rule the rows are accepted, and no row can be taken in twice. Rows that are
themselves broken are delivered again, corrected, as a later part of their day of arrival.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from jobs import ops
from jobs.contract import DayRange
from jobs.errors import LandingError
from jobs.lake import Lake
from jobs.landing import day_folder, feed, write_manifest
from jobs.planning import touched_days
from jobs.runner import Runner
from jobs.settings import Settings

FIRST_DAY, LAST_DAY = dt.date(1, 1, 1), dt.date(9999, 12, 31)


def refused(lake: Lake, table: str | None = None, days: DayRange | None = None) -> list[dict[str, Any]]:
    """Refused rows of a silver table (all by default) and days, by day, table and rule."""
    of = {} if table is None else {"source": table}
    rows = lake.rows(ops.QUARANTINE.name, **of).to_pylist()
    within = days or DayRange(FIRST_DAY, LAST_DAY)
    kept = [r for r in rows if within.first <= r["ds"] <= within.last]
    return sorted(kept, key=lambda r: (r["ds"], r["source"], r["rule"], r["file"] or "", r["row"] or ""))


def counts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows by day, table and rule."""
    found = Counter((r["ds"], r["source"], r["rule"]) for r in rows)
    return [{"ds": ds, "table": table, "rule": rule, "rows": n} for (ds, table, rule), n in sorted(found.items())]


def deliver(settings: Settings, table: str, arrival: dt.date, repaired: Path, part: str = "repaired") -> int:
    """Land rows (JSON lines in the feed's columns), as repaired ones, as a further part of a day of arrival.

    The part is named by its content: the same file again is the same part, and lands nothing.

    Returns
    -------
    int
        Rows that landed now.

    Raises
    ------
    LandingError
        A line is no JSON object, or names a column that the feed does not have.
    """
    declared = feed(table.removeprefix("silver."))
    content = repaired.read_bytes()
    lines = [line for line in content.decode("utf-8").splitlines() if line.strip()]
    for number, line in enumerate(lines, start=1):
        _check_line(line, f"{repaired}, line {number}", declared.names)
    part = f"{part}-{hashlib.sha256(content).hexdigest()[:12]}"
    folder = day_folder(settings.landing, settings.market.name, declared.name, arrival)
    if not lines or (folder / f"_manifest.{part}.json").exists():
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{part}.jsonl"
    (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    write_manifest(folder, declared.name, arrival, {name: len(lines)}, part)
    return len(lines)


def _check_line(line: str, where: str, columns: list[str] | tuple[str, ...]) -> None:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise LandingError(f"{where} is no JSON ({error}): nothing was landed.") from None
    if not isinstance(row, dict) or not set(row) <= set(columns):
        raise LandingError(f"{where} is no row of the feed, whose columns are {list(columns)}: nothing was landed.")


def replay(runner: Runner, table: str, days: DayRange, repaired: Path | None = None) -> dict[str, Any]:
    """Take refused rows of a table in again, and rebuild what reads the days that they belong to.

    Parameters
    ----------
    table
        A silver table, as ``silver.events``.
    days
        Days that hold the refused rows; with ``repaired`` the one day on which they were delivered.
    repaired
        Corrected rows, where the rows and not the rules were wrong. Their originals stay in quarantine.

    Returns
    -------
    dict
        Refused rows ``before`` and ``after`` by rule, rows ``delivered``, and rows of every rebuilt table.
    """
    from jobs.steps import run_ranges

    start = table
    delivered = 0
    if repaired is not None:
        if len(days) != 1:
            raise LandingError("Repaired rows belong to one day of arrival: give it with --ds.")
        delivered = deliver(runner.settings, table, days.first, repaired)
        start = table.replace("silver.", "bronze.", 1)
    before = counts(refused(runner.lake, table, days))
    ranges = touched_days(runner.lake, runner.catalog, f"{start}+", days)
    rows = run_ranges(runner, ranges)
    after = counts(refused(runner.lake, table, days))
    return {"before": before, "after": after, "delivered": delivered, "rows": rows}
