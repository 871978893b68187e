"""Reconciliations across tables as the contracts declare them: whole days pass, a planted break in each is found."""

from __future__ import annotations

import datetime as dt

import pytest

from jobs.contract import DayRange
from jobs.errors import CheckFailed
from jobs.runner import conform
from jobs.settings import Market, Settings
from jobs.tables import sessions, user_daily
from models import recommendations
from tests.engine.test_gate import Stage

D2, MINUTE = dt.date(2024, 3, 2), 60_000
EVENTS = (
    "ds date, user_id bigint, item_id bigint, at_ms bigint, action string, dwell_ms bigint, play_ratio double, "
    "terminal string"
)
ORDERS = "ds date, user_id bigint, item_id bigint, at_ms bigint, kind string, amount_minor bigint, source_system string"
SHOWN = "ds date, user_id bigint, item_id bigint, at_ms bigint, terminal string, position int, swipe_speed double"
USERS, ITEMS = "ds date, user_id bigint", "ds date, item_id bigint"
DECIDED = "ds date, user_id bigint, placed array<bigint>"
MARKET = Market("test", target=("click",))


@pytest.fixture(scope="module")
def facts(spark):
    """A day of two people: 4 events, 3 showings, and 300 + 200 + 50 paid, of which the order system booked 200."""
    events = [
        (D2, 1, 10, 1 * MINUTE, "click", 100, None, "app"),
        (D2, 1, 11, 2 * MINUTE, "like", 100, None, "app"),
        (D2, 1, 10, 90 * MINUTE, "click", 100, None, "app"),
        (D2, 2, None, 5 * MINUTE, "login", None, None, "h5"),
    ]
    orders = [
        (D2, 1, 10, 3 * MINUTE, "sale", 300, "payment"),
        (D2, 1, 11, 3 * MINUTE, "sale", 200, "order"),
        (D2, 1, 11, 9 * MINUTE, "refund", 200, "order"),
        (D2, 2, 10, 6 * MINUTE, "sale", 50, "payment"),
    ]
    shown = [(D2, 1, 10, 1 * MINUTE, "app", 1, None), (D2, 1, 11, 1 * MINUTE, "app", 2, None)]
    shown.append((D2, 2, 10, 5 * MINUTE, "h5", 1, None))
    return {
        "silver.events": spark.createDataFrame(events, EVENTS),
        "silver.orders": spark.createDataFrame(orders, ORDERS),
        "silver.impressions": spark.createDataFrame(shown, SHOWN),
        "silver.users": spark.createDataFrame([(D2, 1), (D2, 2)], USERS),
        "silver.items": spark.createDataFrame([(D2, 10), (D2, 11)], ITEMS),
        # a list of each person, with a place
        "serving.decision_log": spark.createDataFrame([(D2, 1, [10]), (D2, 2, [11])], DECIDED),
    }


@pytest.fixture(scope="module")
def built(spark, facts):
    """The tables that are held against them, made by their own builds; of lists, a row for each person."""
    events, orders, shown = (facts[f"silver.{name}"] for name in ("events", "orders", "impressions"))
    of_days = {"days": DayRange.day(D2)}
    listed = {
        "ds": D2,
        "release_id": "r",
        "surface": "feed",
        "rank": 1,
        "slot_type": "organic",
        "model_version": "1",
    }
    reason = ("basic", "popular", "Liked by 2 people this week", "{}")
    lists = [
        listed | {"user_id": user, "item_id": item, "reasons": [reason], "violations": []}
        for user, item in ((1, 10), (2, 11))
    ]
    of_sessions = sessions.build(events, shown, **of_days, params=sessions.Params())
    nobody = spark.createDataFrame([], "ds date, user_id bigint")
    of_users = user_daily.build(events, orders, shown, nobody, **of_days, params=None, market=MARKET)
    return {
        sessions: [row.asDict() for row in conform(sessions.CONTRACT, of_sessions).collect()],
        user_daily: [row.asDict() for row in conform(user_daily.CONTRACT, of_users).collect()],
        recommendations: lists,
    }


@pytest.fixture
def gate(spark, tmp_path, facts, built):
    """Judges one table, as its build made it or as ``change`` leaves it."""

    def judge(module, change=lambda rows: rows):
        contract = module.CONTRACT
        schema = ", ".join(f"`{c.name}` {c.type}" for c in contract.schema)
        rows = [tuple(row.get(c.name) for c in contract.schema) for row in change(built[module])]
        staged = spark.createDataFrame(rows, schema)
        settings = Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", MARKET)
        return Stage(settings, {**facts, contract.name: staged}, {contract.name: contract}).gate()

    return judge


@pytest.mark.parametrize("module", [sessions, user_daily, recommendations])
def test_whole_days_pass(gate, module):
    rows = gate(module)
    assert [r["check"] for r in rows if r["check"].startswith(("adds_up", "known_in"))]
    assert all(r["success"] for r in rows)


def without_last(rows):
    """The day's last session, or the last person, is lost."""
    return sorted(rows, key=lambda row: row["user_id"])[:-1]


def add(column, n):
    return lambda rows: [rows[0] | {column: rows[0][column] + n}, *rows[1:]]


def put(column, value):
    return lambda rows: [rows[0] | {column: value}, *rows[1:]]


@pytest.mark.parametrize(
    ("module", "change", "said"),
    [
        # events and sessions: 4 events; one is counted twice, and a session is lost
        (sessions, add("actions", 1), r"adds_up.*silver\.events.*5 here, 4 there"),
        (sessions, add("impressions", -1), r"adds_up.*silver\.impressions.*2 here, 3 there"),
        (sessions, without_last, r"adds_up.*silver\.events.*3 here, 4 there"),
        # sales of both systems: 550 paid, refunds apart; what one system booked is left out, then one person's
        (user_daily, add("amount_minor", -200), r"adds_up.*silver\.orders.*350 here, 550 there"),
        (user_daily, without_last, r"adds_up.*silver\.orders.*500 here, 550 there"),
        (user_daily, add("impressions", 1), r"adds_up.*silver\.impressions.*4 here, 3 there"),
        # lists and users: a list for nobody, and an item that is not there
        (recommendations, put("user_id", 9), r"known_in.*silver\.users.*1 of 2 rows breaking it, as 9"),
        (recommendations, put("item_id", 99), r"known_in.*silver\.items.*1 of 2 rows breaking it, as 99"),
        # of a list a place is lost; and somebody has candidates and no list
        (recommendations, without_last, r"adds_up.*serving\.decision_log.*1 here, 2 there"),
        (recommendations, put("violations", ["the user has candidates and no list"]), "a list breaks a rule"),
    ],
)
def test_a_break_is_found_and_stops_the_publish(gate, module, change, said):
    with pytest.raises(CheckFailed, match=said):
        gate(module, change)
