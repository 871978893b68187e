from __future__ import annotations

import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.catalog import Catalog
from jobs.contract import Column, DayRange, Node, Table, TableInput
from jobs.healing import LateRows, affected, late_rows, touched, windowed_range
from jobs.lake import Lake
from jobs.ops import RUN
from jobs.planning import estimate, timings
from jobs.settings import Market, Settings

D = dt.date(2024, 3, 10)


def day(n: int) -> dt.date:
    return D + dt.timedelta(days=n)


def table(name, *inputs, **more):
    column = Column("user_id", "bigint", "User.")
    contract = Table(name, "silver", "me", "A table.", [column], ["user_id"], inputs, **more)
    return Node(contract, lambda **_: None)


@given(
    days=st.integers(1, 30),
    lag=st.integers(0, 5),
    ahead=st.integers(0, 5),
    built=st.integers(-40, 40),
    changed=st.integers(-20, 20),
    length=st.integers(0, 10),
)
def test_a_day_is_touched_exactly_where_its_window_holds_a_changed_day(days, lag, ahead, built, changed, length):
    each = TableInput("silver.events", days=days, lag=lag, ahead=ahead)
    change = DayRange(day(changed), day(changed + length))
    window = each.window(DayRange.day(day(built)))
    reads_it = window.first <= change.last and change.first <= window.last
    of = touched(each, change)
    assert (of.first <= day(built) <= of.last) == reads_it


def test_a_change_goes_on_through_windows_and_lags_up_to_the_newest_day():
    catalog = Catalog(
        {
            n.name: n
            for n in (
                table("silver.events"),
                table("silver.daily", TableInput("silver.events")),
                table("features.week", TableInput("silver.daily", days=7)),
                table("training.rows", TableInput("features.week", lag=2), TableInput("silver.daily", lag=1, days=2)),
                table("silver.users", TableInput("silver.events"), stateful=True),
                table("silver.other"),
            )
        }
    )
    found = affected(catalog, {"silver.events": DayRange.day(D)}, last=day(5))
    assert found == {
        "silver.events": DayRange.day(D),
        "silver.daily": DayRange.day(D),
        "features.week": DayRange(D, day(5)),  # D to D+6, of which D+6 is not built yet
        "training.rows": DayRange(day(1), day(5)),  # from the daily of the day before on
        "silver.users": DayRange(D, day(5)),  # a state carries it on
    }
    assert affected(catalog, {"features.week": DayRange.day(D)}, last=day(1)) == {"features.week": DayRange.day(D)}


@pytest.fixture
def lake(tmp_path):
    return Lake(Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("test")))


def logged(lake, ds, account, at, table="silver.events", **more):
    row = {"ds": ds, "run_id": "r", "attempt": str(at), "table": table, "status": "published", "at_ms": at}
    lake.append(RUN, [{**row, "reconciliation": json.dumps(account), **more}])


def test_late_rows_are_read_from_the_newest_account_of_each_day(lake):
    logged(lake, D, {str(D): {"written": 90}}, at=1)
    logged(lake, D, {str(D): {"written": 90}, str(day(1)): {"written": 10, "duplicates": 5}}, at=2)
    logged(lake, day(1), {str(day(1)): {"written": 50, "late": 7}}, at=3)
    tonight = DayRange.day(day(1))
    assert late_rows(lake, tonight) == [LateRows(D, 10, 100)]
    assert late_rows(lake, tonight)[0].share == 0.1
    assert late_rows(lake, DayRange.day(D)) == []


@pytest.mark.parametrize(
    ("late", "weekday", "first"),
    [
        (1, 6, 1),  # 1 of 1,000 is below the share of 0.5 %: only the night's own day
        (6, 6, 0),  # 6 of 1,000 is above it
        (1, 0, 0),  # the weekly night follows any late row: D + 1 is a Monday
    ],
)
def test_windows_follow_weekly_or_above_the_share(lake, late, weekday, first):
    logged(lake, D, {str(D): {"written": 1000 - late}, str(day(1)): {"written": late}}, at=1)
    market = Market("test", heal_weekday=weekday)
    assert windowed_range(lake, market, DayRange.day(day(1))) == DayRange(day(first), day(1))


def test_a_week_without_late_rows_heals_nothing(lake):
    logged(lake, D, {str(D): {"written": 10}}, at=1)
    assert windowed_range(lake, Market("test", heal_weekday=D.weekday()), DayRange.day(D)) == DayRange.day(D)


def test_seconds_are_a_start_and_so_much_a_day():
    # 1 day 4 s, 11 days 14 s: 3 s to start, 1 s a day
    assert estimate([(1, 4.0), (11, 14.0)], DayRange(D, day(4))) == pytest.approx(8.0)
    # one length known: the mean, and in proportion for longer ranges
    assert estimate([(2, 4.0), (2, 6.0)], DayRange(D, day(3))) == pytest.approx(10.0)
    assert estimate([(2, 4.0), (2, 6.0)], DayRange.day(D)) == pytest.approx(5.0)
    # a shorter build that took longer makes no day cheaper than nothing: the mean of 9 s
    assert estimate([(1, 10.0), (3, 8.0)], DayRange(D, day(9))) == pytest.approx(9.0)
    assert estimate(None, DayRange.day(D)) is None


def test_the_days_of_a_range_are_one_build(lake):
    for n in range(3):
        logged(lake, day(n), {}, at=1, table="silver.users", seconds=6.0)
    assert timings(lake) == {"silver.users": [(3, 6.0)]}
