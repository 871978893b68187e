"""Running experiments: each variant against control, and whether the numbers may be read yet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from jobs.report.night import Night
from jobs.report.page import table
from jobs.report.section import WARN, Problem, Section
from jobs.report.terminal import grid, interval, number

TABLE = "audit.experiment"
BROKEN = "sample ratio"


def gather(night: Night) -> list[dict[str, Any]]:
    """Readings over everybody, the deciding metric of each experiment first."""
    rows = [r for r in night.read(TABLE) if r["segment_by"] == "all"]
    rows.sort(key=lambda r: (r["experiment"], r["variant"], not r["is_primary"], r["metric"]))
    kept = ("experiment", "variant", "metric", "is_primary", "n_control", "n", "value", "control_value", "needed")
    always = ("difference", "always_lo", "always_hi", "sample_ratio_p", "verdict")
    owner = night.owner(TABLE)
    return [{name: r[name] for name in (*kept, *always)} | {"owner": owner} for r in rows]


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    return [
        [
            f"{r['experiment']}: {r['variant']}",
            r["metric"] + (" (decides)" if r["is_primary"] else ""),
            interval({"value": r["difference"], "lo": r["always_lo"], "hi": r["always_hi"]}),
            number(r["control_value"]),
            number(r["n"]),
            number(r["needed"]),
            r["verdict"] or "",
        ]
        for r in rows
    ]


HEAD = ["variant", "metric", "less control, on all nights at once", "control", "people", "needed", "verdict"]


def html(rows: list[dict[str, Any]]) -> str:
    return table("Variants against control; 95 % always-valid intervals", HEAD, cells(rows), (3, 4, 5)) if rows else ""


def text(rows: list[dict[str, Any]]) -> list[str]:
    return grid(HEAD, cells(rows), (3, 4, 5)) if rows else []


def problems(rows: list[dict[str, Any]]) -> Iterator[Problem]:
    for r in rows:
        if r["is_primary"] and r["verdict"] in (BROKEN, "worse"):
            broken = (
                "its variants have other numbers of people than planned" if r["verdict"] == BROKEN else "it is worse"
            )
            said = f"Experiment {r['experiment']}, variant {r['variant']}: {broken}."
            yield Problem(WARN, f"experiment {r['experiment']}", said, r["owner"], number(r["difference"]), "0")


SECTION = Section("Experiments", 105, gather, html, text, problems)
