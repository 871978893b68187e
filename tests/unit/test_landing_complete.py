"""How long a night waits for its feeds, which it goes without, and which it fails without."""

from __future__ import annotations

import datetime as dt

import pytest

from jobs.errors import ContractError, LandingError
from jobs.landing import day_folder, waits, write_manifest
from jobs.settings import Market, load_settings, save_market
from jobs.steps import landing_complete

DAY, BEFORE = dt.date(2024, 3, 14), dt.date(2024, 3, 13)
USUAL = ("items", "users", "events", "reviews")


@pytest.fixture
def market(home):
    """Saves the market, of whose feeds some have landed for the day and all for the day before."""

    def make(landed=USUAL, **options) -> None:
        save_market(Market("shop", **options))
        root = load_settings("shop").landing
        for day, feeds in ((BEFORE, USUAL), (DAY, landed)):
            for feed in feeds:
                folder = day_folder(root, "shop", feed, day)
                folder.mkdir(parents=True)
                write_manifest(folder, feed, day, {})

    return make


def at(text: str) -> bool:
    """Whether the night of the day goes on at a time of the day after."""
    return landing_complete(str(DAY), "shop", now=dt.datetime.fromisoformat(f"2024-03-15T{text}+00:00"))


def test_a_night_whose_feeds_have_landed_goes_on(market):
    market()
    assert at("00:00")


def test_a_feed_that_can_be_missed_is_waited_for_until_8_hours_after_the_day(market):
    market(landed=("items", "users", "events"))
    assert [at("00:00"), at("07:59"), at("08:00")] == [False, False, True]


def test_a_needed_feed_is_waited_for_as_long_and_stops_the_night_then(market):
    market(landed=("users", "events", "reviews"))
    assert not at("07:59")
    with pytest.raises(LandingError, match=r"needed feeds \['items'\] have not landed for 2024-03-14 in time"):
        at("08:00")


def test_a_market_says_for_each_feed_how_long_and_whether_it_is_needed(market):
    market(
        landed=("users",),
        feeds={
            "items": {"needed": False},
            "reviews": {"wait_hours": 2},
            "events": {"needed": True, "wait_hours": 10.5},
        },
    )
    # reviews are over at 2, items may be missed and are over at 8; events are needed
    assert [at("01:00"), at("09:00"), at("10:29")] == [False, False, False]
    with pytest.raises(LandingError, match=r"needed feeds \['events'\]"):
        at("10:30")


def test_a_day_ends_in_the_market_s_time_zone(market):
    # New York is 4 hours behind UTC on 14 March 2024: the day ends at 04:00, the wait at noon
    market(landed=("items", "users", "events"), timezone="America/New_York")
    assert [at("11:59"), at("12:00")] == [False, True]


@pytest.mark.parametrize("later", [{"wait": False}, {"now": dt.datetime(2024, 6, 1, tzinfo=dt.UTC)}, {}])
def test_a_command_and_a_night_of_an_older_day_do_not_wait(market, later):
    """The last one is by the clock: the day is long over."""
    market(landed=("items", "users"))
    assert landing_complete(str(DAY), "shop", **later)


def test_a_feed_that_never_landed_is_not_waited_for(market):
    market()
    assert at("00:00")  # surveys, say
    day_folder(load_settings("shop").landing, "shop", "surveys", BEFORE).mkdir(parents=True)
    assert not at("00:00")


def test_what_the_file_says_of_feeds_is_held_against_those_that_there_are():
    assert waits(Market("shop"))["items"].needed and waits(Market("shop"))["reviews"].wait_hours == 8
    with pytest.raises(LandingError, match="no feed 'review'"):
        waits(Market("shop", feeds={"review": {"needed": True}}))
    with pytest.raises(ContractError, match=r"market shop, feed reviews: unknown option \['hours'\]"):
        waits(Market("shop", feeds={"reviews": {"hours": 2}}))
    with pytest.raises(ContractError, match="feed reviews: option wait_hours is 'long'"):
        waits(Market("shop", feeds={"reviews": {"wait_hours": "long"}}))
