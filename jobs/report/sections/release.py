"""The lists that the night released, and whether readers get them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

from jobs import holds, ops, releases
from jobs.report.night import Night
from jobs.report.section import FAIL, WARN, Problem, Section
from jobs.report.terminal import wrapped


def gather(night: Night) -> dict[str, Any] | None:
    """The newest release made for the day, whether it is the one that readers get, and a hold of publishing."""
    of_day = [r for r in night.releases if r["ds"] == night.day and r["kind"] != "rollback"]
    if not of_day:
        return None
    row = of_day[-1]
    moving = [r for r in night.releases if r["kind"] in releases.MOVES_POINTER]
    held = holds.held(night.lake)
    return {
        "release_id": row["release_id"],
        "kind": row["kind"],
        "current": bool(moving) and moving[-1]["release_id"] == row["release_id"],
        "tables": json.loads(row["tables"] or "{}"),
        "run_id": row["run_id"],
        "at_ms": row["at_ms"],
        "hold": held and {name: held[name] for name in ("person", "reason")},
    }


def said(release: dict[str, Any] | None) -> str:
    if release is None:
        return "No lists were released."
    served = "the one that readers get" if release["current"] else "not the one that readers get"
    return f"Release {release['release_id']} ({release['kind']}), {served}."


def hold_said(hold: dict[str, Any]) -> str:
    return f"Publishing is on hold by {hold['person']}: {hold['reason']}"


def html(release: dict[str, Any] | None) -> str:
    if release is None:
        return '<p class="bad">No lists were released.</p>'
    hold = release["hold"]
    return f"<p>{escape(said(release))}</p>" + (f'<p class="care">{escape(hold_said(hold))}</p>' if hold else "")


def text(release: dict[str, Any] | None) -> list[str]:
    lines = wrapped(said(release))
    if release and release["hold"]:
        lines += wrapped(hold_said(release["hold"]))
    return lines


def problems(release: dict[str, Any] | None) -> Iterator[Problem]:
    if release is None:
        yield Problem(FAIL, "release", "No lists were released for the day.", ops.RELEASE.owner, "none", "one release")
    elif release["hold"]:
        yield Problem(
            WARN, "release", f"Publishing is on hold by {release['hold']['person']}.", ops.HOLD.owner, "hold", "resume"
        )


SECTION = Section("Release", 20, gather, html, text, problems)
