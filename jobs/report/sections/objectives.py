"""The weights of the objectives by content type, and what moved them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs import objectives, ops
from jobs.report.night import Night
from jobs.report.night import newest as newest_rows
from jobs.report.page import table
from jobs.report.section import WARN, Problem, Section
from jobs.report.terminal import grid, number

OBJECTIVES = ("ctr", "cvr", "dwell")
KEPT = ("content_type", *OBJECTIVES, *(f"{n}_change" for n in OBJECTIVES), "move", "reason")


def gather(night: Night) -> list[dict[str, Any]]:
    rows = newest_rows(night.read(ops.OBJECTIVE_WEIGHTS.name), "content_type")
    owner = night.owner(ops.OBJECTIVE_WEIGHTS.name)
    used = objectives.in_force(night.settings, night.day)
    kept = [{name: r[name] for name in KEPT} | {"owner": owner, "in_force": used} for r in rows]
    return sorted(kept, key=lambda r: r["content_type"])


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            r["content_type"],
            " / ".join(number(r[name], 3) for name in OBJECTIVES),
            ", ".join(percent(r[f"{name}_change"]) for name in OBJECTIVES),
            r["move"],
            r["reason"],
        ]
        for r in rows
    ]


def percent(change: float | None) -> str:
    return "–" if change is None else f"{change * 100:+.1f} %"


HEAD = ["content type", "CTR / CVR / dwell", "their rates since the reference week", "move", "why"]


def html(rows: list[dict[str, Any]]) -> str:
    return table(f"Weights of the objectives: {standing(rows)}", HEAD, cells(rows)) if rows else ""


def text(rows: list[dict[str, Any]]) -> list[str]:
    return [f"  {standing(rows)}", *grid(HEAD[:4], [row[:4] for row in cells(rows)])] if rows else []


def standing(rows: list[dict[str, Any]]) -> str:
    """Whether lists are ordered by the weights."""
    return "in force" if rows[0]["in_force"] else "not in force, no list is ordered by fusion"


def problems(rows: list[dict[str, Any]]) -> Iterator[Problem]:
    for r in rows:
        if r["move"] == "lowered":
            unused = "" if r["in_force"] else f" It is {standing([r])}."
            said = f"The CTR weight of {r['content_type']} was lowered to {r['ctr']:.3f}: {r['reason']}.{unused}"
            yield Problem(WARN, f"objectives of {r['content_type']}", said, r["owner"], percent(r["ctr_change"]), "")


SECTION = Section("Objectives", 32, gather, html, text, problems)
