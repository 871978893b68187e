from __future__ import annotations

import datetime as dt
import json
import shutil
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.catalog import Catalog
from jobs.contract import Column, DayRange, Node, Table, TableInput
from jobs.healing import Change, Record, affected, changes, landed_anew, touched, windowed_range
from jobs.lake import Lake
from jobs.landing import day_folder, write_manifest
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
    lake.append(
        RUN, [{"inputs": "{}", **row, "reconciliation": None if account is None else json.dumps(account), **more}]
    )


WINDOWS = "features.week"


def windows_built(lake, days, at):
    for ds in days:
        logged(lake, ds, None, at, table=WINDOWS)


def healed(lake, ds, **market):
    lake = Lake(replace(lake.settings, market=Market("test", **market)))
    return windowed_range(Record.of(lake), lake, [WINDOWS], DayRange.day(ds))


def test_a_day_changed_by_what_moved_in_its_accounts_since_its_windows_were_built(lake):
    logged(lake, D, {str(D): {"written": 90}}, at=1)
    logged(lake, D, {str(D): {"written": 3}}, at=1, table="silver.users")
    windows_built(lake, [D], at=2)
    assert changes(Record.of(lake), [WINDOWS], DayRange.day(D)) == []
    # 10 came a day later, and one of the 90 has become a duplicate of an earlier delivery: 11 of 99 + 3 rows moved
    logged(lake, D, {str(D): {"written": 89, "duplicates": 1}, str(day(1)): {"written": 10, "late": 5}}, at=3)
    assert changes(Record.of(lake), [WINDOWS], DayRange.day(D)) == [Change(D, 11, 102, since=D)]
    windows_built(lake, [D], at=4)
    assert changes(Record.of(lake), [WINDOWS], DayRange.day(D)) == []


def test_a_day_that_no_window_was_built_for_is_read_by_those_of_the_days_after_it(lake):
    windows_built(lake, [D, day(2)], at=1)
    for n in (1, 3):
        logged(lake, day(n), {str(day(n)): {"written": 4}}, at=2)
    # no window is as new as the last
    assert changes(Record.of(lake), [WINDOWS], DayRange(D, day(3))) == [Change(day(1), 4, 4, since=day(1))]


def test_what_is_older_than_all_windows_is_followed_where_it_is_the_night_s_own_day(lake):
    windows_built(lake, [day(1)], at=1)
    logged(lake, D, {str(D): {"written": 4}}, at=2)
    assert healed(lake, day(1)) == DayRange.day(day(1))
    assert healed(lake, D) == DayRange(D, day(1))


@pytest.mark.parametrize(
    ("late", "weekday", "first"),
    [
        (5, 6, 1),  # 5 of 1,000 is not above the share of 0.5 %: only the night's own day
        (6, 6, 0),  # 6 of 1,000 is
        (1, 0, 0),  # the weekly night follows any late row: D + 1 is a Monday
    ],
)
def test_windows_follow_weekly_or_above_the_share(lake, late, weekday, first):
    logged(lake, D, {str(D): {"written": 1000 - late}}, at=1)
    windows_built(lake, [D], at=2)
    logged(lake, D, {str(D): {"written": 1000 - late}, str(day(1)): {"written": late}}, at=3)
    assert healed(lake, day(1), heal_weekday=weekday) == DayRange(day(first), day(1))


def test_many_rows_of_one_feed_do_not_hide_what_moved_in_another(lake):
    logged(lake, D, {str(D): {"written": 1_000_000}}, at=1, table="silver.impressions")
    logged(lake, D, {str(D): {"written": 2_500}}, at=1, table="silver.orders")
    windows_built(lake, [D], at=2)
    # half of the 5,000 orders came a day late, and one showing earlier than they: 2,501 of 1,005,001 rows are 0.25 %
    logged(lake, D, {str(D): {"written": 1_000_001}}, at=3, table="silver.impressions")
    logged(lake, D, {str(D): {"written": 2_500}, str(day(1)): {"written": 2_500}}, at=3, table="silver.orders")
    (change,) = changes(Record.of(lake), [WINDOWS], DayRange.day(D))
    assert (change, change.share) == (Change(D, 2_500, 5_000, since=D), 0.5)
    assert healed(lake, day(1), heal_weekday=6) == DayRange(D, day(1))


def test_one_late_row_of_a_small_feed_waits_for_the_week(lake):
    logged(lake, D, {str(D): {"written": 10_000}}, at=1)
    logged(lake, D, {str(D): {"written": 39}}, at=1, table="silver.orders")
    windows_built(lake, [D], at=2)
    # 1 of 40 orders is 2.5 %, and 0.01 % of the day
    logged(lake, D, {str(D): {"written": 39}, str(day(1)): {"written": 1}}, at=3, table="silver.orders")
    assert healed(lake, day(1), heal_weekday=6) == DayRange.day(day(1))
    assert healed(lake, day(1), heal_weekday=0) == DayRange(D, day(1))


