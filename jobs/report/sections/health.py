"""The health index with its parts and weights, and the figures behind it with their warning lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.report.night import Night
from jobs.report.page import Markup, folded, table
from jobs.report.plots import line
from jobs.report.section import WARN, Problem, Section
from jobs.report.sections.changes import figure
from jobs.report.terminal import grid, number, wrapped

TABLE = "audit.health"
KEPT = (
    "metric",
    "part",
    "value",
    "n",
    "low",
    "high",
    "better",
    "basis",
    "history",
    "score",
    "weight",
    "verdict",
    "why",
)


def gather(night: Night) -> dict[str, Any]:
    """Index, parts and figures of the day with their course; empty where the audit did not run."""
    totals = night.history(TABLE, night.past, filters=[("dimension", "in", ["all", "part"])])
    today = str(night.day)
    rows = [r for r in totals if r["ds"] == today]
    if not rows:
        return {}

    def past(metric: str, group: str) -> list[float | None]:
        of = {r["ds"]: r["value"] for r in totals if (r["metric"], r["value_group"]) == (metric, group)}
        return [of.get(str(day)) for day in night.past]

    def course(metric: str) -> list[float | None]:
        """Of a metric from its own table, which is older than this audit; else from this one."""
        of = {r["ds"]: r["value"] for r in night.metrics if r["metric"] == metric}
        return [of.get(str(day)) for day in night.past] if of else past(metric, "all")

    parts = sorted((r for r in rows if r["metric"] == "index"), key=lambda r: (r["dimension"], r["part"]))
    whole = next((r for r in parts if r["dimension"] == "all"), None)
    of_figures = sorted((r for r in rows if r["metric"] != "index"), key=lambda r: (r["part"], r["metric"]))
    segments = night.read(TABLE, filters=[("dimension", "not in", ["all", "part"]), ("verdict", "=", "warn")])
    return {
        "index": whole and whole["value"],
        "line": whole and whole["low"],
        "past": past("index", "all"),
        "parts": [
            {"part": r["part"], "score": r["value"], "line": r["low"], "weight": r["weight"], "figures": r["n"]}
            | {"past": past("index", r["value_group"])}
            for r in parts
            if r["dimension"] == "part"
        ],
        "falls": [{name: r[name] for name in ("part", "value", "low", "why")} for r in parts if r["verdict"] == "warn"],
        "figures": [{name: r[name] for name in KEPT} | {"past": course(r["metric"])} for r in of_figures],
        "segments": [
            {name: r[name] for name in ("metric", "dimension", "value_group", "value", "low", "high", "n", "why")}
            for r in sorted(segments, key=lambda r: (r["metric"], r["dimension"], r["value_group"]))
        ],
        "owner": night.owner(TABLE),
    }


def lines_of(row: dict[str, Any]) -> str:
    return "–" if row["low"] is None else f"{figure(row['low'])} to {figure(row['high'])}"


def index_said(data: dict[str, Any]) -> str:
    if data["index"] is None:
        return "There is no index yet: no figure has a past to be held against."
    limit = "" if data["line"] is None else f" (warning line {data['line']:.0f})"
    said = f"Health index {data['index']:.0f} of 100{limit}"
    return f"{said}: the weighted mean of its parts, each of its figures' scores."


PART_HEAD = ["part", "score", "warning line", "weight", "figures"]


def part_cells(part: dict[str, Any]) -> list[str]:
    return [part["part"], number(part["score"], 0), number(part["line"], 0), number(part["weight"], 2)]


def html(data: dict[str, Any]) -> str:
    if not data:
        return ""
    parts = [[*part_cells(p), p["figures"], Markup(line(p["past"], p["part"]))] for p in data["parts"]]
    rows = [
        [
            f["metric"],
            f["part"],
            figure(f["value"]),
            lines_of(f),
            number(f["score"], 0),
            f["verdict"].replace("_", " "),
            f["why"],
            Markup(line(f["past"], f"{f['metric']}, last four weeks", f["low"], f["high"])),
        ]
        for f in data["figures"]
    ]
    head = ["figure", "part", "value", "warning lines", "score", "verdict", "why", "last four weeks"]
    segments = [
        [s["metric"], s["dimension"], s["value_group"], figure(s["value"]), lines_of(s), number(s["n"]), s["why"]]
        for s in data["segments"]
    ]
    of = ["figure", "by", "segment", "value", "warning lines", "n", "why"]
    return (
        f"<p>{index_said(data)} {line(data['past'], 'Health index, last four weeks', 0, 100)}</p>"
        + table("Parts and their weights", [*PART_HEAD, "last four weeks"], parts, (1, 2, 3, 4))
        + folded(f"The {len(rows)} figures with their warning lines", table("Figures", head, rows, (2, 4)))
        + (table("Segments beyond their line", of, segments, (3, 5)) if segments else "")
    )


def text(data: dict[str, Any]) -> list[str]:
    if not data:
        return []
    parts = [[*part_cells(p), str(p["figures"])] for p in data["parts"]]
    rows = [
        [f["metric"], f["part"], figure(f["value"]), lines_of(f), number(f["score"], 0), f["verdict"], f["why"]]
        for f in data["figures"]
    ]
    return [
        *wrapped(index_said(data)),
        *grid(PART_HEAD, parts, (1, 2, 3, 4)),
        *grid(["figure", "part", "value", "lines", "score", "verdict", "why"], rows, (2, 4)),
    ]


KIND = "figures of health beyond their warning lines"
KIND_OF_PART = "parts of health below their warning lines"


def problems(data: dict[str, Any]) -> Iterator[Problem]:
    for f in data["figures"] if data else ():
        if f["verdict"] == "warn":
            said = f"{f['metric']} is {figure(f['value'])}, {f['why']}."
            yield Problem(WARN, f["metric"], said, data["owner"], figure(f["value"]), lines_of(f), KIND)
    for p in data["falls"] if data else ():
        name, kind = ("health index", "") if p["part"] == "all" else (f"health of {p['part']}", KIND_OF_PART)
        score, limit = number(p["value"], 0), number(p["low"], 0)
        yield Problem(WARN, name, f"{name} is {score} of 100, {p['why']}.", data["owner"], score, limit, kind)


SECTION = Section("Health", 50, gather, html, text, problems)
