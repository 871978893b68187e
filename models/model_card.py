"""What a reviewer reads before deciding: the model card, as Markdown."""

from __future__ import annotations

from typing import Any

from jobs.settings import Settings
from models.evaluation import Line, Measured
from models.rankers.xgb import XgbRanker


def render(
    settings: Settings,
    ranker: XgbRanker,
    facts: dict[str, Any],
    measured: Measured,
    rival: Measured | None,
    lines: list[Line],
    champion: Any,
) -> str:
    """The card of a version: purpose, data, figures beside the champion's, gate, limits."""
    passed = all(line.passed or not line.fails for line in lines)
    rows = []
    for name, figure in measured.figures.items():
        other = rival.figures[name] if rival else None
        beside = f"{other.value:.4f}" if other else "none"
        rows.append(f"| {name} | {figure.value:.4f} | {figure.lo:.4f} to {figure.hi:.4f} | {beside} |")
    verdicts = [
        f"| {line.metric} | {line.value:.4f} | {line.threshold:.4f} "
        f"| {'pass' if line.passed else 'FAIL'} | {line.why} |"
        for line in lines
    ]
    against = f"version {champion.version}" if champion else "none, this is the first"
    return "\n".join(
        [
            f"# Ranker of market {settings.market.name}",
            "",
            f"Verdict of the gate: **{'passed' if passed else 'refused'}**. Champion compared with: {against}.",
            "",
            "## Purpose",
            "Orders each user's candidates by the calibrated probability of "
            f"{' or '.join(settings.market.target)}; owner: model-life.",
            "",
            "## Data",
            f"training.examples, Delta version {facts['delta_version']}, days {facts['first_day']} to "
            f"{facts['last_day']}; {ranker.facts['rows']} rows to fit, {ranker.facts['valid_rows']} to calibrate, "
            f"{measured.rows} of the last day to judge.",
            "",
            "## Features",
            ", ".join(ranker.features),
            "",
            "No sensitive attribute is among them; sensitive columns serve audits only.",
            "",
            "## Held-out figures",
            "",
            "| figure | value | 95 % interval over users | champion |",
            "|---|---|---|---|",
            *rows,
            "",
            "## Gate",
            "",
            "| line | value | threshold | verdict | meaning |",
            "|---|---|---|---|---|",
            *verdicts,
            "",
            "## Limits",
            "Measured on logged showings: items that were never shown are judged by their features alone. "
            "Heads: " + ", ".join(sorted(ranker.boosters)) + ".",
            ""
            if "cvr" in ranker.boosters
            else f"No pCVR head: {ranker.facts['conversions']} conversions are too few to fit one.",
        ]
    )
