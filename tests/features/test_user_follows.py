from __future__ import annotations

import datetime as dt

import pytest

from features.user_follows import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.errors import SettingsError
from jobs.runner import conform

DAILY = "ds date, user_id bigint, item_id bigint, follows int"
ITEMS = "ds date, item_id bigint, creator_id bigint"
DS = "2024-12-31"
# items 11 and 12 are by 7, item 20 by 8; nobody is known to have made 30
MADE_BY = {11: 7, 12: 7, 20: 8, 30: None}


def follows(frame, daily, days=None, made_by=None, **params):
    days = days or DayRange.day(DS)
    items = [(day, item, creator) for day in days for item, creator in (made_by or MADE_BY).items()]
    made = build(frame(DAILY, daily), frame(ITEMS, items), days=days, params=Params(**params))
    found = conform(CONTRACT, made).collect()
    return {(str(r["ds"]), r["user_id"], r["creator_id"]): str(r["followed_ds"]) for r in found}


def test_a_follow_is_of_the_creator_and_stands_since_its_last_day(frame):
    daily = [
        ("2024-03-01", 1, 11, 1),
        ("2024-05-01", 1, 12, 1),  # another item of the same creator: the later day
        ("2024-06-01", 1, 20, 1),
        (DS, 2, 20, 1),
        (DS, 2, 11, 0),  # 0 is no follow
        (DS, 3, 11, None),  # nor is a row that was written before there was the column
        (DS, 3, 30, 1),  # and there is nobody to follow
    ]
    assert follows(frame, daily) == {(DS, 1, 7): "2024-05-01", (DS, 1, 8): "2024-06-01", (DS, 2, 8): DS}


def test_a_shorter_horizon_forgets(frame):
    # 10 days that end on 31 December begin on the 22nd
    daily = [("2024-12-21", 1, 11, 1), ("2024-12-22", 1, 20, 1)]
    assert follows(frame, daily, horizon=10) == {(DS, 1, 8): "2024-12-22"}


@pytest.mark.parametrize("horizon", [0, 366])
def test_a_horizon_that_is_not_read_is_refused(horizon):
    with pytest.raises(SettingsError, match=f"features.user_follows: horizon is {horizon}, .* from 1 to 365 days"):
        Params(horizon=horizon)


@pytest.mark.parametrize(
    ("told", "since"),
    [
        ([("2024-03-01", 11, 1), ("2024-04-01", 12, -1)], None),  # ended on another item of the creator
        ([("2024-03-01", 11, 1), ("2024-04-01", 20, -1)], "2024-03-01"),  # somebody else was unfollowed
        ([("2024-04-01", 11, -1), ("2024-04-02", 11, 1)], "2024-04-02"),  # followed again, a day later
        ([("2024-04-01", 11, 1), ("2024-04-01", 12, -1)], None),  # both within a day, on two items: ended
        ([("2024-03-01", 11, 1), ("2024-04-01", 11, -1), ("2024-05-01", 11, 1)], "2024-05-01"),
        ([("2024-04-01", 11, -1)], None),
    ],
)
def test_what_comes_last_decides(frame, told, since):
    found = follows(frame, [(day, 1, item, value) for day, item, value in told])
    assert {key: day for key, day in found.items() if key[2] == 7} == ({(DS, 1, 7): since} if since else {})


def test_a_follow_is_seen_for_a_year(frame):
    # 2024 is a leap year: 1 January is 365 days before 31 December, which is outside; 2 January is 364
    daily = [("2024-01-01", 1, 11, 1), ("2024-01-02", 2, 11, 1), ("2024-01-01", 2, 11, -1)]
    assert follows(frame, daily) == {(DS, 2, 7): "2024-01-02"}


def test_an_older_day_built_after_a_newer_one_is_the_same(frame):
    daily = [("2024-12-29", 1, 11, 1), ("2024-12-30", 1, 12, -1), ("2024-12-31", 1, 11, 1)]
    days = DayRange(dt.date(2024, 12, 29), dt.date(2024, 12, 31))
    each = {}
    for day in reversed(list(days)):
        each |= follows(frame, daily, DayRange.day(day))
    assert each == follows(frame, daily, days)
    # the 29th: followed; the 30th: ended; the 31st: followed again
    assert each == {("2024-12-29", 1, 7): "2024-12-29", (DS, 1, 7): DS}


def test_an_item_that_changed_hands_speaks_for_its_creator_of_the_day(frame):
    assert follows(frame, [("2024-03-01", 1, 11, 1)], made_by={11: 9}) == {(DS, 1, 9): "2024-03-01"}


def test_nobody_follows_nobody(frame):
    assert follows(frame, []) == {}