def late_by_night(lake, first_late=3):
    """1,000 rows of D, of which some came on each of the next nights, whose windows were built alone."""
    account = {str(D): {"written": 1000}}
    logged(lake, D, account, at=1)
    windows_built(lake, [D], at=2)
    for n in (1, 2):
        account[str(day(n))] = {"written": first_late}
        logged(lake, D, account, at=10 * n)
        windows_built(lake, [day(n)], at=10 * n + 1)


def test_shares_of_several_nights_add_up(lake):
    late_by_night(lake)
    # 3 of 1,003 on each night: only both together, 6 of 1,006, are above 0.5 %
    assert healed(lake, day(2), heal_weekday=5) == DayRange(D, day(2))


def test_a_weekly_night_that_did_not_run_is_made_up_for_by_the_next(lake):
    late_by_night(lake, first_late=1)
    # D is a Sunday. Rows of Monday and Tuesday wait for Wednesday; nobody runs it, so they do not wait for another
    assert healed(lake, day(2), heal_weekday=2) == DayRange.day(day(2))
    windows_built(lake, [day(3)], at=30)
    assert healed(lake, day(4), heal_weekday=2) == DayRange(D, day(4))
    windows_built(lake, [day(n) for n in range(5)], at=40)
    assert healed(lake, day(5), heal_weekday=2) == DayRange.day(day(5))


def test_windows_of_days_that_are_missing_are_built_first_and_not_those_before_the_first(lake):
    assert healed(lake, D) == DayRange.day(D)
    windows_built(lake, [D], at=1)
    assert healed(lake, day(3)) == DayRange(day(1), day(3))
    # 100 days later it is a backfill: 30 are made up for
    assert healed(lake, day(100)) == DayRange(day(70), day(100))


def test_an_older_day_carries_its_change_to_the_newest_and_nothing_where_nothing_changed(lake):
    for n in (0, 2):
        logged(lake, day(n), {str(day(n)): {"written": 1000}}, at=1)
    windows_built(lake, [D, day(2)], at=2)
    assert healed(lake, D, heal_weekday=5) == DayRange.day(D)
    logged(lake, day(1), {str(day(1)): {"written": 1000}}, at=3)
    assert healed(lake, day(1), heal_weekday=5) == DayRange(day(1), day(2))
    logged(lake, D, {str(D): {"written": 1000}, str(day(1)): {"written": 1}}, at=4)
    # a single row of a night's own day is followed too, because later windows would else never know
    assert healed(lake, D, heal_weekday=5) == DayRange(D, day(2))


def test_a_restored_day_that_was_never_built_is_missing_again(lake):
    windows_built(lake, [D, day(1)], at=1)
    logged(lake, day(1), None, at=2, table=WINDOWS, inputs=None)
    assert healed(lake, day(2)) == DayRange(day(1), day(2))


def landed(lake, feed, ds, rows, part=""):
    folder = day_folder(lake.settings.landing, "test", feed, ds)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part or 'all'}.csv").write_text("x")
    write_manifest(folder, feed, ds, {f"{part or 'all'}.csv": rows}, part)


def test_what_landed_anew_is_what_manifests_promise_and_bronze_lacks_within_the_late_limit(lake, monkeypatch):
    has = {"bronze.events": {str(day(n)): 10 for n in range(6)}, "bronze.users": {}}
    monkeypatch.setattr(Lake, "counts", lambda self, table: has.get(table, {}))
    for n in (0, 1, 2, 4):
        landed(lake, "events", day(n), 10)
    assert landed_anew(lake, DayRange.day(day(5))) == {}
    landed(lake, "events", day(1), 3, part="late")
    landed(lake, "events", day(2), 3, part="late")
    landed(lake, "users", day(3), 1)
    assert landed_anew(lake, DayRange.day(day(5))) == {"events": [day(2)], "users": [day(3)]}
    # files that are no longer kept are nothing to be read again
    shutil.rmtree(day_folder(lake.settings.landing, "test", "events", day(4)))
    assert landed_anew(lake, DayRange.day(day(5))) == {"events": [day(2)], "users": [day(3)]}
    wide = Lake(replace(lake.settings, market=Market("test", late_days=5)))
    assert landed_anew(wide, DayRange.day(day(5))) == {"events": [day(1), day(2)], "users": [day(3)]}


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
