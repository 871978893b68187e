"""Surfaces and contexts: what a market's file may say, what is refused, and who is in which context."""

from __future__ import annotations

import datetime as dt

import pytest

from jobs.catalog import discover
from jobs.contract import DayRange, NoParams
from jobs.errors import SettingsError
from jobs.runner import conform
from jobs.settings import Market
from models.contexts import CONTRACT, build
from models.surfaces import SIGNALS, USUAL, surfaces

FRIDAY, SATURDAY = "2024-03-08", "2024-03-09"


def market(**options) -> Market:
    return Market("demo", surfaces=options)


def test_the_shipped_surfaces_fit():
    feed = surfaces(Market("demo"))["feed"]
    assert feed.length == 20 and feed.name == "feed"
    assert set(feed.contexts) >= {"commute", "weekend", "fast_swiping", "campaign", "churn_warning", "high_value"}


def test_a_market_changes_one_option_and_keeps_the_others():
    usual, mine = surfaces(Market("demo"))["feed"], surfaces(market(feed={"quotas": {"popular": 3}}))["feed"]
    assert mine.quotas == {**usual.quotas, "popular": 3}
    assert (mine.length, mine.rules, mine.contexts) == (usual.length, usual.rules, usual.contexts)


def test_null_takes_an_entry_away_and_new_ones_come_last():
    mine = surfaces(market(feed={"contexts": {"weekend": None, "monday": {"when": {"weekday": 0}}}}))["feed"]
    assert "weekend" not in mine.contexts and list(mine.contexts)[-1] == "monday"


def test_a_new_surface_needs_no_code():
    mine = surfaces(market(basket={"length": 4, "contexts": {"new": {"when": {"is_new": True}, "length": 8}}}))
    assert mine["basket"].length == 4 and mine["basket"].under("new").length == 8
    assert mine["basket"].under(USUAL) is mine["basket"]


def test_a_context_overrides_key_by_key():
    mine = surfaces(
        market(
            basket={
                "rules": {"mmr": {"relevance": 0.9}, "quality_floor": {}},
                "contexts": {"new": {"when": {"is_new": True}, "rules": {"mmr": {"relevance": 0.7}}}},
            }
        )
    )["basket"]
    assert mine.under("new").rules == {"mmr": {"relevance": 0.7}, "quality_floor": {}}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lenght": 3}, r"Surface basket: unknown option \['lenght'\]; it knows"),
        ({"length": 0}, "length is a whole number from 1 to 1000, not 0"),
        ({"objective": {"fame": 1}}, "objective weighs some of"),
        ({"objective": {"score": "much"}}, "weights of the objective are numbers"),
        ({"quotas": {"popular": -1}}, "quotas are whole numbers"),
        ({"without": "popular"}, "without lists names of channels"),
        ({"without": [3]}, "without lists names of channels"),
        ({"ad_slots": [0]}, "ad_slots lists places from 1 on"),
        ({"ad_slots": 3}, "ad_slots lists places from 1 on"),
        ({"rules": {"mmr": 3}}, "Surface basket, rule mmr: it is a mapping"),
        ({"contexts": {"usual": {"when": {"is_new": True}}}}, "a plain word, but not 'usual'"),
        ({"contexts": {"a": {"length": 3}}}, "context a: say when it holds"),
        ({"contexts": {"a": {"when": {"gender": "f"}}}}, "context a, when: there is no column 'gender'"),
        ({"contexts": {"a": {"when": {"home_cell": 3}}}}, "there is no column 'home_cell'"),
        ({"contexts": {"a": {"when": {"is_new": 1}}}}, "1 is no value of a boolean"),
        ({"contexts": {"a": {"when": {"region": {"min": 1}}}}}, "only a number lies in a range"),
        ({"contexts": {"a": {"when": {"weekday": {"least": 1}}}}}, "a range has min, max or both"),
        ({"contexts": {"a": {"when": {"weekday": 1}, "length": -1}}}, "context a: length is a whole number"),
        ({"contexts": {"a": {"when": {"weekday": 1}, "candidates": 9}}}, "description and candidates stay"),
    ],
)
def test_what_does_not_fit_is_named_with_its_place(options, said):
    with pytest.raises(SettingsError, match=said):
        surfaces(market(basket=options))


