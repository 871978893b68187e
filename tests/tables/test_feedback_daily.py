from __future__ import annotations

import datetime as dt

import pytest

from jobs.contract import DayRange
from jobs.runner import conform
from jobs.tables.feedback_daily import CONTRACT, Params, build

SHOWN = "ds date, impression_id string, user_id bigint, item_id bigint, swipe_speed double"
EVENTS = (
    "ds date, event_id string, impression_id string, user_id bigint, item_id bigint, action string, dwell_ms bigint"
)
ITEMS = "ds date, item_id bigint, creator_id bigint"
DS = "2024-03-10"
TODAY = DayRange.day(DS)
OFFERED = [(DS, 10, 100), (DS, 11, 100), (DS, 12, None)]


@pytest.fixture
def feedback(frame):
    def make(shown=(), events=(), items=OFFERED, days=TODAY, **params) -> dict:
        made = build(
            frame(SHOWN, list(shown)),
            frame(EVENTS, list(events)),
            frame(ITEMS, list(items)),
            days=days,
            params=Params(**params),
        )
        return {(str(r["ds"]), r["kind"], r["id"]): r.asDict() for r in conform(CONTRACT, made).collect()}

    return make


def skips(found, kind, ident):
    row = found[DS, kind, ident]
    return row["fast_skips"], row["exposures"]


def test_a_fast_skip_is_swiped_past_without_a_click_or_left_at_once(feedback):
    found = feedback(
        [
            (DS, "slow", 1, 10, 1.99),
            (DS, "fast", 1, 10, 2.0),  # skip
            (DS, "unknown", 1, 10, None),
            (DS, "fast, clicked", 2, 11, 9.0),
            (DS, "left", 2, 11, 0.1),  # skip
            (DS, "read", 2, 11, 0.1),
            (DS, "no dwell", 2, 11, 0.1),
        ],
        [
            (DS, "e1", "fast, clicked", 2, 11, "click", None),
            (DS, "e2", "fast, clicked", 2, 11, "view", 2_000),
            (DS, "e3", "left", 2, 11, "click", None),
            (DS, "e4", "left", 2, 11, "view", 1_999),
            (DS, "e5", "read", 2, 11, "click", 1_500),
            (DS, "e6", "read", 2, 11, "view", 1_500),  # 3 s in all
            (DS, "e7", "no dwell", 2, 11, "click", None),
        ],
    )
    assert skips(found, "user", 1) == skips(found, "item", 10) == (1, 3)
    assert skips(found, "user", 2) == skips(found, "item", 11) == (1, 4)
    assert skips(found, "creator", 100) == (2, 7)


def test_refusals_count_by_kind_with_or_without_a_showing(feedback):
    found = feedback(
        [(DS, "a", 1, 10, 0.5)],
        [
            (DS, "e1", "a", 1, 10, "not_interested", None),
            (DS, "e2", "a", 1, 10, "block_author", None),
            (DS, "e3", None, 2, 10, "dislike", None),
            (DS, "e4", None, 2, 12, "dislike", None),
            (DS, "e5", None, 2, None, "login", None),
        ],
    )
    told = {key[1:]: (r["exposures"], r["not_interested"], r["block_author"], r["dislike"]) for key, r in found.items()}
    assert told == {
        ("user", 1): (1, 1, 1, 0),
        ("user", 2): (0, 0, 0, 2),
        ("item", 10): (1, 1, 1, 1),
        ("item", 12): (0, 0, 0, 1),  # of no known creator
        ("creator", 100): (1, 1, 1, 1),
    }


def test_a_click_outside_of_any_showing_is_an_exposure_and_may_be_left_at_once(feedback):
    found = feedback(events=[(DS, "e1", None, 1, 10, "click", 100), (DS, "e2", None, 1, 10, "view", 100)])
    # the view is an event of its own and no click
    assert skips(found, "user", 1) == (1, 1)


def test_a_range_is_its_days_one_by_one_and_a_showing_belongs_to_its_day(feedback):
    tomorrow = "2024-03-11"
    shown = [(DS, "a", 1, 10, 5.0), (tomorrow, "b", 1, 11, 5.0)]
    # shown before midnight, clicked after: today it was skipped, tomorrow it is a click
    events = [(tomorrow, "e", "a", 1, 10, "click", 9_000)]
    items = [(day, i, 100 + i) for day in (DS, tomorrow) for i in (10, 11)]
    whole = feedback(shown, events, items, days=DayRange(dt.date(2024, 3, 10), dt.date(2024, 3, 11)))
    parts = {}
    for day in (DS, tomorrow):
        of_day = [[r for r in rows if r[0] == day] for rows in (shown, events, items)]
        parts |= feedback(*of_day, days=DayRange.day(day))
    assert whole == parts
    assert {day: (r["fast_skips"], r["exposures"]) for (day, kind, _), r in whole.items() if kind == "user"} == {
        DS: (1, 1),
        tomorrow: (1, 2),
    }


def test_no_event_no_row(feedback):
    assert feedback() == {}
