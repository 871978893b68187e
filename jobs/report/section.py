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
    """

    severity: str
    subject: str
    said: str
    owner: str = ""
    figure: str = ""
    threshold: str = ""


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