def test_no_condition_may_name_what_is_sensitive_or_where_a_person_is():
    tables = [node.contract for node in discover().nodes.values()]
    hidden = {c.name for t in tables for c in getattr(t, "columns", ()) if c.sensitive}
    assert not hidden & set(SIGNALS) and not [name for name in SIGNALS if "cell" in name or name == "user_id"]


# -- who is in which context ---------------------------------------------------------------------


OPTIONS = {
    "gone": {"when": {"days_since_active": {"min": 14}}},
    "fast": {"when": {"requests_7d": {"min": 2}, "fast_share": {"min": 0.5}}},
    "sale": {"when": {"campaigns": {"min": 1}, "region": ["north", "south"]}},
    "weekend": {"when": {"is_weekend": True}},
    "rich": {"when": {"spending_rank": {"min": 1}}},
}


def contexts_of(tables, ds: str, campaigns=()) -> dict:
    people = [{"user_id": u, "days_since_active": 20 if u == 1 else 0, "amount_minor_28d": 10 * u} for u in range(1, 6)]
    requests = [
        {"request_id": f"{u}-{n}", "user_id": u, "is_fast_swiping": u == 2 and n > 0, "is_commute": False}
        for u, count in ((1, 3), (2, 3), (3, 1))
        for n in range(count)
    ]
    made = build(
        tables("features.user_activity", people, ds),
        tables("features.user_profile", [{"user_id": 4, "region": "north"}, {"user_id": 5, "region": "west"}], ds),
        tables("features.user_context", [], ds),
        tables("features.request_context", requests, ds),
        tables("silver.campaigns", list(campaigns), ds),
        days=DayRange.day(ds),
        params=NoParams(),
        market=market(feed=None, basket={"contexts": OPTIONS}),
    )
    return {r["user_id"]: r for r in conform(CONTRACT, made).collect()}


def ms(day: str, hour: int) -> int:
    return int(dt.datetime.fromisoformat(f"{day}T{hour:02}:00+00:00").timestamp() * 1000)


def test_the_first_context_that_holds_on_the_served_day_decides(tables):
    sale = {"campaign_id": "a", "starts_at_ms": ms(SATURDAY, 23), "ends_at_ms": ms("2024-03-12", 0)}
    found = contexts_of(tables, FRIDAY, [sale])
    # Friday's lists are shown on Saturday; 1 swiped too, but slowly
    assert {u: r["context"] for u, r in found.items()} == {1: "gone", 2: "fast", 3: "weekend", 4: "sale", 5: "weekend"}
    assert (found[2]["requests_7d"], found[2]["fast_share"], found[4]["campaigns"]) == (3, 0.6667, 1)
    assert found[3]["fast_share"] == 0 and found[4]["requests_7d"] == 0 and found[4]["fast_share"] is None


def test_a_campaign_of_a_segment_or_another_day_is_none(tables):
    others = [
        {"campaign_id": "a", "starts_at_ms": ms(FRIDAY, 0), "ends_at_ms": ms(FRIDAY, 23)},
        {"campaign_id": "b", "starts_at_ms": ms(FRIDAY, 0), "ends_at_ms": ms("2024-03-12", 0), "segment": "vip"},
    ]
    found = contexts_of(tables, FRIDAY, others)
    assert found[4]["context"] == "weekend" and found[4]["campaigns"] == 0


def test_who_is_in_none_is_in_the_usual_one(tables):
    found = contexts_of(tables, "2024-03-11")
    assert found[3]["context"] == USUAL and found[5]["context"] == "rich"
    assert not found[3]["is_weekend"] and found[3]["weekday"] == 1
