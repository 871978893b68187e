from __future__ import annotations

import datetime as dt
import math

import pytest

from features.user_context import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.errors import ContractError
from jobs.runner import conform

PLACES = (
    "ds date, user_id bigint, place string, cell bigint, hours int, night_hours int, work_hours int, swipes int, "
    "swipe_sum double, swipe_square_sum double"
)
SESSIONS = "ds date, user_id bigint, impressions int, depth int, dwell_ms bigint"
DS = dt.date(2024, 3, 28)
TODAY = DayRange.day(DS)
# cells of one row far from the poles: neighbours differ by 1
FLAT, NEXT_DOOR, OFFICE, PARK = 2_500_050_000, 2_500_050_001, 2_500_050_900, 2_500_051_900


def day(age: int) -> str:
    return str(DS - dt.timedelta(days=age))


def place(age, hint="none", cell=-1, hours=1, night=0, work=0, swipes=(0, 0.0, 0.0), user=1):
    return (day(age), user, hint, cell, hours, night, work, *swipes)


@pytest.fixture
def context(frame):
    def make(*places, sessions=(), days=TODAY, **params) -> dict:
        made = build(frame(PLACES, list(places)), frame(SESSIONS, list(sessions)), days=days, params=Params(**params))
        return {(str(r["ds"]), r["user_id"]): r.asDict() for r in conform(CONTRACT, made).collect()}

    return make


def one(found):
    return found[str(DS), 1]


def test_home_is_the_cell_of_nights_and_work_that_of_working_hours_apart_from_it(context):
    row = one(
        context(
            *[place(age, cell=FLAT, hours=4, night=2, work=1) for age in range(5)],
            *[place(age, cell=NEXT_DOOR, hours=3, night=1, work=2) for age in range(4)],
            *[place(age, cell=OFFICE, hours=3, work=1) for age in range(3)],
            *[place(age, cell=PARK, hours=9, night=9) for age in (0, 27)],  # two nights are no evidence
            *[place(28 + age, cell=PARK, hours=9, night=9) for age in range(5)],  # before the window
        )
    )
    assert (row["home_cell"], row["home_days"]) == (FLAT, 5)
    # next door has 8 working hours and the office 3, but it is the border of home
    assert (row["work_cell"], row["work_days"]) == (OFFICE, 3)
    # without hints: 20 + 12 hours at or beside home, 9 at work, 18 elsewhere are no known place
    assert (row["home_share"], row["work_share"]) == (round(32 / 41, 4), round(9 / 41, 4))
    assert (row["transit_share"], row["district_share"], row["districts"]) == (0.0, 0.0, [])


def test_hints_are_evidence_whatever_the_hour_and_work_at_home_is_home(context):
    row = one(
        context(
            *[place(age, "home", FLAT, hours=2, work=2) for age in range(3)],
            *[place(age, "work", OFFICE, hours=2, night=2) for age in range(3)],
            *[place(age, "transit", PARK, hours=8, night=4, work=4) for age in range(9)],
        )
    )
    assert (row["home_cell"], row["work_cell"]) == (FLAT, OFFICE)
    # 6, 6 and 72 of 84 hours
    assert [row[f"{p}_share"] for p in ("home", "work", "transit")] == [0.0714, 0.0714, 0.8571]


def test_days_of_evidence_are_different_days(context):
    twice = [place(age, hint, FLAT, hours=5, night=5) for age in (0, 1) for hint in ("home", "none")]
    row = one(context(*twice))
    assert (row["home_cell"], row["home_days"]) == (None, None)
    assert one(context(*twice, min_days=2))["home_days"] == 2


def test_of_equal_cells_the_lowest_is_home(context):
    equal = [place(age, cell=cell, night=1) for age in range(3) for cell in (PARK, OFFICE)]
    assert one(context(*equal))["home_cell"] == OFFICE


def test_hints_alone_give_shares_and_main_districts_by_hours(context):
    row = one(
        context(
            *[place(age, "harbour", hours=1) for age in range(3)],
            *[place(age, "old_town", hours=2) for age in range(3)],
            *[place(age, "tech_park", hours=1) for age in range(3)],
            *[place(age, "garden", hours=1) for age in range(4)],
            place(0, "riverside", hours=24),  # one day is no habit
            place(0, "home", hours=6),
        )
    )
    # 6, 4, 3 and 3 hours: of equals the first by name
    assert row["districts"] == ["old_town", "garden", "harbour"]
    # 6 of 46; riverside counts
    assert (row["home_share"], row["district_share"]) == (round(6 / 46, 4), round(40 / 46, 4))
    assert (row["home_cell"], row["work_cell"]) == (None, None)


def test_swipes_by_hand(context):
    found = context(
        place(0, "home", swipes=(2, 3.0, 5.0)),  # speeds 1 and 2
        place(3, swipes=(1, 3.0, 9.0)),  # speed 3
        place(0, swipes=(1, 4.0, 16.0), user=2),
        place(0, user=3),
    )
    row = one(found)
    # mean 2; squared distances 1 + 0 + 1 over n - 1 = 2
    assert (row["swipes"], row["swipe_mean"], row["swipe_sd"]) == (3, 2.0, 1.0)
    assert (found[str(DS), 2]["swipe_mean"], found[str(DS), 2]["swipe_sd"]) == (4.0, None)
    assert (found[str(DS), 3]["swipes"], found[str(DS), 3]["swipe_mean"]) == (0, None)


def test_a_deviation_is_never_the_root_of_less_than_nothing(context):
    # three times 0.1: the square of the sum by 3 is a hair above the sum of squares
    row = one(context(place(0, swipes=(3, 0.1 + 0.1 + 0.1, 0.03))))
    assert row["swipe_sd"] == 0.0 and not math.isnan(row["swipe_sd"])


def test_depth_and_dwell_are_means_of_sessions(context):
    found = context(
        sessions=[
            (day(0), 1, 10, 10, 3_000),
            (day(27), 1, 4, 4, 0),
            (day(1), 1, 0, 0, 6_000),  # nothing shown: no depth
            (day(28), 1, 99, 99, 99_000),
        ]
    )
    row = one(found)
    assert (row["sessions"], row["depth_mean"], row["dwell_mean_ms"]) == (3, 7.0, 3_000.0)
    # who was seen without a place is known all the same
    assert (row["swipes"], row["districts"], row["home_share"]) == (0, [], None)


def test_a_range_is_its_days_one_by_one(context):
    given = [place(a, "none" if a % 2 else "home", FLAT, 3, 2, 1, (2, 3.0, 5.0)) for a in range(30)]
    visits = [(day(a), 1, a, a, 10 * a) for a in range(30)]
    days = DayRange(DS - dt.timedelta(days=2), DS)
    parts = {}
    for each in days:
        parts |= context(*given, sessions=visits, days=DayRange.day(each))
    assert context(*given, sessions=visits, days=days) == parts
    assert len(parts) == 3


def test_evidence_of_no_day_is_refused():
    with pytest.raises(ContractError, match="min_days and districts are 1 or more, not 0 and 3"):
        Params(min_days=0)
