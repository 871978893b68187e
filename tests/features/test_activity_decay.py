from __future__ import annotations

import math

import pytest

from features.activity_decay import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.runner import conform

DAILY = "ds date, user_id bigint, clicks int, targets int, purchases int, logins int"
HISTORY = "ds date, user_id bigint, first_seen_ds date"
SCORES = "ds date, half_life_days int, prior_percent int, log_likelihood double, targets bigint"
DS = "2024-03-28"
LONG_AGO = "2023-06-01"


def clicks(ds, user, n):
    return (ds, user, n, 0, 0, 0)


def decays(frame, rows, first_seen=LONG_AGO, scores=(), **params):
    users = {r[1] for r in rows}
    made = build(
        frame(DAILY, list(rows)),
        frame(HISTORY, [(DS, u, first_seen) for u in users]),
        frame(SCORES, list(scores)),
        days=DayRange.day(DS),
        params=Params(**params),
    )
    return {r["user_id"]: r for r in conform(CONTRACT, made).collect()}


def test_a_steady_user_has_coefficient_0(frame):
    found = decays(frame, [clicks(f"2024-03-{d:02}", 1, 3) for d in range(1, 29)])[1]
    # 28 days from the 1st: 3 a day, however weighted
    assert (found["recent_rate"], found["mean_rate"], found["coefficient"]) == (3.0, 3.0, 0.0)


def test_recent_actions_raise_it_and_old_ones_lower_it(frame):
    found = decays(frame, [clicks(DS, 1, 28), clicks("2024-03-01", 2, 28)], half_life_days=1.0, prior_rate=0.5)
    # weights add up to (1 - 2^-28) / (1 - 1/2) = 2: 28 / 2 = 14 against 28 / 28 = 1
    assert (found[1]["recent_rate"], found[1]["mean_rate"]) == (pytest.approx(14.0, abs=1e-5), 1.0)
    assert found[1]["coefficient"] == pytest.approx(math.log(14.5 / 1.5), abs=1e-5)
    # 27 half-lives ago nothing is left: (0 + 0.5) / (1 + 0.5)
    assert found[2]["coefficient"] == pytest.approx(math.log(0.5 / 1.5), abs=1e-5)


def test_a_newcomer_is_not_rising(frame):
    rows = [clicks("2024-03-27", 1, 4), clicks(DS, 1, 4)]
    found = decays(frame, rows, first_seen="2024-03-27")[1]
    # two days of life: 8 / 2, weighted or not
    assert (found["recent_rate"], found["mean_rate"], found["coefficient"]) == (4.0, 4.0, 0.0)
    # who has been silent since last year and does the same is rising
    assert decays(frame, rows)[1]["coefficient"] > 0.5


def test_who_only_looks_is_at_0(frame):
    found = decays(frame, [clicks(DS, 1, 0)])[1]
    assert (found["recent_rate"], found["mean_rate"], found["coefficient"]) == (0.0, 0.0, 0.0)


def test_the_tuned_half_life_is_used_and_named(frame):
    scores = [(DS, 3, 10, -5.0, 900), (DS, 20, 10, -6.0, 900)]
    rows = [clicks(DS, 1, 1)]
    assert decays(frame, rows, scores=scores)[1]["half_life_days"] == 3.0
    assert decays(frame, rows, scores=scores, min_targets=901)[1]["half_life_days"] == 7.0
    assert decays(frame, rows)[1]["half_life_days"] == 7.0


def test_who_was_away_for_28_days_has_no_row(frame):
    assert set(decays(frame, [clicks("2024-02-29", 1, 5), clicks("2024-03-01", 2, 5)])) == {2}
    assert decays(frame, []) == {}
