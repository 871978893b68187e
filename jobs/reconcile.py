"""Row-preserving steps account for every row: in = written + quarantined + duplicates + late.

The account is kept per arrival day: a row delivered on day A may belong to an earlier event day, so
what a build of event days finds is logged per (event day, arrival day), and the sum over event days
must equal the rows that bronze holds for A.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from pathlib import Path

from jobs import ops
from jobs.contract import DayRange, Table, TableInput
from jobs.errors import CheckFailed
from jobs.lake import Lake
from jobs.staged_sql import staged_rows

PARTS = ("written", "quarantined", "duplicates", "late")
PARTS_QUERY = """
    SELECT CAST(ds AS DATE) AS ds, arrival_ds, count(*) AS rows,
        CASE coalesce(_reject, 'none') WHEN 'none' THEN 'written' WHEN 'duplicate' THEN 'duplicates'
            WHEN 'late' THEN 'late' ELSE 'quarantined' END AS part
    FROM staged GROUP BY ALL
"""


@dataclass(frozen=True)
class Reconciliation:
    """Counts by event day, arrival day and part: ``{ds: {arrival_ds: {part: rows}}}``."""

    by_day: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)

    def of_day(self, ds: str) -> dict[str, int]:
        """Counts of an event day over all of its arrival days."""
        return {part: sum(c.get(part, 0) for c in self.by_day.get(ds, {}).values()) for part in PARTS}

    @property
    def refused(self) -> int:
        return sum(
            counts.get("quarantined", 0) + counts.get("late", 0)
            for arrivals in self.by_day.values()
            for counts in arrivals.values()
        )

    def of_arrival(self, arrival: str) -> int:
        """Rows accounted for of one arrival day."""
        return sum(sum(a.get(arrival, {}).values()) for a in self.by_day.values())


def reconcile(lake: Lake, contract: Table, folder: Path, days: DayRange) -> Reconciliation:
    """Count a stage by event day and arrival day, and hold it against its source.

    Raises
    ------
    CheckFailed
        Rows of an arrival day within ``days`` are not accounted for, or are counted twice.
    """
    by_day: dict[str, dict[str, dict[str, int]]] = {}
    for row in staged_rows(folder, PARTS_QUERY):
        # A snapshot repeats what it knew before: only the day of arrival accounts for a row.
        if contract.rejects != "state" or row["ds"] == row["arrival_ds"]:
            arrivals = by_day.setdefault(str(row["ds"]), {})
            arrivals.setdefault(str(row["arrival_ds"]), {})[row["part"]] = row["rows"]
    found = Reconciliation(by_day)
    _compare(lake, contract, found, days)
    return found


def _compare(lake: Lake, contract: Table, found: Reconciliation, days: DayRange) -> None:
    source = next(i.table for i in contract.inputs if isinstance(i, TableInput) and i.table.startswith("bronze."))
    delivered = lake.counts(source)
    logged = {ds: account for (table, ds), account in accounts(lake).items() if table == contract.name}
    for arrival in days:
        here = found.of_arrival(str(arrival))
        elsewhere = sum(
            sum(arrivals.get(str(arrival), {}).values())
            for ds, arrivals in logged.items()
            if not days.first <= ds <= days.last
        )
        expected = delivered.get(str(arrival), 0)
        if here + elsewhere != expected:
            raise CheckFailed(
                f"{contract.name} does not reconcile for arrivals of {arrival}: {source} delivered {expected} rows, "
                f"{here + elsewhere} are accounted for (written, quarantined, duplicate or late)."
            )


def accounts(lake: Lake) -> dict[tuple[str, dt.date], dict[str, dict[str, int]]]:
    """The newest logged account of every table and event day: rows by arrival day and part."""
    newest: dict[tuple[str, dt.date], tuple[int, str]] = {}
    for row in lake.rows(ops.RUN.name, ["ds", "table", "status", "reconciliation", "at_ms"]).to_pylist():
        if row["status"] == "published" and row["reconciliation"]:
            key = (row["table"], row["ds"])
            newest[key] = max(newest.get(key, (0, "")), (row["at_ms"], row["reconciliation"]))
    return {key: json.loads(text) for key, (_, text) in newest.items()}
