"""The gate that a challenger must pass before it may become champion: one verdict a line, each with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.evaluation import Measured, mean_of
from quality.badcases.regression import Replay

NOT_REPLAYED = Replay(float("nan"), float("nan"), float("nan"), 0)


@dataclass(frozen=True)
class Params:
    """Limits of the gate, in the market's ``params`` under ``models.gate``.

    Parameters
    ----------
    max_loss_of_ndcg
        The paired interval of NDCG@10 against the champion must leave no greater loss.
    max_calibration_error, max_calibration_gap
        Expected calibration error of pCTR; difference of predicted and observed rate in any group.
    min_coverage, min_tail
        Share of the champion's coverage, and of its places for the long tail, that must be kept.
    max_gini_rise
        How much more concentrated the lists may be than the champion's.
    max_loss_of_group
        A group whose paired interval lies wholly below minus this is worse off.
    min_group, max_coverage_gap
        Users below which a group is too small to judge; greatest difference of covered users between groups.
    max_feature_auc
        A single feature that tells the label better than this is a leak.
    max_repeated, min_cases
        Share of past bad cases that a model may repeat, by the lower bound; cases that it takes to say so.
    max_size_mb, min_rows_per_s
        Size of the files; speed of scoring, a warning only.
    """

    max_loss_of_ndcg: float = 0.005
    max_calibration_error: float = 0.05
    max_calibration_gap: float = 0.05
    min_coverage: float = 0.9
    min_tail: float = 0.9
    max_gini_rise: float = 0.05
    max_loss_of_group: float = 0.01
    min_group: int = 200
    max_coverage_gap: float = 0.15
    max_feature_auc: float = 0.97
    max_repeated: float = 0.75
    min_cases: int = 20
    max_size_mb: float = 200.0
    min_rows_per_s: float = 20_000.0


@dataclass(frozen=True)
class Line:
    """What was measured, what was asked, and whether it stops the promotion.

    ``slice`` names the group, feature or file that the value is of; a line that does not ``fails`` is a warning.
    """

    metric: str
    value: float
    threshold: float
    passed: bool
    fails: bool
    why: str
    slice: str = ""


def at_most(metric: str, value: float, limit: float, why: str, fails: bool = True, slice: str = "") -> Line:
    """A line that passes up to its limit; what is no number does not pass."""
    return Line(metric, float(value), float(limit), bool(value <= limit), fails, why, slice)


def at_least(metric: str, value: float, limit: float, why: str, fails: bool = True, slice: str = "") -> Line:
    """A line that passes from its limit on; what is no number does not pass."""
    return Line(metric, float(value), float(limit), bool(value >= limit), fails, why, slice)


def passed(lines: Sequence[Line]) -> bool:
    """Whether no line stops the promotion."""
    return all(line.passed or not line.fails for line in lines)


def gate(
    challenger: Measured,
    champion: Measured | None,
    params: Params | None = None,
    skewed: Sequence[str] | None = None,
    replayed: Replay = NOT_REPLAYED,
) -> list[Line]:
    """Every line of the verdict.

    Parameters
    ----------
    challenger, champion
        Measured on the same rows; the first model has no champion and is held against chance and popularity.
    skewed
        Features that scoring and training computed apart (``audit.skew``); None where that was not measured yet.
    replayed
        How the challenger does on past bad cases.
    """
    params = params or Params()
    lines = [*_alone(challenger, params), *_groups(challenger, params), _regression(replayed, params)]
    if champion is not None:
        lines += [*_against(challenger, champion, params), *_groups_against(challenger, champion, params)]
    return [*lines, _skew(skewed)]


def _alone(challenger: Measured, params: Params) -> Iterator[Line]:
    figures = challenger.figures
    auc, error = figures["auc"], figures["calibration_error"]
    ndcg, popular = figures["ndcg_at_10"], figures["ndcg_at_10_popularity"]
    yield at_least("finite", challenger.finite, 1.0, "every score is a number; else the fit has diverged")
    yield Line("auc", auc.lo, 0.5, auc.lo > 0.5, True, "its lower bound is above chance")
    yield at_most("calibration_error", error.value, params.max_calibration_error, "predicted and observed rates agree")
    yield Line(
        "ndcg_at_10", ndcg.value, popular.value, ndcg.value > popular.value, True, "it orders better than popularity"
    )
    feature, strength = challenger.strongest
    yield at_most(
        "feature_auc", strength, params.max_feature_auc, "no feature tells the label by itself: no leak", slice=feature
    )
    yield at_most("size_mb", challenger.size_mb, params.max_size_mb, "workers can load it")
    yield at_least(
        "rows_per_s", challenger.rows_per_s, params.min_rows_per_s, "scoring fits into the night", fails=False
    )


def _skew(skewed: Sequence[str] | None) -> Line:
    """Features that are computed apart, or a warning that no day could say so."""
    if skewed is None:
        none = "audit.skew has judged no day of the last week: one is needed, so nothing was judged"
        return Line("skew", 0.0, 1.0, False, False, none)
    return at_most("skew", len(skewed), 0, "training and scoring see the same values", slice=", ".join(skewed))


def _regression(replayed: Replay, params: Params) -> Line:
    """Past bad cases that it puts where they were, or a warning that there are too few to say so."""
    if replayed.n < params.min_cases:
        few = f"{replayed.n} past bad cases are too few to replay: {params.min_cases} are needed, so nothing was judged"
        return Line("regression.replay", replayed.n, params.min_cases, False, False, few)
    why = f"of {replayed.n} past bad cases it surely repeats no greater share ({replayed.repeated:.0%} measured)"
    return at_most("regression.replay", replayed.low, params.max_repeated, why)


def _groups(challenger: Measured, params: Params) -> Iterator[Line]:
    """Calibration of every group, and how evenly users are covered."""
    for name, (gap, users) in challenger.calibration.items():
        if users >= params.min_group:
            yield at_most(
                "calibration_gap", abs(gap), params.max_calibration_gap, "the group is judged as it behaves", slice=name
            )
    for attribute, values in challenger.groups.items():
        covered = {
            group: float(challenger.covered[values == group].mean())
            for group in np.unique(values)
            if (values == group).sum() >= params.min_group and group != "unknown"
        }
        if len(covered) > 1:
            least, most = min(covered, key=covered.get), max(covered, key=covered.get)
            yield at_most(
                "coverage_gap",
                covered[most] - covered[least],
                params.max_coverage_gap,
                "groups get personalised lists alike",
                slice=f"{attribute}: {most} over {least}",
            )


def _against(challenger: Measured, champion: Measured, params: Params) -> Iterator[Line]:
    gained = mean_of(challenger.ndcg_by_user - champion.ndcg_by_user)
    yield at_least(
        "ndcg_at_10 - champion",
        gained.lo,
        -params.max_loss_of_ndcg,
        "the paired interval leaves no loss beyond the margin",
    )
    mine, theirs = challenger.figures, champion.figures
    if "coverage" in mine and "coverage" in theirs:
        yield at_least(
            "coverage", mine["coverage"].value, params.min_coverage * theirs["coverage"].value, "as many items appear"
        )
        yield at_most(
            "gini", mine["gini"].value, theirs["gini"].value + params.max_gini_rise, "no more of the places to a few"
        )
        yield at_least(
            "long_tail", mine["long_tail"].value, params.min_tail * theirs["long_tail"].value, "the tail keeps its part"
        )


def _groups_against(challenger: Measured, champion: Measured, params: Params) -> Iterator[Line]:
    """No group of people is worse off than with the champion."""
    gained = challenger.ndcg_by_user - champion.ndcg_by_user
    for attribute, values in challenger.groups.items():
        for group in np.unique(values):
            of = (values == group) & np.isfinite(gained)
            if of.sum() >= params.min_group:
                paired = mean_of(gained[of])
                yield at_least(
                    "ndcg_at_10 - champion by group",
                    paired.hi,
                    -params.max_loss_of_group,
                    "no group is worse off",
                    slice=f"{attribute}={group}",
                )
