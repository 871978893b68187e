"""The report of a night: gathered from the logs and audits with Delta reads alone, and written for people.

`night_report` gives plain data; `render_text` fits a terminal, `render_html` is one page without a network.
Each part is a file in ``jobs/report/sections``. What a market does not have is said once, under "left out",
and is nowhere a zero.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.report.archive import write_index
from jobs.report.night import Night
from jobs.report.page import render_html
from jobs.report.section import Problem, all_sections, grouped
from jobs.report.terminal import render_text
from jobs.report.verdict import verdict_of
from jobs.settings import Settings

__all__ = ["Problem", "night_report", "render_html", "render_text", "reports_folder", "write_report"]


def night_report(settings: Settings, ds: dt.date | str, run_id: str = "") -> dict[str, Any]:
    """Everything that a person wants to know of the night of ``ds``.

    Parameters
    ----------
    settings
        Gives home, lake, landing zone and market.
    ds
        The night's day.
    run_id
        The run of the night that asks for it, so that the report leads to the run and the run to the report.

    Returns
    -------
    dict
        Plain data: ``market, ds, currency, run_ids``, a key a section, ``problems`` (the gravest first) and
        ``verdict``. A part that does not exist is None or empty.
    """
    day = dt.date.fromisoformat(ds) if isinstance(ds, str) else ds
    night = Night(settings, day, run_id)
    parts = {section.name: section.gather(night) for section in all_sections()}
    problems = [
        {"section": section.name, **asdict(problem)}
        for section in all_sections()
        for problem in grouped(section.problems(parts[section.name]))
    ]
    problems.sort(key=lambda p: p["severity"])  # stable: fail before warn, then the order of the page
    market = settings.market
    report = {"market": market.name, "ds": str(day), "currency": market.currency, "run_ids": night.run_ids}
    report |= {**parts, "problems": problems}
    return {**report, "verdict": verdict_of(report)}


def reports_folder(settings: Settings) -> Path:
    """Where the pages of a market are."""
    return settings.home / "reports" / settings.market.name


def write_report(settings: Settings, report: dict[str, Any]) -> Path:
    """Write a report as ``<home>/reports/<market>/<ds>.html`` and ``.json``, and the index of all nights.

    Parameters
    ----------
    report
        What `night_report` gathered.

    Returns
    -------
    Path
        The page.
    """
    folder = reports_folder(settings)
    page = folder / f"{report['ds']}.html"
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in ((page, render_html(report)), (page.with_suffix(".json"), json.dumps(report, indent=1))):
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    write_index(folder)
    return page
