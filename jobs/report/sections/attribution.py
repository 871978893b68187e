"""What moved people's satisfaction: by layer, channel, content and segment, mix against rate."""

from __future__ import annotations

from html import escape
from typing import Any

from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.section import Section
from jobs.report.terminal import grid, number, wrapped

SHOWN = 10
KEPT = ("layer", "dimension", "value_group", "n", "n_before", "rate", "rate_before", "mix", "rate_effect", "change")


def gather(night: Night) -> dict[str, Any]:
    """The whole change and the groups that moved it most; empty where a day has no showing."""
    rows = night.read("audit.attribution")
    whole = next((r for r in rows if r["dimension"] == "all"), None)
    if whole is None:
        return {}
    groups = [{name: r[name] for name in KEPT} for r in rows if r["dimension"] != "all"]
    groups.sort(key=lambda r: (-abs(r["change"]), r["dimension"], r["value_group"]))
    kept = ("before_ds", "rate", "rate_before", "change", "lo", "hi", "n", "n_before")
    return {"whole": {name: whole[name] for name in kept}, "groups": groups[:SHOWN]}


def points(value: float) -> str:
    """A difference of rates in percentage points."""
    return f"{value * 100:+.2f}"


def said(whole: dict[str, Any]) -> str:
    moved = "moved" if whole["lo"] > 0 or whole["hi"] < 0 else "did not move more than chance moves it"
    return (
        f"Satisfaction {moved}: {number(whole['rate'] * 100, 2)} % of the showings satisfied, "
        f"{number(whole['rate_before'] * 100, 2)} % on {whole['before_ds']}; {points(whole['change'])} points "
        f"[{points(whole['lo'])} {points(whole['hi'])}]."
    )


def cells(data: dict[str, Any]) -> list[list[str]]:
    return [
        [
            f"{g['dimension']}: {g['value_group']}",
            g["layer"],
            points(g["change"]),
            points(g["mix"]),
            points(g["rate_effect"]),
            number(g["n"]),
            number(g["n_before"]),
        ]
        for g in data["groups"]
    ]


HEAD = ["group", "layer", "change, points", "by its share", "by its rate", "showings", "before"]


def html(data: dict[str, Any]) -> str:
    if not data:
        return ""
    caption = "Groups that moved it most; the groups of one dimension add up to the whole change"
    return f"<p>{escape(said(data['whole']))}</p>" + table(caption, HEAD, cells(data), (2, 3, 4, 5, 6))


def text(data: dict[str, Any]) -> list[str]:
    return [*wrapped(said(data["whole"])), *grid(HEAD, cells(data), (2, 3, 4, 5, 6))] if data else []


SECTION = Section("What moved satisfaction", 60, gather, html, text)
