"""Every table that the night built: rows, files, bytes, time and memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.contract import LAYERS
from jobs.report.night import Night
from jobs.report.page import folded, table
from jobs.report.plots import bars
from jobs.report.section import FAIL, Problem, Section
from jobs.report.terminal import grid, number, wrapped

KEPT = (
    "table",
    "status",
    "rows",
    "seconds",
    "quarantined",
    "duplicates",
    "late",
    "files",
    "bytes",
    "peak_memory",
    "message",
)
SLOWEST = 12
MIB = 1024 * 1024


def gather(night: Night) -> list[dict[str, Any]]:
    """The last build of every table for the day, in order of layer and name."""
    order = {layer: at for at, layer in enumerate(LAYERS)}
    rows = [r for r in night.runs if r["ds"] == str(night.day)]
    rows.sort(key=lambda r: (order.get(r["table"].split(".")[0], len(order)), r["table"]))
    owned = [{"owner": night.owner(r["table"]) if r["status"] != "published" else ""} for r in rows]
    return [{name: row.get(name) for name in KEPT} | owner for row, owner in zip(rows, owned)]


def html(tables: list[dict[str, Any]]) -> str:
    if not tables:
        return "<p>Nothing was built.</p>"
    rows = [
        [
            t["table"],
            *[number(t[name]) for name in ("rows", "quarantined", "duplicates", "late", "files")],
            mebibytes(t["bytes"]),
            number(t["seconds"], 1),
            mebibytes(t["peak_memory"]),
            t["status"] + (f": {t['message']}" if t["message"] else ""),
        ]
        for t in tables
    ]
    head = ["table", "rows", "quarantined", "duplicates", "late", "files", "MiB", "seconds", "memory, MiB", "status"]
    slowest = sorted((t for t in tables if t["seconds"]), key=lambda t: (-t["seconds"], t["table"]))[:SLOWEST]
    plot = bars(
        [(t["table"], t["seconds"], f"{t['seconds']:,.1f} s") for t in slowest], "Seconds of the slowest builds"
    )
    failed = [row for row, t in zip(rows, tables) if t["status"] != "published"]
    whole = table("Last build of every table", head, rows, tuple(range(1, 9)))
    return (
        f"<p>{summary(tables)}</p>{plot}"
        + (table("Builds that failed", head, failed, tuple(range(1, 9))) if failed else "")
        + folded(f"All {len(rows)} tables", whole)
    )


def summary(tables: list[dict[str, Any]]) -> str:
    seconds = sum(t["seconds"] or 0 for t in tables)
    memory = max((t["peak_memory"] or 0 for t in tables), default=0)
    held = f"; at most {mebibytes(memory)} MiB of memory in a building process, Spark apart" if memory else ""
    return f"{len(tables)} tables, {seconds:,.0f} s of building{held}."


def mebibytes(value: int | None) -> str:
    return "–" if value is None else f"{value / MIB:,.1f}"


def text(tables: list[dict[str, Any]]) -> list[str]:
    if not tables:
        return ["  Nothing was built."]
    rows = [
        [
            t["table"],
            number(t["rows"]),
            number(t["seconds"], 1),
            number(t["quarantined"]),
            number(t["duplicates"]),
            number(t["late"]),
            number(t["files"]),
            "" if t["status"] == "published" else f"{t['status']}: {t['message'] or ''}",
        ]
        for t in tables
    ]
    head = ["table", "rows", "seconds", "quarantined", "duplicates", "late", "files", ""]
    delivered = [f"{t['table']}: {t['message']}" for t in tables if t["status"] == "published" and t["message"]]
    lines = [line for said in delivered for line in wrapped(said)]
    return [f"  {summary(tables)}", *grid(head, rows, (1, 2, 3, 4, 5, 6)), *lines]


def problems(tables: list[dict[str, Any]]) -> Iterator[Problem]:
    for t in tables:
        if t["status"] != "published":
            said = f"{t['table']} was not built: {t['message']}"
            yield Problem(FAIL, t["table"], said, t["owner"], t["status"], "published")


SECTION = Section("Run: time, rows, files, memory", 150, gather, html, text, problems)
