"""How widely the lists spread over items and categories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.section import WARN, Problem, Section
from jobs.report.terminal import grid, interval, number


def gather(night: Night) -> list[dict[str, Any]]:
    owner = night.owner("audit.diversity")
    return [row | {"owner": owner} for row in night.audited("audit.diversity")]


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [r["subject"], r["metric"], interval(r), number(r["n"]), number(r["threshold"], 2), r["verdict"] or ""]
        for r in rows
    ]


def html(rows: list[dict[str, Any]]) -> str:
    head = ["surface", "metric", "value, 95 % interval", "n", "limit", "verdict"]
    return table("Spread over items and categories", head, cells(rows), (3, 4)) if rows else ""


def text(rows: list[dict[str, Any]]) -> list[str]:
    return grid(["surface", "metric", "value", "n", "limit", "verdict"], cells(rows), (3, 4)) if rows else []


def problems(rows: list[dict[str, Any]]) -> Iterator[Problem]:
    for r in rows:
        if r["verdict"] == "warn":
            said = (
                f"Lists of {r['subject']}: {r['metric']} is {number(r['value'])}, its limit {number(r['threshold'])}."
            )
            kind = f"surfaces beyond the limit of {r['metric']}"
            subject, limit = f"diversity {r['subject']}", number(r["threshold"], 2)
            yield Problem(WARN, subject, said, r["owner"], interval(r), limit, kind)


SECTION = Section("Spread of the lists", 110, gather, html, text, problems)
