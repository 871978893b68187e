"""What the logged showings say of lists that were not shown, where they can say anything."""

from __future__ import annotations

from typing import Any

from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.section import Section
from jobs.report.terminal import grid, interval, number

KEPT = ("estimator", "list_ds", "value", "lo", "hi", "n", "effective_size", "support", "verdict", "reason")


def gather(night: Night) -> list[dict[str, Any]]:
    return [{name: r[name] for name in KEPT} for r in night.audited("audit.off_policy")]


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            r["estimator"],
            interval(r, 4),
            number(r["n"]),
            number(r["effective_size"], 0),
            number(r["support"], 2),
            r["verdict"],
            r["reason"] or "",
        ]
        for r in rows
    ]


HEAD = ["estimator", "actions a showing, 95 % interval", "showings", "that say as much", "support", "verdict", "why"]


def html(rows: list[dict[str, Any]]) -> str:
    return table("The lists judged on what was logged", HEAD, cells(rows), (2, 3, 4)) if rows else ""


def text(rows: list[dict[str, Any]]) -> list[str]:
    return grid(HEAD, cells(rows), (2, 3, 4)) if rows else []


SECTION = Section("Off-policy estimates", 102, gather, html, text)
