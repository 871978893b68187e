"""From candidates to lists, and from showings to orders."""

from __future__ import annotations

from typing import Any

from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.plots import bars
from jobs.report.section import Section
from jobs.report.terminal import grid, number

MADE = ("candidates.recall", "candidates.fused", "candidates.ranked", "serving.recommendations")
DONE = ("impressions", "impression_clicks", "orders")


def gather(night: Night) -> dict[str, list[dict[str, Any]]]:
    """Rows of each stage of the night, and counts of what people did on the day."""
    today = str(night.day)
    rows = {r["table"]: r["rows"] for r in night.runs if r["ds"] == today}
    counted = {r["metric"]: r["value"] for r in night.metrics if r["ds"] == today}
    return {
        "lists": [{"stage": name, "n": rows[name]} for name in MADE if rows.get(name)],
        "people": [{"stage": name, "n": int(counted[name])} for name in DONE if counted.get(name)],
    }


def cells(stages: list[dict[str, Any]]) -> list[list[str]]:
    """Each stage with its count and its share of the stage before."""
    befores = [None, *[s["n"] for s in stages]]
    shares = ["–" if b is None else f"{s['n'] / b * 100:.1f} %" for s, b in zip(stages, befores)]
    return [[s["stage"], number(s["n"]), share] for s, share in zip(stages, shares)]


def html(data: dict[str, list[dict[str, Any]]]) -> str:
    made = ""
    titles = {
        "lists": "From candidates to lists: rows",
        "people": "From showings to orders: what people did on the day",
    }
    for part, title in titles.items():
        if data[part]:
            made += table(title, ["stage", "n", "of the stage before"], cells(data[part]), (1, 2))
            made += bars([(s["stage"], s["n"], number(s["n"])) for s in data[part]], title)
    return made


def text(data: dict[str, list[dict[str, Any]]]) -> list[str]:
    return [line for part in data.values() if part for line in grid(["stage", "n", "of before"], cells(part), (1, 2))]


SECTION = Section("Funnel", 70, gather, html, text)
