"""What a part of the report declares: one file in ``jobs/report/sections``, found by itself."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from jobs.report.night import Night

FAIL, WARN = "fail", "warn"


@dataclass(frozen=True)
class Problem:
    """Something that a person should look at.

    Parameters
    ----------
    severity
        ``fail``: readers have not got what they should; ``warn``: a figure to look at.
    subject
        What it is about: a table, a metric, a group of people.
    said
        A sentence with the figure.
    owner
        Who answers for it; empty where nobody is named.
    figure, threshold
        The figure and the limit that it broke, in words; empty where there is none.
    kind
        What is wrong, without the subject: a section's warnings of one kind are one line with a count. Empty where each
        stands for itself.
    """

    severity: str
    subject: str
    said: str
    owner: str = ""
    figure: str = ""
    threshold: str = ""
    kind: str = ""


NAMED = 3
"""Subjects that a line for several warnings names; the section itself shows all."""


def grouped(problems: Iterable[Problem]) -> list[Problem]:
    """Warnings of one kind as one, at the place of the first; what failed stays apart, because each pages its owner.

    Examples
    --------
    >>> late = [Problem(WARN, t, f"{t} is late.", "ada", "2 h", "1 h", kind="late") for t in ("a", "b", "c", "d")]
    >>> [p.said for p in grouped([*late, Problem(FAIL, "e", "e is late.", kind="late")])]
    ['4 late: a, b, c and 1 more.', 'e is late.']
    """
    groups: dict[Any, list[Problem]] = {}
    for number, each in enumerate(problems):
        alone = each.severity == FAIL or not each.kind
        groups.setdefault(number if alone else each.kind, []).append(each)
    return [of[0] if len(of) == 1 else _together(of) for of in groups.values()]


def _together(of: list[Problem]) -> Problem:
    subjects = list(dict.fromkeys(each.subject for each in of))
    more = f" and {len(subjects) - NAMED} more" * (len(subjects) > NAMED)
    said = f"{len(of)} {of[0].kind}: {', '.join(subjects[:NAMED])}{more}."
    owners, limits = (list(dict.fromkeys(getattr(each, name) for each in of)) for name in ("owner", "threshold"))
    return Problem(
        of[0].severity,
        of[0].kind,
        said,
        ", ".join(owner for owner in owners if owner),
        str(len(of)),
        limits[0] if len(limits) == 1 else "",
        of[0].kind,
    )


def no_problems(data: Any) -> Iterable[Problem]:
    return ()


@dataclass(frozen=True)
class Section:
    """One part of the report; its module's name is its key.

    Parameters
    ----------
    title
        Heading.
    place
        Order on the page, from the top.
    gather
        From a night to plain data (JSON); empty data leaves the section out.
    html, text
        From that data to a piece of the page, and to lines of a terminal.
    problems
        From that data to what needs attention, for verdict and alerts.
    """

    title: str
    place: int
    gather: Callable[[Night], Any]
    html: Callable[[Any], str]
    text: Callable[[Any], list[str]]
    problems: Callable[[Any], Iterable[Problem]] = no_problems
    name: str = ""


@cache
def all_sections() -> tuple[Section, ...]:
    """Every section in order of its place."""
    from jobs.report import sections as package

    found = [
        replace(importlib.import_module(f"{package.__name__}.{info.name}").SECTION, name=info.name)
        for info in pkgutil.iter_modules(package.__path__)
    ]
    return tuple(sorted(found, key=lambda s: (s.place, s.name)))
