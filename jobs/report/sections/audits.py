"""Which audits have not run: what nobody measured must not look well."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.report.night import Night
from jobs.report.page import items
from jobs.report.section import WARN, Problem, Section
from jobs.report.terminal import wrapped

GROUP = "audit"


def gather(night: Night) -> list[dict[str, Any]]:
    """Audits of the catalogue without a build for the day, where anything was built for it."""
    from jobs.steps import catalog

    built = {r["table"] for r in night.runs if r["ds"] == str(night.day) and r["status"] == "published"}
    missing = [n.contract for n in catalog().group(GROUP) if n.name not in built] if built else []
    return [{"audit": c.name, "owner": c.owner, "description": c.description} for c in missing]


def said(rows: list[dict[str, Any]]) -> list[str]:
    return [f"{r['audit']} has not run: {r['description']}" for r in rows]


def text(rows: list[dict[str, Any]]) -> list[str]:
    return [line for sentence in said(rows) for line in wrapped(sentence)]


def problems(rows: list[dict[str, Any]]) -> Iterator[Problem]:
    if rows:
        names = ", ".join(r["audit"] for r in rows)
        count = f"{len(rows)} audits have" if len(rows) > 1 else "An audit has"
        yield Problem(WARN, "audits", f"{count} not run: {names}.", rows[0]["owner"], str(len(rows)), "0")


SECTION = Section("Not measured", 155, gather, lambda rows: items(said(rows)), text, problems)
