"""The night's report for a terminal: no line is wider than 120 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from jobs.report.section import all_sections

WIDTH = 120


def render_text(report: dict[str, Any]) -> str:
    """Render what `jobs.report.night_report` gathered.

    Returns
    -------
    str
        Lines of at most 120 characters.
    """
    title = f"Night of {report['ds']}, market {report['market']}"
    lines = ["", title, "═" * len(title)]
    lines += ["", *wrapped(f"{report['verdict']['level']}: {report['verdict']['said']}")]
    for problem in report["problems"]:
        owner = f" ({problem['owner']})" if problem["owner"] else ""
        lines += wrapped(f"{problem['severity']}: {problem['said']}{owner}", "    ")
    for section in all_sections():
        made = section.text(report[section.name]) if section.name in report else []
        lines += [*heading(section.title), *made] if made else []
    return "\n".join(line.rstrip() for line in lines) + "\n"


def heading(text: str) -> list[str]:
    return ["", text, "─" * len(text)]


def wrapped(text: str, indent: str = "  ") -> list[str]:
    return textwrap.wrap(plain(text), WIDTH, initial_indent=indent, subsequent_indent=indent + "  ") or [indent]


def plain(text: Any) -> str:
    """Text on one line, without control characters that would act on a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def cut(text: Any, width: int) -> str:
    text = plain(text)
    return text if len(text) <= width else text[: width - 1] + "…"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), widest: int = 44) -> list[str]:
    """Columns side by side: ``right`` are flush right; cells are cut at ``widest``, then lines at the page's width."""
    cells = [[cut(cell, widest) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    made = []
    for row in cells:
        parts = [c.rjust(w) if at in right else c.ljust(w) for at, (c, w) in enumerate(zip(row, widths, strict=True))]
        line = "  " + "  ".join(parts)
        made.append(line if len(line.rstrip()) <= WIDTH else line[: WIDTH - 1] + "…")
    return made


def number(value: float | int | None, digits: int = 3) -> str:
    """A figure; a dash where it cannot be said."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.{digits}f}"


def interval(figure: dict[str, Any] | None, digits: int = 3) -> str:
    """``0.123 [0.110 0.140]``, the ends left out where they are not known."""
    if figure is None or figure["value"] is None:
        return "–"
    ends = (
        ""
        if figure["lo"] is None or figure["hi"] is None
        else (f" [{number(figure['lo'], digits)} {number(figure['hi'], digits)}]")
    )
    return number(figure["value"], digits) + ends
