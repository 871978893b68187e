"""The business figures of the day with their course, and GMV taken apart."""

from __future__ import annotations

from typing import Any

from jobs.report.night import Night
from jobs.report.page import Markup, table
from jobs.report.plots import line
from jobs.report.section import Section
from jobs.report.sections.changes import figure
from jobs.report.terminal import grid, number


def gather(night: Night) -> dict[str, Any]:
    """Every metric in force with its values of the last four weeks, and the parts of GMV."""
    by_metric: dict[str, dict[str, Any]] = {}
    for row in night.metrics:
        by_metric.setdefault(row["metric"], {})[row["ds"]] = row
    today = str(night.day)
    return {
        "metrics": [
            {
                "metric": name,
                "value": of[today]["value"],
                "n": of[today]["n"],
                "past": [of[str(day)]["value"] if str(day) in of else None for day in night.past],
            }
            for name, of in sorted(by_metric.items())
            if today in of
        ],
        "gmv": night.audited("audit.gmv"),
    }


def html(data: dict[str, Any]) -> str:
    rows = [
        [m["metric"], figure(m["value"]), number(m["n"]), Markup(line(m["past"], f"{m['metric']}, last four weeks"))]
        for m in data["metrics"]
    ]
    head = ["metric", "value", "over", "last four weeks"]
    made = table("Metrics in force, by their definitions (docs/metrics.md)", head, rows, (1, 2)) if rows else ""
    return made + (table("GMV taken apart", GMV_HEAD, gmv_rows(data), (1, 2, 3, 4, 5, 6)) if data["gmv"] else "")


GMV_HEAD = ["part", "showings", "clicks", "orders", "CTR", "CVR", "amount, minor units"]


def gmv_rows(data: dict[str, Any]) -> list[list[str]]:
    parts = data["gmv"]
    rows = [
        [
            p["part"],
            *[number(p[name]) for name in ("impressions", "clicks", "orders")],
            number(p["ctr"], 4),
            number(p["cvr"], 4),
            number(p["amount_minor"]),
        ]
        for p in parts
    ]
    return [*rows, ["all", "", "", "", "", "", number(parts[0]["gmv_minor"])]] if parts else []


def text(data: dict[str, Any]) -> list[str]:
    rows = [[m["metric"], figure(m["value"]), number(m["n"])] for m in data["metrics"]]
    lines = grid(["metric", "value", "over"], rows, (1, 2)) if rows else []
    return lines + (grid(GMV_HEAD, gmv_rows(data), (1, 2, 3, 4, 5, 6)) if data["gmv"] else [])


SECTION = Section("Business figures", 80, gather, html, text)
