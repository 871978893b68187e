from __future__ import annotations

import pytest

from features.user_action_sequence import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.errors import ContractError, SettingsError
from jobs.runner import conform

DAILY = "ds date, user_id bigint, action string, items array<bigint>, at_ms array<bigint>, terminals array<string>"
DS = "2024-04-10"


def sequences(frame, *rows, **params):
    made = build(frame(DAILY, list(rows)), days=DayRange.day(DS), params=Params(**params))
    return {(r["user_id"], r["action"]): r for r in conform(CONTRACT, made).collect()}


def test_days_are_put_together_newest_first_by_kind_of_action(frame):
    found = sequences(
        frame,
        ("2024-04-09", 1, "click", [10, 11], [200, 100], ["app", None]),
        (DS, 1, "click", [10, 12], [900, 800], ["h5", "app"]),
        (DS, 1, "purchase", [12], [850], [None]),
    )
    clicks = found[1, "click"]
    assert (clicks["items"], clicks["at_ms"]) == ([10, 12, 10, 11], [900, 800, 200, 100])
    assert (clicks["terminals"], clicks["length"]) == (["h5", "app", "app", None], 4)
    assert (found[1, "purchase"]["items"], found[1, "purchase"]["terminals"]) == ([12], [None])


def test_only_the_newest_are_kept(frame):
    rows = [("2024-04-09", 1, "like", [1, 2], [20, 10], ["app"] * 2), (DS, 1, "like", [3, 4], [40, 30], ["app"] * 2)]
    found = sequences(frame, *rows, length=3)[1, "like"]
    assert (found["items"], found["length"]) == ([3, 4, 1], 3)


def test_the_91st_day_is_forgotten(frame):
    # 90 days before 10 April is 11 January
    rows = [("2024-01-11", 1, "like", [1], [1], ["app"]), ("2024-01-12", 2, "like", [1], [2], ["app"])]
    assert set(sequences(frame, *rows)) == {(2, "like")}
    assert sequences(frame) == {}


@pytest.mark.parametrize("length", [0, 51])
def test_no_more_than_a_day_keeps_can_be_asked_for(length):
    with pytest.raises(ContractError, match="length must be from 1 to 50"):
        Params(length=length)


def test_a_shorter_horizon_forgets(frame):
    # 10 days that end on 10 April begin on the 1st
    rows = [("2024-03-31", 1, "like", [1], [1], ["app"]), ("2024-04-01", 1, "like", [2], [2], ["app"])]
    assert sequences(frame, *rows, horizon=10)[1, "like"]["items"] == [2]


@pytest.mark.parametrize("horizon", [0, 91])
def test_a_horizon_that_is_not_read_is_refused(horizon):
    with pytest.raises(
        SettingsError, match=f"features.user_action_sequence: horizon is {horizon}, .* from 1 to 90 days"
    ):
        Params(horizon=horizon)
