"""Cases that a person should read: what went wrong, for whom, with which item."""

from __future__ import annotations

from typing import Any

from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.plots import bars
from jobs.report.section import Section
from jobs.report.terminal import grid

SHOWN = 15
SEVERITIES = ("high", "medium", "low")


def gather(night: Night) -> dict[str, Any]:
    """Counts by type, and the gravest cases with names and titles; empty where the audit does not run."""
    rows = night.read("audit.badcase")
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["type"]] = counts.get(row["type"], 0) + 1
    order = {name: at for at, name in enumerate(SEVERITIES)}
    rows.sort(key=lambda r: (order.get(r["severity"], len(order)), r["type"], str(r["case"])))
    shown = rows[:SHOWN]
    items = night.names("silver.items", "item_id", keys(shown, "item_id"), "original_id", "title") if shown else {}
    people = night.names("silver.users", "user_id", keys(shown, "user_id"), "original_id") if shown else {}
    cases = [
        {
            "type": r["type"],
            "severity": r["severity"],
            "user": people.get(r["user_id"], {}).get("original_id", ""),
            "title": items.get(r["item_id"], {}).get("title", ""),
            "item": items.get(r["item_id"], {}).get("original_id", ""),
            "evidence": r["evidence"],
        }
        for r in shown
    ]
    return {"counts": dict(sorted(counts.items())), "cases": cases} if rows else {}


def keys(rows: list[dict[str, Any]], name: str) -> set[int]:
    return {r[name] for r in rows if r[name] is not None}


def html(data: dict[str, Any]) -> str:
    if not data:
        return ""
    rows = [[c["title"] or c["item"], c["type"], c["severity"], c["user"], c["evidence"] or ""] for c in data["cases"]]
    plot = bars([(kind, n, str(n)) for kind, n in data["counts"].items()], "Cases by type")
    return plot + table("The gravest", ["title", "type", "severity", "user", "evidence"], rows)


def text(data: dict[str, Any]) -> list[str]:
    if not data:
        return []
    counted = ", ".join(f"{n} {kind}" for kind, n in data["counts"].items())
    rows = [[c["title"] or c["item"], c["type"], c["severity"], c["user"]] for c in data["cases"]]
    return [f"  {counted}", *grid(["title", "type", "severity", "user"], rows)]


SECTION = Section("Badcases", 130, gather, html, text)
