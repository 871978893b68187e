from __future__ import annotations

import datetime as dt

import pytest

from features.user_history import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.errors import SettingsError
from jobs.runner import conform

DAILY = "ds date, user_id bigint, targets int, purchases int, amount_minor bigint"
PAIRS = "ds date, user_id bigint, item_id bigint, purchases int"
DS = "2024-12-31"


def history(frame, daily, pairs=(), days=None, **params):
    made = build(frame(DAILY, daily), frame(PAIRS, list(pairs)), days=days or DayRange.day(DS), params=Params(**params))
    return {(str(r["ds"]), r["user_id"]): r for r in conform(CONTRACT, made).collect()}


def test_first_and_last_days_reach_back_a_year(frame):
    found = history(
        frame,
        [
            ("2024-01-01", 1, 9, 0, 0),  # 365 days before 31 December (a leap year): outside
            ("2024-01-02", 1, 0, 0, 0),
            ("2024-05-05", 1, 4, 2, 300),
            ("2024-08-08", 1, 1, 1, 50),
            (DS, 1, 0, 0, 0),
        ],
    )[DS, 1].asDict()
    assert found == {
        "ds": dt.date(2024, 12, 31),
        "user_id": 1,
        "first_seen_ds": dt.date(2024, 1, 2),
        "last_seen_ds": dt.date(2024, 12, 31),
        "days_seen": 4,
        "ever_bought": True,
        "first_bought_ds": dt.date(2024, 5, 5),
        "last_bought_ds": dt.date(2024, 8, 8),
        "targets": 5,
        "purchases": 3,
        "amount_minor": 350,
        "bought_items": [],
    }


def test_a_shorter_horizon_forgets(frame):
    # 28 days that end on 31 December begin on the 4th
    daily = [("2024-12-03", 1, 9, 1, 50), ("2024-12-04", 1, 2, 0, 0), ("2024-12-03", 2, 1, 1, 50)]
    found = history(frame, daily, [("2024-12-03", 1, 12, 1)], horizon=28)
    assert set(found) == {(DS, 1)}
    one = found[DS, 1]
    assert (one["first_seen_ds"], one["targets"], one["bought_items"]) == (dt.date(2024, 12, 4), 2, [])
    assert history(frame, daily, [("2024-12-03", 1, 12, 1)], horizon=29)[DS, 1]["bought_items"] == [12]


@pytest.mark.parametrize("horizon", [27, 366])
def test_a_horizon_that_is_not_read_or_too_short_for_its_readers_is_refused(horizon):
    with pytest.raises(SettingsError, match=f"features.user_history: horizon is {horizon}, .* from 28 to 365 days"):
        Params(horizon=horizon)


def test_items_bought_come_once_in_order(frame):
    pairs = [("2024-05-05", 1, 12, 1), ("2024-06-05", 1, 11, 2), (DS, 1, 12, 1), (DS, 1, 13, 0)]
    found = history(frame, [("2024-05-05", 1, 1, 1, 9), (DS, 2, 0, 0, 0)], pairs)
    assert found[DS, 1]["bought_items"] == [11, 12]
    assert (found[DS, 2]["bought_items"], found[DS, 2]["ever_bought"], found[DS, 2]["first_bought_ds"]) == (
        [],
        False,
        None,
    )


def test_an_older_day_built_after_a_newer_one_is_the_same(frame):
    daily = [("2024-12-29", 1, 1, 1, 5), ("2024-12-31", 1, 1, 1, 5), ("2024-12-30", 2, 0, 0, 0)]
    pairs = [("2024-12-29", 1, 10, 1), ("2024-12-31", 1, 11, 1)]
    days = DayRange(dt.date(2024, 12, 29), dt.date(2024, 12, 31))
    each = {}
    for day in reversed(list(days)):
        each |= history(frame, daily, pairs, DayRange.day(day))
    assert each == history(frame, daily, pairs, days)
    assert each["2024-12-30", 1]["bought_items"] == [10]


def test_nobody_has_no_history(frame):
    assert history(frame, []) == {}
