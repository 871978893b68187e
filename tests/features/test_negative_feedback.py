from __future__ import annotations

import datetime as dt

import pytest

from features.negative_feedback import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.runner import conform

DAILY = (
    "ds date, kind string, id bigint, exposures int, not_interested int, block_author int, dislike int, fast_skips int"
)
DS = dt.date(2024, 3, 28)
TODAY = DayRange.day(DS)


@pytest.fixture
def feedback(frame):
    def make(*rows, days=TODAY, **params) -> dict:
        made = build(frame(DAILY, list(rows)), days=days, params=Params(**params))
        return {(str(r["ds"]), r["kind"], r["id"]): r.asDict() for r in conform(CONTRACT, made).collect()}

    return make


def test_counts_end_on_the_built_day_and_rates_are_smoothed(feedback):
    found = feedback(
        ("2024-03-28", "item", 10, 30, 1, 0, 2, 5),
        ("2024-03-21", "item", 10, 20, 1, 1, 0, 5),  # age 7: outside 7 days
        ("2024-02-29", "item", 10, 99, 9, 9, 9, 9),  # age 28: outside all
        ("2024-03-28", "user", 10, 1, 0, 0, 0, 0),  # another kind with the same number
        prior_exposures=50.0,
        prior_negatives=0.25,
        prior_fast_skips=2.5,
    )
    row = found["2024-03-28", "item", 10]
    assert (row["exposures_7d"], row["exposures_28d"]) == (30, 50)
    assert (row["not_interested_28d"], row["block_author_28d"], row["dislike_28d"]) == (2, 1, 2)
    # (3 + 0.25) / (30 + 50) and (5 + 0.25) / (50 + 50)
    assert (row["negative_rate_7d"], row["negative_rate_28d"]) == (0.040625, 0.0525)
    # (5 + 2.5) / (30 + 50) and (10 + 2.5) / (50 + 50)
    assert (row["fast_skip_rate_7d"], row["fast_skip_rate_28d"]) == (0.09375, 0.125)
    assert found["2024-03-28", "user", 10]["exposures_28d"] == 1


def test_refusals_without_showings_keep_the_rate_below_1(feedback):
    row = feedback(("2024-03-28", "creator", 1, 0, 200, 200, 0, 0))["2024-03-28", "creator", 1]
    # (400 + 0.25) / (max(0, 400) + 50)
    assert row["negative_rate_28d"] == round(400.25 / 450, 6)


def test_rates_that_nobody_in_the_market_gives_cause_to_know_are_null(feedback):
    found = feedback(
        ("2024-03-28", "item", 1, 50, 0, 0, 0, 0),
        ("2024-03-21", "item", 2, 0, 1, 0, 0, 0),  # told 7 days ago: within 28 days, outside 7
    )
    rates = ("negative_rate_7d", "negative_rate_28d", "fast_skip_rate_7d", "fast_skip_rate_28d")
    one, two = (tuple(found["2024-03-28", "item", i][name] for name in rates) for i in (1, 2))
    # (0 + 0.25) / (50 + 50) and (1 + 0.25) / (max(0, 1) + 50); nobody skipped anything
    assert one == (None, 0.0025, None, None)
    assert two == (None, round(1.25 / 51, 6), None, None)


def test_a_range_is_its_days_one_by_one(feedback):
    rows = [(f"2024-03-{d:02}", "user", 1, d, d % 2, 0, 1, d % 3) for d in range(1, 29)]
    days = DayRange(dt.date(2024, 3, 26), DS)
    parts = {}
    for day in days:
        parts |= feedback(*rows, days=DayRange.day(day))
    assert feedback(*rows, days=days) == parts
    assert len(parts) == 3


def test_nobody_refused_nothing(feedback):
    assert feedback() == {}
