"""Definitions of fairness: as fairlearn has them, and by hand where it has none."""

from __future__ import annotations

import datetime as dt
import doctest

import numpy as np
import pytest

from jobs.contract import DayRange
from quality import same_item_conversion
from quality.creator_exposure import Exposure, between, places, standardised
from quality.fairness import Figure, Params, compared
from quality.intervals import wilson

DAY = DayRange.day(dt.date(2024, 3, 2))


def test_the_example_of_the_docstring_holds():
    found = doctest.testmod(same_item_conversion)
    assert found.attempted and not found.failed


def test_difference_and_ratio_are_those_of_fairlearn():
    # fairlearn 0.15.0 of covered = 1 1 0, 1 0 0, 1 1 0 0 in the groups f, m, a: MetricFrame(selection_rate)
    # .by_group, .overall, .difference() = demographic_parity_difference, .ratio() = demographic_parity_ratio
    by_group = {"a": 0.5, "f": 0.6666666666666666, "m": 0.3333333333333333}
    difference, ratio = 0.3333333333333333, 0.5
    counts = {"a": (2, 4), "f": (2, 3), "m": (1, 3)}
    groups = [Figure(g, s / n, *wilson(s, n), n) for g, (s, n) in counts.items()]
    everybody = Figure("", 5 / 10, *wilson(5, 10), 10)
    rows = list(compared("gender", "coverage", 0, groups, everybody, DAY, Params(min_group=2), None))
    assert {r["group"]: r["value"] for r in rows if r["kind"] == "group"} == pytest.approx(by_group)
    assert {r["kind"]: r["value"] for r in rows[-3:]} == pytest.approx(
        {"overall": 0.5, "difference": difference, "ratio": ratio}
    )


def cell(stage, quality_bin, exposures):
    of = np.array(exposures, dtype=float)
    return {
        "stage": stage,
        "quality_bin": quality_bin,
        "items": len(of),
        "count_sum": of.sum(),
        "count_squares": (of**2).sum(),
    }


def test_exposure_of_items_of_equal_quality_by_hand():
    # head creators have mostly good items, novices mostly poor ones; within a fifth both are shown alike
    rows = [
        cell("head", 5, [10, 10, 10, 10]),
        cell("head", 1, [1, 1]),
        cell("novice", 5, [10, 10]),
        cell("novice", 1, [1, 1, 1, 1]),
        # a fifth that one stage lacks cannot be compared
        cell("head", 3, [99, 99]),
    ]
    head, novice = standardised(rows, "count")
    # the raw means are 7 and 4; half of the items are good, so that both are (10 + 1) / 2 of 66 / 12
    assert head.estimate == pytest.approx((1, 1, 1)) and novice.estimate == pytest.approx((1, 1, 1))
    assert (head.n, novice.n) == (6, 6)
    assert between([head, novice])[0] == pytest.approx(0, abs=1e-12)


def test_unequal_exposure_shows_as_variance():
    head, novice = standardised([cell("head", 1, [3, 3, 3, 3]), cell("novice", 1, [1, 1, 1, 1])], "count")
    # 3 and 1 against a mean of 2: 1.5 and 0.5, and (0.5^2 + 0.5^2) / 2
    assert head.estimate[0] == 1.5 and novice.estimate[0] == 0.5
    assert between([head, novice])[0] == pytest.approx(0.25)


def test_chance_alone_is_within_the_interval_of_no_difference():
    rng = np.random.default_rng(1)
    ratios = []
    for _ in range(300):
        one, other = standardised([cell("a", 1, rng.poisson(5, 60)), cell("b", 1, rng.poisson(5, 40))], "count")
        gap = one.estimate[0] - other.estimate[0]
        error = np.hypot(*[(e.estimate[2] - e.estimate[0]) for e in (one, other)])
        ratios.append(abs(gap) <= error)
    # 95 % of 300, give or take four standard errors of 1.3 %
    assert 0.9 <= np.mean(ratios) <= 1.0


def test_the_variance_has_an_interval_that_holds_it():
    exposures = [Exposure("a", (1.2, 1.1, 1.3), 50), Exposure("b", (0.8, 0.7, 0.9), 50)]
    value, low, high = between(exposures)
    assert value == pytest.approx(0.04) and low < value < high and between(exposures) == (value, low, high)


def test_places_of_each_stage():
    head, novice = places([{"stage": "novice", "places": [1] * 10}, {"stage": "head", "places": [3] * 10}])
    assert (head.stage, head.estimate, head.n) == ("head", pytest.approx((0.75, 0.75, 0.75)), 40)
    assert novice.estimate[0] == 0.25
