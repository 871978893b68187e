"""What the sections of the report read: one night of one market, with Delta reads alone."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jobs import ops
from jobs.lake import Lake
from jobs.settings import Settings

HISTORY_DAYS = 28


@dataclass(frozen=True)
class Night:
    """A night to report on.

    Parameters
    ----------
    settings
        Gives home, lake, landing zone and market.
    day
        The night's day.
    run_id
        The run that the report is written by; empty where it is only looked at.
    """

    settings: Settings
    day: dt.date
    run_id: str = ""

    @cached_property
    def lake(self) -> Lake:
        return Lake(self.settings)

    def read(
        self, table: str, columns: list[str] | None = None, filters: Any = None, day: dt.date | None = None
    ) -> list[dict[str, Any]]:
        """Rows of one day of a table as plain data, dates as text; none where the table does not exist."""
        return self.history(table, [day or self.day], columns, filters)

    def history(
        self, table: str, days: Iterable[dt.date], columns: list[str] | None = None, filters: Any = None
    ) -> list[dict[str, Any]]:
        """Rows of several days of a table as plain data, dates as text."""
        opened = self.lake.open(table)
        if opened is None:
            return []
        rows = opened.to_pyarrow_table(columns=columns, filters=[("ds", "in", list(days)), *(filters or [])])
        return [{k: str(v) if isinstance(v, dt.date) else v for k, v in row.items()} for row in rows.to_pylist()]

    def audited(self, table: str) -> list[dict[str, Any]]:
        """An audit's rows of the day in a fixed order, without ``ds``."""
        rows = [{k: v for k, v in row.items() if k != "ds"} for row in self.read(table)]
        return sorted(rows, key=lambda r: [str(r[k]) for k in r if k not in ("value", "lo", "hi", "n")])

    def names(self, table: str, key: str, keys: Iterable[int], *columns: str) -> dict[int, dict[str, Any]]:
        """What a few keys are called, by key."""
        rows = self.read(table, [key, *columns], [(key, "in", sorted(keys))])
        return {row[key]: row for row in rows}

    @cached_property
    def past(self) -> list[dt.date]:
        """The days up to this one that plots show, oldest first."""
        return [self.day - dt.timedelta(days=n) for n in reversed(range(HISTORY_DAYS + 1))]

    @cached_property
    def runs(self) -> list[dict[str, Any]]:
        """The last build of every table for every day of `past`."""
        return newest(self.history(ops.RUN.name, self.past), "ds", "table")

    @cached_property
    def releases(self) -> list[dict[str, Any]]:
        """Every release row, oldest first."""
        return sorted(self.lake.rows(ops.RELEASE.name).to_pylist(), key=lambda r: r["sequence"])

    @cached_property
    def run_ids(self) -> list[str]:
        """The runs of this night, the latest last: of its releases, of earlier reports on it, and the one given.

        A run that failed made no release, nor did one that found its lists released already; and a patch is a run of
        another kind.
        """
        made = [r["run_id"] for r in self.releases if r["ds"] == self.day and r["kind"] in ("nightly", "backfill")]
        written = self.settings.home / "reports" / self.settings.market.name / f"{self.day}.json"
        told = json.loads(written.read_text(encoding="utf-8")).get("run_ids", []) if written.is_file() else []
        # what is named again moves to the end
        return [*dict.fromkeys(run for run in reversed([*made, *told, self.run_id]) if run)][::-1]

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """Totals of the metrics in force for every day of `past` that has them."""
        columns = ["ds", "metric", "value", "n"]
        totals = [("dimension", "=", "all"), ("in_force", "=", True)]
        return self.history("audit.metrics", self.past, columns, totals)

    @cached_property
    def references(self) -> dict[str, dt.date]:
        """The days that a night is held against, by what they are called; the last good night only if there is one.

        A good night published its lists, and no failed check was waived for it.
        """
        waived = {row["ds"] for row in self.history("audit.data_quality", self.past, ["ds", "waiver"]) if row["waiver"]}
        good = [r["ds"] for r in self.releases if r["kind"] == "nightly" and r["ds"] < self.day]
        good = [day for day in good if str(day) not in waived]
        days = {"yesterday": self.day - dt.timedelta(days=1), "a week before": self.day - dt.timedelta(days=7)}
        return days | ({"last good night": max(good)} if good else {})

    def owner(self, table: str) -> str:
        """Who answers for a table; empty where the catalogue does not know it."""
        from jobs.steps import catalog

        node = catalog().nodes.get(table)
        log = ops.BY_NAME.get(table)
        return node.contract.owner if node else (log.owner if log else "")


def newest(rows: Iterable[dict[str, Any]], *by: str) -> list[dict[str, Any]]:
    """Of the rows with equal ``by`` those that were logged last."""
    latest: dict[tuple[Any, ...], int] = {}
    rows = list(rows)
    for row in rows:
        key = tuple(row[name] for name in by)
        latest[key] = max(latest.get(key, 0), row["at_ms"])
    return [row for row in rows if row["at_ms"] == latest[tuple(row[name] for name in by)]]
