"""The index page of a market's reports: every night with its verdict, the newest first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jobs.report.page import linked_table, whole_page

NAME = "index.html"


def write_index(folder: Path) -> Path:
    """Write ``index.html`` of all reports in a folder; each line links to its night.

    Returns
    -------
    Path
        The page.
    """
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("????-??-??.json"))]
    rows = [line_of(report) for report in reversed(reports)]
    market = reports[-1]["market"] if reports else folder.name
    head = ["night", "verdict", "release", "health index", "failed", "to look at"]
    title = f"Nights of market {market}"
    path = folder / NAME
    partial = folder / f".{NAME}.partial"
    partial.write_text(whole_page(title, linked_table(title, head, rows, (3, 4, 5))), encoding="utf-8")
    partial.replace(path)
    return path


def line_of(report: dict[str, Any]) -> list[Any]:
    """A night's line; what a report of an earlier version does not have is a dash."""
    release, index = report.get("release") or {}, (report.get("health") or {}).get("index")
    counts = ["–", "–"]
    if "problems" in report:
        failed = sum(p["severity"] == "fail" for p in report["problems"])
        counts = [failed, len(report["problems"]) - failed]
    return [
        (report["ds"], f"{report['ds']}.html"),
        report.get("verdict", {}).get("level", "–"),
        release.get("release_id", "none"),
        "–" if index is None else f"{index:.0f}",
        *counts,
    ]
