"""Cases that a person should read: what went wrong, for whom, with which item, and which layer caused it."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.plots import bars
from jobs.report.section import WARN, Problem, Section
from jobs.report.terminal import grid, number

TABLE = "audit.badcase"
SHOWN = 15
WEEK, LEAST_NIGHTS = 7, 3


def gather(night: Night) -> dict[str, Any]:
    """Cases by type and by layer, and the gravest with names and titles; empty where there are none."""
    days = night.past[-(WEEK + 1) :]
    past = Counter((r["ds"], r["type"]) for r in night.history(TABLE, days, ["ds", "type"]))
    rows = night.read(TABLE)
    if not rows:
        return {}
    rows.sort(key=lambda r: (-r["severity"], r["type"], r["case_id"]))
    nights = sorted({ds for ds, _ in past} - {str(night.day)})
    types = [
        {"type": kind, "n": n, "before": [past[ds, kind] for ds in nights]}
        for kind, n in sorted(Counter(r["type"] for r in rows).items())
    ]
    layers = dict(sorted(Counter(r["layer"] or "unknown" for r in rows).items()))
    return {"types": types, "layers": layers, "cases": named(night, rows[:SHOWN]), "owner": night.owner(TABLE)}


def named(night: Night, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Cases with what their items and people are called."""

    def keys(name: str) -> set[int]:
        return {r[name] for r in rows if r[name] is not None}

    items = night.names("silver.items", "item_id", keys("item_id"), "original_id", "title")
    people = night.names("silver.users", "user_id", keys("user_id"), "original_id")
    return [
        {
            **{name: r[name] for name in ("type", "severity", "layer", "category", "evidence")},
            "user": people.get(r["user_id"], {}).get("original_id", ""),
            "title": items.get(r["item_id"], {}).get("title", ""),
            "item": items.get(r["item_id"], {}).get("original_id", ""),
        }
        for r in rows
    ]


def cells(data: dict[str, Any]) -> list[list[Any]]:
    return [
        [
            c["title"] or c["item"] or c["category"] or "–",
            c["type"].replace("_", " "),
            c["severity"],
            c["layer"] or "",
            c["user"],
        ]
        for c in data["cases"]
    ]


def in_words(evidence: str | None) -> str:
    """The figures of a case as a person reads them: ``showings 3, refused ds 2024-03-15``."""
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in json.loads(evidence or "{}").items())


def html(data: dict[str, Any]) -> str:
    if not data:
        return ""
    whole = sum(data["layers"].values())
    rows = [[*row, in_words(c["evidence"])] for row, c in zip(cells(data), data["cases"])]
    return (
        bars([(t["type"].replace("_", " "), t["n"], number(t["n"])) for t in data["types"]], "Cases by type")
        + bars(
            [(name, n, f"{n / whole:.0%}") for name, n in data["layers"].items()], "Cases by the layer that caused them"
        )
        + table(f"The gravest {len(rows)}", ["what", "type", "severity", "layer", "user", "evidence"], rows, (2,))
    )


def text(data: dict[str, Any]) -> list[str]:
    if not data:
        return []
    counted = ", ".join(f"{t['n']} {t['type'].replace('_', ' ')}" for t in data["types"])
    rows = [[str(cell) for cell in row] for row in cells(data)]
    return [f"  {counted}", *grid(["what", "type", "severity", "layer", "user"], rows, (2,))]


def problems(data: dict[str, Any]) -> Iterator[Problem]:
    """Types with far more cases than on the nights before: more than chance adds to a count (four deviations)."""
    for t in data["types"] if data else ():
        if len(t["before"]) >= LEAST_NIGHTS:
            mean = sum(t["before"]) / len(t["before"])
            most = mean + 4 * math.sqrt(max(mean, 1.0))
            if t["n"] > most:
                kind = t["type"].replace("_", " ")
                said = f"{t['n']} cases of {kind}, {mean:.0f} a night in the week before."
                yield Problem(WARN, f"badcases {kind}", said, data["owner"], str(t["n"]), f"{most:.0f}")


SECTION = Section("Badcases", 130, gather, html, text, problems)
