"""Values that should move and do not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.section import WARN, Problem, Section
from jobs.report.terminal import grid, number

KEPT = ("table", "column", "n", "moved", "days", "share_before", "verdict")


def gather(night: Night) -> list[dict[str, Any]]:
    rows = night.audited("audit.freshness")
    return [{name: r[name] for name in KEPT} | {"owner": night.owner(r["table"])} for r in rows]


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            f"{r['table']}.{r['column']}",
            number(r["n"]),
            number(r["moved"]),
            percent(r["share_before"]),
            r["verdict"].replace("_", " "),
        ]
        for r in rows
    ]


def percent(share: float | None) -> str:
    return "–" if share is None else f"{share * 100:.1f} %"


HEAD = ["column", "keys", "moved since the day before", "usual share", "verdict"]


def html(rows: list[dict[str, Any]]) -> str:
    return table("Keys whose value moved since the day before", HEAD, cells(rows), (1, 2, 3)) if rows else ""


def text(rows: list[dict[str, Any]]) -> list[str]:
    return grid(HEAD, cells(rows), (1, 2, 3)) if rows else []


def problems(rows: list[dict[str, Any]]) -> Iterator[Problem]:
    for r in rows:
        if r["verdict"] == "frozen":
            said = (
                f"{r['table']}.{r['column']} is frozen: none of {r['n']:,} values moved since the day before; "
                f"on each of the {r['days']} days before some did."
            )
            yield Problem(WARN, r["table"], said, r["owner"], "0 moved", percent(r["share_before"]))


SECTION = Section("Freshness", 145, gather, html, text, problems)
