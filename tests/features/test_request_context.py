from __future__ import annotations

import datetime as dt

import pytest

from features.request_context import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.runner import conform
from jobs.settings import Market

SHOWN = (
    "ds date, request_id string, user_id bigint, at_ms bigint, surface string, place string, cell bigint, "
    "position int, swipe_speed double"
)
EVENTS = "ds date, request_id string, item_id bigint, action string, dwell_ms bigint"
USERS = "ds date, user_id bigint, region string"
USUAL = "ds date, user_id bigint, home_cell bigint, work_cell bigint, swipes int, swipe_mean double, swipe_sd double"
YESTERDAY, FRIDAY, SATURDAY = "2024-03-07", "2024-03-08", "2024-03-09"
TODAY = DayRange.day(FRIDAY)
UTC = Market("test")
# cells of one row far from the poles: neighbours differ by 1
FLAT, NEXT_DOOR, OFFICE, PARK = 2_500_050_000, 2_500_050_001, 2_500_050_900, 2_500_051_900


def ms(text: str) -> int:
    return int(dt.datetime.fromisoformat(text + "+00:00").timestamp() * 1000)


def shown(request, at="2024-03-08T12:00", place=None, cell=None, position=1, speed=None, user=1, surface="feed"):
    return (at[:10], request, user, ms(at), surface, place, cell, position, speed)


@pytest.fixture
def requests(frame):
    def make(impressions=(), events=(), users=(), usual=(), days=TODAY, market=UTC, **params) -> dict:
        made = build(
            frame(SHOWN, list(impressions)),
            frame(EVENTS, list(events)),
            frame(USERS, list(users)),
            frame(USUAL, list(usual)),
            days=days,
            params=Params(**params),
            market=market,
        )
        return {r["request_id"]: r.asDict() for r in conform(CONTRACT, made).collect()}

    return make


def test_a_request_sums_up_its_showings_and_what_was_done_on_it(requests):
    found = requests(
        [
            shown("r", position=2, speed=1.0),
            shown("r", "2024-03-08T11:59", position=7, speed=2.0),
            shown("r", "2024-03-08T12:01", position=3),
            shown(None),
        ],
        [
            (FRIDAY, "r", 10, "click", None),
            (FRIDAY, "r", 10, "view", 4_000),
            (FRIDAY, "r", None, "search", None),
            (FRIDAY, "from yesterday", 10, "click", 9_000),
            (FRIDAY, None, 10, "click", 9_000),
        ],
    )
    assert set(found) == {"r"}
    row = found["r"]
    assert (row["impressions"], row["clicks"], row["depth"], row["dwell_ms"]) == (3, 1, 7, 4_000)
    assert (row["swipe_speed"], row["user_id"], row["surface"]) == (1.5, 1, "feed")
    assert (row["at_ms"], row["local_hour"], row["day_part"]) == (ms("2024-03-08T11:59"), 11, "midday")


def test_time_is_that_of_the_user_s_wall(requests):
    market = Market("test", timezone="UTC", region_timezones={"far": "Pacific/Auckland"})
    found = requests(
        [shown("far", user=1), shown("near", user=2), shown("stranger", user=3)],
        users=[(FRIDAY, 1, "far"), (FRIDAY, 2, "near")],
        market=market,
    )
    # Friday 12:00 UTC is Saturday 01:00 in Auckland
    assert {k: (r["local_hour"], r["day_part"], r["is_weekend"]) for k, r in found.items()} == {
        "far": (1, "night", True),
        "near": (12, "midday", False),
        "stranger": (12, "midday", False),
    }


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        # 07:30 in New York is 12:30 UTC on the day before the clocks change and 11:30 on the day after
        ("2024-03-08", {"11:30": (6, None), "12:30": (7, "morning"), "14:59": (9, "morning"), "15:00": (10, None)}),
        ("2024-03-11", {"10:30": (6, None), "11:30": (7, "morning"), "13:59": (9, "morning"), "14:00": (10, None)}),
        # and the other way in autumn
        ("2024-11-01", {"10:59": (6, None), "11:00": (7, "morning"), "23:59": (19, "evening")}),
        ("2024-11-04", {"11:59": (6, None), "12:00": (7, "morning"), "22:00": (17, "evening")}),
    ],
)
def test_peaks_move_with_daylight_saving(requests, day, hours):
    found = requests(
        [shown(at, f"{day}T{at}") for at in hours],
        days=DayRange.day(day),
        market=Market("test", timezone="America/New_York"),
    )
    assert {at: (r["local_hour"], r["peak"]) for at, r in found.items()} == hours
    assert {at: r["is_commute"] for at, r in found.items()} == {at: bool(peak) for at, (_, peak) in hours.items()}


