"""Whether groups of people are served alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.report.night import Night
from jobs.report.page import folded, table
from jobs.report.section import WARN, Problem, Section
from jobs.report.terminal import grid, interval, number


def gather(night: Night) -> list[dict[str, Any]]:
    owner = night.owner("audit.fairness")
    return [row | {"owner": owner} for row in night.audited("audit.fairness")]


def compared(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How groups differ, or vary where there are many; the groups themselves are in the table."""
    return [r for r in rows if r["kind"] in ("difference", "variance")]


def metric_name(row: dict[str, Any]) -> str:
    name = row["metric"] if row["metric"] == "served" or not row["k"] else f"{row['metric']}@{row['k']}"
    name += f", {row['horizon_days']} d" if row["horizon_days"] else ""
    return f"{name}, variance" if row["kind"] == "variance" else name


def gaps(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [r["attribute"], metric_name(r), interval(r), number(r["n"]), number(r["threshold"], 2), r["verdict"] or ""]
        for r in compared(rows)
    ]


def html(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    groups = [
        [r["attribute"], r["group"] or "everybody", metric_name(r), interval(r), number(r["n"]), r["verdict"] or ""]
        for r in rows
        if r["kind"] in ("group", "overall")
    ]
    head = ["by", "metric", "greatest less least, 95 % interval", "users", "limit", "verdict"]
    each = table("Each group", ["by", "group", "metric", "value, 95 % interval", "users", "verdict"], groups, (4,))
    return table("Differences between groups", head, gaps(rows), (3, 4)) + folded("Each group with its figures", each)


def text(rows: list[dict[str, Any]]) -> list[str]:
    head = ["by", "metric", "greatest less least", "users", "limit", "verdict"]
    return grid(head, gaps(rows), (3, 4)) if rows else []


def problems(rows: list[dict[str, Any]]) -> Iterator[Problem]:
    for r in compared(rows):
        if r["verdict"] == "warn":
            said = f"{metric_name(r)} differs by {number(r['value'])} between groups of {r['attribute']}."
            kind = f"attributes whose groups differ in {metric_name(r)}"
            subject, limit = f"fairness {r['attribute']}", number(r["threshold"], 2)
            yield Problem(WARN, subject, said, r["owner"], interval(r), limit, kind)


SECTION = Section("Groups of people", 120, gather, html, text, problems)
