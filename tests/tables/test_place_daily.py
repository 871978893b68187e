from __future__ import annotations

import datetime as dt

import pytest

from jobs.contract import DayRange
from jobs.runner import conform
from jobs.settings import Market
from jobs.tables.place_daily import CONTRACT, Params, build

SHOWN = "ds date, user_id bigint, at_ms bigint, place string, cell bigint, swipe_speed double"
EVENTS = "ds date, user_id bigint, at_ms bigint, place string, impression_id string, request_id string"
USERS = "ds date, user_id bigint, region string"
FRIDAY, SATURDAY = "2024-03-08", "2024-03-09"
TODAY = DayRange.day(FRIDAY)
UTC = Market("test")


def ms(text: str) -> int:
    return int(dt.datetime.fromisoformat(text + "+00:00").timestamp() * 1000)


def shown(at: str, place: str | None = None, cell: int | None = None, speed: float | None = None, user: int = 1):
    return (at[:10], user, ms(at), place, cell, speed)


@pytest.fixture
def places(frame):
    def make(impressions=(), events=(), users=(), days=TODAY, market=UTC, **params) -> dict:
        made = build(
            frame(SHOWN, list(impressions)),
            frame(EVENTS, list(events)),
            frame(USERS, list(users)),
            days=days,
            params=Params(**params),
            market=market,
        )
        rows = conform(CONTRACT, made).collect()
        return {(str(r["ds"]), r["user_id"], r["place"], r["cell"]): r.asDict() for r in rows}

    return make


def test_an_hour_counts_once_whatever_was_shown_in_it(places):
    found = places(
        [
            shown("2024-03-08T09:00", "work", 7, 1.0),
            shown("2024-03-08T09:59", "work", 7, 3.0),
            shown("2024-03-08T17:59", "work", 7),
            shown("2024-03-08T18:00", "work", 7),
            shown("2024-03-08T21:59"),
            shown("2024-03-08T22:00"),
            shown("2024-03-08T05:59"),
        ]
    )
    work, nowhere = found[FRIDAY, 1, "work", 7], found[FRIDAY, 1, "none", -1]
    # 9, 17 and 18 o'clock, of which 9 and 17 are working hours
    assert (work["hours"], work["work_hours"], work["night_hours"]) == (3, 2, 0)
    # 5, 21 and 22 o'clock, of which 5 and 22 are night
    assert (nowhere["hours"], nowhere["work_hours"], nowhere["night_hours"]) == (3, 0, 2)
    # 1 + 3 and 1 + 9
    assert (work["impressions"], work["swipes"], work["swipe_sum"], work["swipe_square_sum"]) == (4, 2, 4.0, 10.0)
    assert (nowhere["impressions"], nowhere["swipes"], nowhere["swipe_sum"]) == (3, 0, 0.0)


def test_a_weekend_has_no_working_hours(places):
    found = places([shown("2024-03-09T10:00", "home")], days=DayRange.day(SATURDAY))
    assert [(r["hours"], r["work_hours"]) for r in found.values()] == [(1, 0)]


def test_hours_are_those_of_the_user_s_region(places):
    market = Market("test", timezone="UTC", region_timezones={"far": "Pacific/Auckland"})
    # Friday 10:00 UTC is Friday 23:00 in Auckland, and Friday 20:00 is Saturday 09:00
    given = [shown(f"2024-03-08T{h}:00", user=u) for u in (1, 2) for h in ("10", "20")]
    found = places(given, users=[(FRIDAY, 1, "far"), (FRIDAY, 2, "near")], market=market)
    assert [(r["user_id"], r["night_hours"], r["work_hours"]) for _, r in sorted(found.items())] == [
        (1, 1, 0),
        (2, 0, 1),
    ]


def test_actions_outside_of_any_showing_count_where_their_place_is_known(places):
    at = ms("2024-03-08T12:00")
    found = places(
        events=[
            (FRIDAY, 1, at, "harbour", None, None),
            (FRIDAY, 2, at, "harbour", "i", None),
            (FRIDAY, 3, at, "harbour", None, "r"),
            (FRIDAY, 4, at, None, None, None),
        ]
    )
    assert {key: (r["hours"], r["impressions"]) for key, r in found.items()} == {(FRIDAY, 1, "harbour", -1): (1, 0)}


def test_a_range_is_its_days_one_by_one(places):
    given = [
        shown(f"{day}T{h}:30", place, 5, 1.5)
        for day in (FRIDAY, SATURDAY)
        for h in ("08", "23")
        for place in ("home", None)
    ]
    both = DayRange(dt.date(2024, 3, 8), dt.date(2024, 3, 9))
    one_by_one = {}
    for day in both:
        one_by_one |= places([row for row in given if row[0] == str(day)], days=DayRange.day(day))
    assert places(given, days=both) == one_by_one != {}


def test_nothing_shown_is_nowhere(places):
    assert places() == {}
