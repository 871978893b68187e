from __future__ import annotations

from jobs.contract import DayRange
from jobs.runner import conform
from jobs.tables.sessions import CONTRACT, Params, build

EVENTS = "ds date, user_id bigint, at_ms bigint, terminal string, action string, dwell_ms bigint"
SHOWN = "ds date, user_id bigint, at_ms bigint, terminal string, position int, swipe_speed double"
DS, MINUTE = "2024-03-10", 60_000


def acted(user, minute, action="click", terminal="app", ds=DS, dwell=None):
    return (ds, user, int(minute * MINUTE), terminal, action, dwell)


def shown(user, minute, position=1, ds=DS, terminal="app", speed=None):
    return (ds, user, int(minute * MINUTE), terminal, position, speed)


def test_half_an_hour_without_anything_ends_a_session(frame):
    made = build(
        frame(
            EVENTS,
            [
                acted(1, 0),
                acted(1, 29.99),
                acted(1, 59.99),  # a gap of 29.99 minutes and one of 30
                acted(2, 0, "login", "h5"),
                acted(2, 50),  # a showing at 25 and at 40 minutes bridges the gap
                acted(3, 5),
                acted(3, 5, "like"),  # two actions in one moment
                acted(4, 1439),
                acted(4, 1441, ds="2024-03-11"),  # midnight in between
            ],
        ),
        frame(SHOWN, [shown(2, 25, 3), shown(2, 40, 7), shown(5, 1)]),
        days=DayRange.day(DS),
        params=Params(),
    )
    rows = conform(CONTRACT, made).collect()
    found = sorted(
        (
            r["user_id"],
            r["started_ms"] / MINUTE,
            r["ended_ms"] / MINUTE,
            r["actions"],
            r["clicks"],
            r["impressions"],
            r["depth"],
            r["terminal"],
        )
        for r in rows
    )
    assert found == [
        (1, 0, 29.99, 2, 2, 0, 0, "app"),
        (1, 59.99, 59.99, 1, 1, 0, 0, "app"),
        (2, 0, 50, 2, 1, 2, 7, "app"),
        (3, 5, 5, 2, 1, 0, 0, "app"),
        (4, 1439, 1439, 1, 1, 0, 0, "app"),
        (4, 1441, 1441, 1, 1, 0, 0, "app"),
        (5, 1, 1, 0, 0, 1, 1, "app"),
    ]
    assert {(r["user_id"], str(r["ds"])) for r in rows if r["user_id"] == 4} == {(4, DS), (4, "2024-03-11")}


def test_the_gap_is_an_option(frame):
    made = build(
        frame(EVENTS, [acted(1, 0), acted(1, 6)]), frame(SHOWN, []), days=DayRange.day(DS), params=Params(gap_minutes=5)
    )
    assert made.count() == 2


def only(frame, events, impressions):
    made = build(frame(EVENTS, events), frame(SHOWN, impressions), days=DayRange.day(DS), params=Params())
    return {r["user_id"]: r for r in conform(CONTRACT, made).collect()}


def test_dwell_adds_up_and_swipes_are_averaged_where_known(frame):
    found = only(
        frame,
        [acted(1, 0, dwell=700), acted(1, 1, dwell=300), acted(1, 2), acted(2, 0)],
        [shown(1, 0, speed=1.0), shown(1, 1, speed=2.0), shown(1, 2)],
    )
    # (1 + 2) / 2: the showing without a speed says nothing
    assert (found[1]["dwell_ms"], found[1]["swipe_speed"]) == (1000, 1.5)
    assert (found[2]["dwell_ms"], found[2]["swipe_speed"]) == (0, None)


def test_the_terminal_of_a_session_is_the_one_used_most(frame):
    found = only(
        frame,
        [
            acted(1, 0, terminal="app"),
            acted(2, 0, terminal="mini_program"),
            acted(2, 1, terminal="h5"),
            acted(3, 0, terminal=None),
        ],
        [shown(1, 1, terminal="h5"), shown(1, 2, terminal="h5")],
    )
    assert (found[1]["terminal"], found[1]["terminals"]) == ("h5", 2)
    assert (found[2]["terminal"], found[2]["terminals"]) == ("mini_program", 2)  # a tie: the last by name
    assert (found[3]["terminal"], found[3]["terminals"]) == (None, 0)


def test_a_day_without_anything_has_no_session(frame):
    assert only(frame, [], []) == {}
