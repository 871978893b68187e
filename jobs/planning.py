"""What a build would do before it does it: tables, days, rows, and seconds as earlier runs took them."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs import ops
from jobs.catalog import Catalog
from jobs.contract import DayRange, Node, Table
from jobs.healing import affected, night_ranges
from jobs.lake import Lake

REBUILT = ("bronze", "silver", "features", "examples")
"""Groups that are rebuilt when days before them change; what was served stays as it was served."""
RECENT_DAYS = 7


@dataclass(frozen=True)
class Planned:
    """One node and the days it would be built for; ``rows`` and ``seconds`` are estimates, None without history."""

    node: Node
    days: DayRange
    rows: int | None
    seconds: float | None

    def to_row(self) -> dict[str, Any]:
        builds = 1 if self.node.contract.grain == "range" else len(self.days)
        return {
            "table": self.node.name,
            "group": self.node.contract.group,
            "days": str(self.days),
            "builds": builds,
            "estimated_rows": self.rows,
            "estimated_seconds": None if self.seconds is None else round(self.seconds, 1),
        }


def targets(catalog: Catalog, target: str) -> list[Node]:
    """``table`` alone, or ``table+``: it and all that reads it."""
    if target.endswith("+"):
        return [catalog.node(name) for name in catalog.downstream(catalog.node(target[:-1]).name)]
    return [catalog.node(target)]


def plan(lake: Lake, catalog: Catalog, target: str, days: DayRange, touched: bool = False) -> list[Planned]:
    """What building a target for days comes to, what is built beside them (`jobs.healing`) included.

    Parameters
    ----------
    target
        ``table``, or ``table+`` with all that reads it.
    touched
        Readers are planned for every day whose window holds one of ``days``, up to their newest day,
        instead of for ``days`` alone.
    """
    nodes = targets(catalog, target)
    groups = {node.contract.group for node in nodes}
    ranges = {name: of for group in groups for name, of in night_ranges(lake, catalog, group, days).items()}
    if touched:
        ranges = touched_days(lake, catalog, target, days)
        nodes = [node for node in nodes if node.name in ranges]
    seconds = timings(lake)
    planned = [(node, ranges.get(node.name, days)) for node in nodes]
    return [Planned(n, of, rows_of(lake, n, of), estimate(seconds.get(n.name), of)) for n, of in planned]


def touched_days(lake: Lake, catalog: Catalog, target: str, days: DayRange) -> dict[str, DayRange]:
    """The days of a target and of its readers, where they were ever built, that a change of ``days`` touches."""
    nodes = targets(catalog, target)
    built = [day for node in nodes for day in lake.days(node.name)[-1:] if isinstance(node.contract, Table)]
    found = affected(catalog, {nodes[0].name: days}, max([*built, days.last]))
    rebuilt = [node.name for node in nodes if node.contract.group in REBUILT]
    wanted = {name for name in rebuilt if name == nodes[0].name or lake.open(name) is not None}
    return {name: of for name, of in found.items() if name in wanted}


def rows_of(lake: Lake, node: Node, days: DayRange) -> int | None:
    """Rows that the days hold now; a day that was never built counts as much as the newest ones on average."""
    if not isinstance(node.contract, Table):
        return None
    counts = lake.counts(node.name)
    if not counts:
        return None
    recent = [counts[ds] for ds in sorted(counts)[-RECENT_DAYS:]]
    usual = sum(recent) / len(recent)
    return round(sum(counts.get(str(day), usual) for day in days))


def timings(lake: Lake) -> dict[str, list[tuple[int, float]]]:
    """Days and seconds of every logged build, by table."""
    builds: dict[tuple[str, str, str, float], set[dt.date]] = defaultdict(set)
    columns = ["ds", "run_id", "attempt", "table", "status", "seconds"]
    for row in lake.rows(ops.RUN.name, columns).to_pylist():
        if row["status"] == "published" and row["seconds"] is not None:
            builds[row["table"], row["run_id"], row["attempt"], row["seconds"]].add(row["ds"])
    made: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for (table, _, _, seconds), days in builds.items():
        made[table].append((len(days), seconds))
    return made


def estimate(history: list[tuple[int, float]] | None, days: DayRange) -> float | None:
    """Seconds that a build of so many days takes.

    A build costs a start and so much a day: a line through the logged builds where they differ in
    length (neither part below 0), else their mean, in proportion for a longer range.
    """
    if not history:
        return None
    lengths, seconds = (np.array(column, dtype=float) for column in zip(*history, strict=True))
    if len(set(lengths)) > 1:
        a_day = max(0.0, float(np.polyfit(lengths, seconds, 1)[0]))
        start = max(0.0, float(seconds.mean() - a_day * lengths.mean()))
        return start + a_day * len(days)
    return float(seconds.mean()) * max(1.0, len(days) / lengths[0])


def totals(planned: list[Planned]) -> Mapping[str, Any]:
    """The sums of a plan; tables without history are named and not guessed."""
    return {
        "tables": len(planned),
        "estimated_rows": sum(p.rows or 0 for p in planned),
        "estimated_seconds": round(sum(p.seconds or 0.0 for p in planned), 1),
        "without_history": [p.node.name for p in planned if p.seconds is None],
    }
