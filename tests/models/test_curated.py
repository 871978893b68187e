"""The curated pool as a channel: its window, and how much of it is offered."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from jobs.contract import DayRange
from jobs.settings import Market
from models.channels.curated import Params, recall

DS = dt.date(2024, 3, 10)
CURATED = (
    "ds date, curated_id string, item_id bigint, starts_at_ms bigint, ends_at_ms bigint, boost double, surface string, "
    "cap int"
)
ACTIVE = "ds date, user_id bigint"


def ms(text: str, zone: str = "UTC") -> int:
    return int(dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp() * 1000)


@pytest.fixture
def offered(frame):
    def made(entries, timezone="UTC", **options):
        market = Market("t", timezone=timezone)
        pool = frame(
            CURATED, [(DS, f"c{n}", *entry, *("feed", None)[len(entry) - 4 :]) for n, entry in enumerate(entries)]
        )
        users = frame(ACTIVE, [(DS, 7), (DS, 8)])
        rows = recall(pool, users, days=DayRange.day(DS), params=Params(**options), market=market).collect()
        found = {u: sorted((-r["score"], r["item_id"]) for r in rows if r["user_id"] == u) for u in (7, 8)}
        assert found[7] == found[8], "everyone is offered the same"
        return [(item, -score) for score, item in found[7]]

    return made


def test_an_entry_is_offered_where_its_window_holds_the_day_of_serving(offered):
    entries = [
        (1, ms("2024-03-11T00:00"), ms("2024-03-20T00:00"), 1.0),
        (2, ms("2024-03-01T00:00"), ms("2024-03-11T08:00"), 2.0),
        (3, ms("2024-03-01T00:00"), ms("2024-03-10T23:00"), 9.0),  # expired
        (4, ms("2024-03-12T00:00"), ms("2024-03-20T00:00"), 9.0),  # not open yet
    ]
    assert offered(entries) == [(2, 2.0), (1, 1.0)]


def test_days_are_those_of_the_market(offered):
    # begins at 23:00 UTC of the 11th, which is the 12th in Shanghai and still the 11th in Lisbon
    entry = [(1, ms("2024-03-11T23:00"), ms("2024-03-20T00:00"), 1.0)]
    assert offered(entry, "Europe/Lisbon") == [(1, 1.0)]
    assert offered(entry, "Asia/Shanghai") == []


def test_the_strongest_entries_of_an_item_and_of_the_pool_count(offered):
    always = (0, ms("2030-01-01T00:00"))
    entries = [(1, *always, 1.0), (1, *always, 3.0), (2, *always, None), (3, *always, 2.0)]
    assert offered(entries) == [(1, 3.0), (3, 2.0), (2, 0.0)]
    assert offered(entries, items=2) == [(1, 3.0), (3, 2.0)]


def test_an_entry_for_no_list_or_for_none_at_all_is_not_offered(offered):
    always = (0, ms("2030-01-01T00:00"))
    # there are lists of the feed only; a search page has none
    entries = [(1, *always, 1.0, "feed"), (2, *always, 9.0, "search"), (3, *always, 9.0, "feed", 0)]
    assert offered([*entries, (4, *always, 2.0, "feed", 1)]) == [(4, 2.0), (1, 1.0)]
