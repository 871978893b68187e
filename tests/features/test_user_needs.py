from __future__ import annotations

import datetime as dt

import pytest

from features.user_needs import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.errors import SettingsError
from jobs.runner import conform

SIGNALS = "ds date, review_id string, user_id bigint, needs map<string,double>"
ITEMS = "ds date, item_id bigint, category string"
TODAY = DayRange.day("2024-03-31")
SHOP = [("2024-03-31", 1, "Sports & Outdoors"), ("2024-03-31", 2, "transport"), ("2024-03-31", 3, "运动户外")]


def needs(frame, *rows, items=SHOP, days=TODAY, **params):
    made = build(frame(SIGNALS, list(rows)), frame(ITEMS, items), days=days, params=Params(**params))
    return [row.asDict() for row in conform(CONTRACT, made).orderBy("ds", "user_id", "need").collect()]


def test_strength_halves_with_each_half_life(frame):
    found = needs(
        frame,
        ("2024-03-31", "a", 1, {"healthy_living": 1.0, "thrift": 0.5}),
        ("2024-03-01", "b", 1, {"healthy_living": 1.0}),  # 30 days old: a half
        ("2023-12-31", "c", 1, {"novelty": 1.0}),  # 91 days old: gone
        ("2024-03-31", "d", 2, {}),
        ("2024-03-31", "e", 2, None),
    )
    healthy, thrift = found
    assert (healthy["need"], healthy["strength"], healthy["texts"], healthy["days_since"]) == (
        "healthy_living",
        1.5,
        2,
        0,
    )
    assert (thrift["need"], thrift["strength"], thrift["texts"]) == ("thrift", 0.5, 1)
    # 1.5 and 0.5 of 2
    assert (healthy["share"], thrift["share"]) == (0.75, 0.25)


def test_categories_are_those_of_the_market_that_hold_a_name_as_a_word(frame):
    found = needs(frame, ("2024-03-31", "a", 1, {"healthy_living": 1.0, "caring": 1.0}))
    # sports and 运动 match, "transport" holds no name as a word; nothing here serves caring
    assert {row["need"]: row["categories"] for row in found} == {
        "caring": [],
        "healthy_living": ["Sports & Outdoors", "运动户外"],
    }


def test_a_market_may_bring_its_own_mapping(frame, home):
    (home / "map.yaml").write_text("version: 4\nneeds: {healthy_living: [transport, nowhere], thrift: []}")
    found = needs(frame, ("2024-03-31", "a", 1, {"healthy_living": 1.0}), categories="map.yaml")
    assert found[0]["categories"] == ["transport"]
    assert found[0]["mapping"].startswith("4-")


def test_a_shop_without_items_serves_no_need(frame):
    assert needs(frame, ("2024-03-31", "a", 1, {"thrift": 1.0}), items=[])[0]["categories"] == []


def test_a_range_gives_the_same_rows_as_day_by_day(frame):
    rows = [
        ("2024-03-29", "a", 1, {"thrift": 1.0, "caring": 0.4}),
        ("2024-03-30", "b", 1, {"thrift": 0.3}),
        ("2024-03-31", "c", 2, {"novelty": 1.0}),
        ("2023-12-30", "d", 2, {"thrift": 1.0}),  # 90 days before the 29th, and out of all windows
    ]
    items = [(f"2024-03-{d}", d, "groceries") for d in (29, 30)] + [("2024-03-31", 1, "travel")]
    days = DayRange(dt.date(2024, 3, 29), dt.date(2024, 3, 31))
    whole = needs(frame, *rows, items=items, days=days)
    singly = [
        row
        for day in days
        for row in needs(
            frame,
            *[r for r in rows if r[0] <= str(day)],
            items=[i for i in items if i[0] == str(day)],
            days=DayRange(day, day),
        )
    ]
    assert whole == singly and len(whole) == 2 + 2 + 3


@pytest.mark.parametrize("horizon", [0, 181])
def test_a_horizon_that_is_not_read_is_refused(horizon):
    with pytest.raises(SettingsError, match="from 1 to 180"):
        Params(horizon=horizon)
