"""Whether people would have got the same lists, had only a sensitive attribute been different."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.section import WARN, Problem, Section
from jobs.report.terminal import grid, number

TABLE = "audit.counterfactual"
HEAD = ("attribute, surface", "pairs", "same items", "limit", "places moved", "limit", "lists alike", "verdict")


def gather(night: Night) -> list[dict[str, Any]]:
    owner = night.owner(TABLE)
    return [row | {"owner": owner} for row in night.audited(TABLE)]


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            ", ".join(filter(None, (r["attribute"], r["surface"]))),
            number(r["pairs"]),
            spread(r, "overlap"),
            limit("at least", r["overlap_limit"]),
            spread(r, "displacement"),
            limit("at most", r["displacement_limit"]),
            number(r["identical"], 2),
            r["verdict"],
        ]
        for r in rows
    ]


def spread(row: dict[str, Any], name: str) -> str:
    """A mean with its interval; a dash where nobody was compared."""
    if row[name] is None:
        return number(None)
    return f"{number(row[name], 3)} ({number(row[f'{name}_lo'], 3)} to {number(row[f'{name}_hi'], 3)})"


def limit(side: str, value: float | None) -> str:
    """A limit in words; nights before it was kept have none."""
    return "–" if value is None else f"{side} {number(value, 2)}"


def html(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    said = (
        "<p>Lists of the same people as they are, and with the attribute changed and nothing else: the mean part of "
        "the items that both hold and the mean places by which an item moves, each with its 95 % interval.</p>"
    )
    return said + table("Pairs that differ in one attribute", HEAD, cells(rows), (1, 6))


def text(rows: list[dict[str, Any]]) -> list[str]:
    # the terminal is narrower
    kept = [0, 1, 2, 3, 4, 5, 7]
    return grid([HEAD[at] for at in kept], [[row[at] for at in kept] for row in cells(rows)], (1,)) if rows else []


def problems(rows: list[dict[str, Any]]) -> Iterator[Problem]:
    """Lists that follow the attribute and are out all the same, because their failure was waived; or nobody to ask."""
    for r in rows:
        about = f"{r['attribute']} ({r['surface']})"
        if r["verdict"] == "different":
            said = f"Lists follow {about}: {number(r['overlap'], 3)} of the items are the same, "
            said += f"and an item moves by {number(r['displacement'], 3)} places."
            kept = f"{limit('at least', r['overlap_limit'])}; {limit('at most', r['displacement_limit'])}"
            yield Problem(WARN, f"counterfactual {r['attribute']}", said, r["owner"], spread(r, "overlap"), kept)
        elif r["verdict"] == "too small":
            said = f"{r['pairs']} pairs are too few to tell whether lists follow {about}."
            yield Problem(WARN, f"counterfactual {r['attribute']}", said, r["owner"], number(r["pairs"]), "")
        elif r["verdict"] == "not known":
            said = f"Whether lists follow {r['attribute']} is not known: of whom it is known, nobody differs in it."
            yield Problem(WARN, f"counterfactual {r['attribute']}", said, r["owner"], number(r["pairs"]), "")


SECTION = Section("Same person, another attribute", 125, gather, html, text, problems)
