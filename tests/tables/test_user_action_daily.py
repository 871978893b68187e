from __future__ import annotations

from jobs.contract import DayRange
from jobs.runner import conform
from jobs.tables.user_action_daily import CONTRACT, build

EVENTS = "ds date, user_id bigint, item_id bigint, at_ms bigint, action string, terminal string"
ORDERS = "ds date, user_id bigint, item_id bigint, at_ms bigint, kind string"
DS = "2024-03-10"


def actions(frame, events, orders=()):
    made = build(frame(EVENTS, events), frame(ORDERS, list(orders)), days=DayRange.day(DS), params=None)
    return {(str(r["ds"]), r["user_id"], r["action"]): r for r in conform(CONTRACT, made).collect()}


def test_actions_are_in_order_by_kind_with_time_and_terminal(frame):
    found = actions(
        frame,
        [
            (DS, 1, 10, 100, "click", "app"),
            (DS, 1, 11, 300, "click", None),
            (DS, 1, 10, 200, "click", "h5"),
            (DS, 1, 10, 250, "like", "app"),
            (DS, 1, None, 50, "login", "app"),
            ("2024-03-11", 1, 10, 400, "click", "app"),
        ],
    )
    assert set(found) == {(DS, 1, "click"), (DS, 1, "like"), ("2024-03-11", 1, "click")}
    clicks = found[DS, 1, "click"]
    assert (clicks["items"], clicks["at_ms"], clicks["terminals"]) == (
        [11, 10, 10],
        [300, 200, 100],
        [None, "h5", "app"],
    )
    assert clicks["actions"] == 3


def test_a_purchase_is_a_sale_line(frame):
    found = actions(
        frame, [(DS, 1, 10, 100, "purchase", "app")], [(DS, 1, 12, 100, "sale"), (DS, 1, 12, 200, "refund")]
    )
    assert set(found) == {(DS, 1, "purchase")}
    row = found[DS, 1, "purchase"]
    assert (row["items"], row["at_ms"], row["terminals"]) == ([12], [100], [None])


def test_the_newest_fifty_are_kept_and_all_are_counted(frame):
    found = actions(frame, [(DS, 1, i, i, "click", "app") for i in range(1, 61)])[DS, 1, "click"]
    assert (found["items"], found["actions"]) == (list(range(60, 10, -1)), 60)


def test_a_moment_with_several_has_a_total_order(frame):
    found = actions(frame, [(DS, 1, i, 5, "click", None) for i in (11, 13, 12)])[DS, 1, "click"]
    assert found["items"] == [13, 12, 11]


def test_a_day_without_actions_has_no_row(frame):
    assert actions(frame, []) == {}
