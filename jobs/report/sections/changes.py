"""What changed since yesterday, the same weekday and the last good night: figures, and what could have moved them."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable
from typing import Any

from jobs import ops
from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.section import Section
from jobs.report.terminal import grid, number

MOST_CHANGED = 10
VOLUMES = 1.2
"""A table whose rows grew or shrank by less than this factor is not listed."""
CAUSES = ("code", "configuration", "parameters", "model")
TABLES = {
    "metrics": ("Business figures, with their change", "metric"),
    "volumes": (f"Tables whose rows changed by a factor of {VOLUMES} or more", "table"),
}


def gather(night: Night) -> dict[str, Any]:
    """Comparisons by reference, metrics and volumes that moved most; empty where the night left nothing."""
    mine = Side(night, night.day)
    if not mine.runs:
        return {}
    others = {name: Side(night, day) for name, day in night.references.items()}
    others = {name: side for name, side in others.items() if side.runs}
    return {
        "references": {name: str(side.day) for name, side in others.items()},
        "causes": [
            {"what": what, "night": mine.cause(what)} | {name: difference(what, mine, o) for name, o in others.items()}
            for what in CAUSES
        ],
        "metrics": compared(mine.metrics, {n: o.metrics for n, o in others.items()}, sorted(mine.metrics)),
        "volumes": compared(mine.rows, {n: o.rows for n, o in others.items()}, moved(mine, others.values())),
    }


class Side:
    """One night of a comparison."""

    def __init__(self, night: Night, day: dt.date) -> None:
        self.day = day
        # what backfills and single runs of a day built is not the night's own
        self.runs = [r for r in night.runs if r["ds"] == str(day) and r["status"] == "published"]
        self.metrics = {r["metric"]: r["value"] for r in night.metrics if r["ds"] == str(day)}
        self.rows = {r["table"]: r["rows"] for r in self.runs if r["rows"] is not None}
        self.params = {r["table"]: r["params_hash"] for r in self.runs}
        self.pins = night.read(ops.MODEL_PIN.name, day=day)

    def cause(self, what: str) -> str:
        """What the night used, in short."""
        if what == "parameters":
            return f"{len(self.params)} nodes"
        if what == "model":
            newest = max(self.pins, key=lambda p: p["at_ms"], default=None)
            named = newest and f"{newest['model'] or 'popularity'} {newest['version']}".strip()
            return named or "none"
        column = {"code": "code_version", "configuration": "config_hash"}[what]
        latest = max(self.runs, key=lambda r: r["at_ms"])
        return latest.get(column) or "not recorded"


def difference(what: str, mine: Side, other: Side) -> str:
    """Same, or what it was before."""
    if what == "parameters":
        names = sorted(n for n in mine.params.keys() & other.params.keys() if mine.params[n] != other.params[n])
        return f"changed: {', '.join(names)}" if names else "same"
    return "same" if mine.cause(what) == other.cause(what) else f"was {other.cause(what)}"


def moved(mine: Side, others: Iterable[Side]) -> list[str]:
    """The tables whose rows moved most against any reference."""

    def factor(name: str) -> float:
        pairs = [(mine.rows[name], other.rows[name]) for other in others if name in other.rows]
        return max((abs(math.log((a + 1) / (b + 1))) for a, b in pairs), default=0.0)

    others = list(others)
    found = sorted(mine.rows, key=lambda name: (-factor(name), name))
    return [name for name in found[:MOST_CHANGED] if factor(name) > math.log(VOLUMES)]


def compared(mine: dict[str, Any], others: dict[str, dict[str, Any]], names: Iterable[str]) -> list[dict[str, Any]]:
    return [{"what": n, "night": mine[n], "before": {at: o.get(n) for at, o in others.items()}} for n in names]


def change(now: float | None, before: float | None) -> str:
    """The relative change in percent; the older value where it was 0 or is not known."""
    if now is None or not before:
        return "–" if before is None else number(before)
    return f"{(now / before - 1) * 100:+,.1f} %"


def figure(value: float | None) -> str:
    """A figure with digits by its size; a count has none."""
    whole = value is not None and (abs(value) >= 1000 or (value == int(value) and abs(value) > 1))
    return number(value, 0 if whole else 3)


def rows_of(data: dict[str, Any], part: str) -> list[list[str]]:
    return [
        [r["what"], figure(r["night"]), *[change(r["night"], r["before"][n]) for n in data["references"]]]
        for r in data[part]
    ]


def html(data: dict[str, Any]) -> str:
    if not data:
        return ""
    if not data["references"]:
        return "<p>There is no earlier night to compare with.</p>"
    days = [f"{name} ({day})" for name, day in data["references"].items()]
    right = tuple(range(1, 2 + len(days)))
    causes = [[c["what"], c["night"], *[c[name] for name in data["references"]]] for c in data["causes"]]
    made = table("What could have moved figures", ["what", "this night", *days], causes)
    for part, (title, head) in TABLES.items():
        rows = rows_of(data, part)
        made += table(title, [head, "this night", *days], rows, right) if rows else ""
    return made


def text(data: dict[str, Any]) -> list[str]:
    if not data or not data["references"]:
        return []
    names = list(data["references"])
    causes = [[c["what"], c["night"], *[c[name] for name in names]] for c in data["causes"]]
    right = tuple(range(1, 2 + len(names)))
    lines = grid(["what", "this night", *names], causes)
    for part, (_, head) in TABLES.items():
        rows = rows_of(data, part)
        lines += grid([head, "this night", *names], rows, right) if rows else []
    return lines


SECTION = Section("What changed", 10, gather, html, text)