def test_a_commute_is_in_a_weekday_s_peak_and_not_at_home_or_work_or_on_the_way(requests):
    peak, noon = "2024-03-08T08:00", "2024-03-08T12:00"
    found = requests(
        [
            shown("peak", peak),
            shown("at home", peak, "home"),
            shown("at work", peak, "work"),
            shown("out", peak, "harbour"),
            shown("noon", noon),
            shown("on the way at noon", noon, "transit"),
        ]
    )
    assert {k for k, r in found.items() if r["is_commute"]} == {"peak", "out", "on the way at noon"}
    weekend = requests([shown("saturday", "2024-03-09T08:00")], days=DayRange.day(SATURDAY))
    assert (weekend["saturday"]["peak"], weekend["saturday"]["is_commute"]) == ("morning", False)


def test_places_are_told_by_hints_then_by_cells_known_the_day_before(requests):
    usual = [(YESTERDAY, 1, FLAT, OFFICE, 0, None, None), (FRIDAY, 2, FLAT, OFFICE, 0, None, None)]
    found = requests(
        [
            shown("hint", place="transit", cell=FLAT),
            shown("district", place="harbour", cell=FLAT),
            shown("home", cell=FLAT),
            shown("beside home", cell=NEXT_DOOR),
            shown("work", cell=OFFICE),
            shown("elsewhere", cell=PARK),
            shown("unknown"),
            shown("of tomorrow", cell=FLAT, user=2),
        ],
        usual=usual,
    )
    assert {k: (r["place_type"], r["district"]) for k, r in found.items()} == {
        "hint": ("transit", None),
        "district": ("district", "harbour"),
        "home": ("home", None),
        "beside home": ("home", None),
        "work": ("work", None),
        "elsewhere": ("other", None),
        "unknown": (None, None),
        "of tomorrow": ("other", None),
    }


def test_fast_swiping_is_above_the_user_s_own_or_the_bound_and_looks_shortly(requests):
    found = requests(
        [
            shown("usual", speed=1.5),
            shown("above own", speed=1.51),
            shown("above own, looked", speed=1.51),
            shown("bound", speed=2.0, user=2),
            shown("below bound", speed=1.99, user=2),
            shown("few swipes", speed=1.99, user=3),
            shown("no speed"),
        ],
        [(FRIDAY, "above own, looked", 10, "view", 3_000), (FRIDAY, "above own", 10, "view", 2_999)],
        usual=[(YESTERDAY, 1, None, None, 30, 1.0, 0.5), (YESTERDAY, 3, None, None, 29, 0.1, 0.1)],
    )
    # user 1 is fast above 1.0 + 0.5
    assert {k for k, r in found.items() if r["is_fast_swiping"]} == {"above own", "bound"}


def test_a_range_is_its_days_one_by_one(requests):
    given = [shown(f"{day}{n}", f"{day}T0{n}:00", cell=FLAT, speed=1.2) for day in (FRIDAY, SATURDAY) for n in (7, 8)]
    events = [(day, f"{day}7", 10, "click", 100) for day in (FRIDAY, SATURDAY)]
    usual = [(YESTERDAY, 1, FLAT, None, 99, 1.0, 0.1), (FRIDAY, 1, OFFICE, None, 99, 2.0, 0.1)]
    both = DayRange(dt.date(2024, 3, 8), dt.date(2024, 3, 9))
    parts = {}
    for day in both:
        parts |= requests(
            [r for r in given if r[0] == str(day)],
            [r for r in events if r[0] == str(day)],
            usual=[r for r in usual if r[0] == str(day - dt.timedelta(days=1))],
            days=DayRange.day(day),
        )
    whole = requests(given, events, usual=usual, days=both)
    assert whole == parts
    assert [whole[f"{d}7"]["place_type"] for d in (FRIDAY, SATURDAY)] == ["home", "other"]


def test_nothing_shown_no_request(requests):
    assert requests(events=[(FRIDAY, "r", 10, "click", 1)]) == {}
