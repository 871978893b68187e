"""What a reviewer reads before deciding: the model card, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jobs.settings import Settings
from models.evaluation import Measured, mean_of
from models.promotion_gate import Line, passed
from models.rankers.ranker import Ranker

STRONGEST = 15
WHOLE = "The whole card is `model_card.md` among the artifacts of the run."


def render(
    settings: Settings,
    ranker: Ranker,
    facts: Mapping[str, Any],
    measured: Measured,
    rival: Measured | None,
    lines: Sequence[Line],
    champion: Any,
    importance: Mapping[str, float],
) -> str:
    """The card of a version: purpose, data, features, figures and slices beside the champion's, gate, limits."""
    against = f"version {champion.version}" if champion else "none, this is the first"
    parts = [
        [
            f"# Ranker of market {settings.market.name}: {ranker.spec.name}",
            "",
            f"Verdict of the gate: **{'passed' if passed(lines) else 'refused'}**. Champion compared with: {against}.",
        ],
        ["", *gate_table(lines)],
        [
            "",
            "## Purpose",
            f"Orders each user's candidates by the calibrated probability of {' or '.join(settings.market.target)}; "
            f"owner: model-life. {ranker.spec.description}",
        ],
        ["", *_data(ranker, facts, measured)],
        ["", *_features(ranker, importance)],
        ["", *_figures(measured, rival)],
        ["", *_slices(measured, rival)],
        ["", *_limits(ranker)],
        ["", "## All features", ", ".join([*ranker.features, *ranker.spec.ids, *ranker.spec.sequences])],
    ]
    return "\n".join(line for part in parts for line in part)


def shortened(card: str, limit: int) -> str:
    """The first lines of a card that fit into ``limit`` characters, and where the whole one is.

    What a decision needs most stands first.
    """
    if len(card) <= limit:
        return card
    kept, size = [], len(WHOLE) + 1
    for line in card.split("\n"):
        size += len(line) + 1
        if size > limit:
            break
        kept.append(line)
    return "\n".join([*kept, "", WHOLE])


def gate_table(lines: Sequence[Line]) -> Iterator[str]:
    """The gate as a table: what stops it first."""
    yield from ("## Gate", "", "| line | of | value | threshold | verdict | meaning |", "|---|---|---|---|---|---|")
    for line in sorted(lines, key=lambda line: line.passed):
        verdict = "pass" if line.passed else "FAIL" if line.fails else "warning"
        yield f"| {line.metric} | {line.slice} | {line.value:.4f} | {line.threshold:.4f} | {verdict} | {line.why} |"


def _data(ranker: Ranker, facts: Mapping[str, Any], measured: Measured) -> Iterator[str]:
    share = facts["share_of_people"]
    drawn = "" if share == 1 else f", those of {100 * share:.1f} % of people"
    yield "## Data"
    yield (
        f"training.examples, Delta version {facts['delta_version']}, days {facts['first_day']} to {facts['last_day']}"
        f"{drawn}; "
        f"{ranker.facts['rows']} rows to fit ({ranker.facts['clicks']} positive), {ranker.facts['valid_rows']} to "
        f"calibrate, {measured.rows} of the last day to judge. Started from: {facts['started_from']}."
    )


def _features(ranker: Ranker, importance: Mapping[str, float]) -> Iterator[str]:
    strongest = [f"{name} ({share:.3f})" for name, share in list(importance.items())[:STRONGEST]]
    yield "## Features"
    yield f"Strongest, by mean absolute change of pCTR: {', '.join(strongest)}."
    yield ""
    yield "No sensitive attribute is among them; sensitive columns serve audits only."


def _figures(measured: Measured, rival: Measured | None) -> Iterator[str]:
    yield from (
        "## Held-out figures",
        "",
        "| figure | value | 95 % interval over users | champion |",
        "|---|---|---|---|",
    )
    for name, figure in measured.figures.items():
        other = rival.figures.get(name) if rival else None
        beside = f"{other.value:.4f}" if other else "none"
        yield f"| {name} | {figure.value:.4f} | {figure.lo:.4f} to {figure.hi:.4f} | {beside} |"


def _slices(measured: Measured, rival: Measured | None) -> Iterator[str]:
    """NDCG@10 of every group beside the champion's, with the paired interval; and fairness."""
    yield from (
        "## By group, and fairness",
        "",
        "| group | users | NDCG@10 | champion | difference, 95 % interval | covered | predicted - observed |",
        "|---|---|---|---|---|---|---|",
    )
    for attribute, values in measured.groups.items():
        for group in np.unique(values):
            of = values == group
            mine, other, paired = mean_of(measured.ndcg_by_user[of]).value, "none", "none"
            if rival is not None:
                gained = mean_of((measured.ndcg_by_user - rival.ndcg_by_user)[of])
                other = f"{mean_of(rival.ndcg_by_user[of]).value:.4f}"
                paired = f"{gained.value:+.4f} ({gained.lo:+.4f} to {gained.hi:+.4f})"
            gap = measured.calibration[f"{attribute}={group}"][0]
            yield (
                f"| {attribute} = {group} | {int(of.sum())} | {mine:.4f} | {other} | {paired} "
                f"| {measured.covered[of].mean():.2f} | {gap:+.4f} |"
            )


def _limits(ranker: Ranker) -> Iterator[str]:
    yield "## Limits"
    yield (
        "Measured on logged showings: items that were never shown are judged by their features alone. Heads: "
        f"{', '.join(sorted(ranker.heads))}."
    )
    if "pcvr" not in ranker.heads:
        yield f"No pCVR head: {ranker.facts['conversions']} conversions are too few to fit one."
