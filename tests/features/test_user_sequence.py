from __future__ import annotations

import pytest

from features.user_sequence import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.errors import SettingsError
from jobs.runner import conform

PAIRS = "ds date, user_id bigint, item_id bigint, strength double, last_ms bigint"
DS = "2024-04-10"


def sequences(frame, *rows, **params):
    made = build(frame(PAIRS, list(rows)), days=DayRange.day(DS), params=Params(**params))
    return {r["user_id"]: r for r in conform(CONTRACT, made).collect()}


def test_newest_first(frame):
    found = sequences(frame, ("2024-04-09", 1, 10, 1.0, 500), (DS, 1, 11, 2.0, 900), (DS, 1, 12, 3.0, 700))[1]
    assert (found["items"], found["last_ms"], found["strengths"]) == ([11, 12, 10], [900, 700, 500], [2.0, 3.0, 1.0])
    assert found["length"] == 3


def test_an_item_comes_once_at_its_last_time_with_its_summed_strength(frame):
    found = sequences(frame, ("2024-04-08", 1, 10, 1.5, 100), (DS, 1, 10, 2.0, 900), (DS, 1, 11, 1.0, 500))[1]
    assert (found["items"], found["last_ms"], found["strengths"]) == ([10, 11], [900, 500], [3.5, 1.0])


def test_items_of_the_same_moment_come_by_id(frame):
    assert sequences(frame, (DS, 1, 12, 1.0, 500), (DS, 1, 11, 1.0, 500))[1]["items"] == [11, 12]


def test_only_the_newest_are_kept(frame):
    found = sequences(frame, *[(DS, 1, i, 1.0, i) for i in range(1, 6)], length=3)[1]
    assert (found["items"], found["length"]) == ([5, 4, 3], 3)


def test_showings_and_dislikes_are_no_steps(frame):
    assert sequences(frame, (DS, 1, 10, 0.0, 500)) == {}


def test_a_step_of_90_days_ago_is_forgotten(frame):
    # 90 days before 10 April is 11 January; 12 January is the oldest day of the window
    found = sequences(frame, ("2024-01-11", 1, 10, 1.0, 100), ("2024-01-12", 1, 11, 1.0, 200))[1]
    assert found["items"] == [11]


def test_a_shorter_horizon_forgets(frame):
    # 10 days that end on 10 April begin on the 1st
    steps = [("2024-03-31", 1, 10, 1.0, 100), ("2024-04-01", 1, 11, 1.0, 200)]
    assert sequences(frame, *steps, horizon=10)[1]["items"] == [11]


@pytest.mark.parametrize("horizon", [0, 91])
def test_a_horizon_that_is_not_read_is_refused(horizon):
    with pytest.raises(SettingsError, match=f"features.user_sequence: horizon is {horizon}, .* from 1 to 90 days"):
        Params(horizon=horizon)
