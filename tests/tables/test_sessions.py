from __future__ import annotations

from jobs.contract import DayRange
from jobs.runner import conform
from jobs.tables.sessions import CONTRACT, Params, build

EVENTS = "ds date, user_id bigint, at_ms bigint, terminal string, action string"
SHOWN = "ds date, user_id bigint, at_ms bigint, terminal string, position int"
DS, MINUTE = "2024-03-10", 60_000


def acted(user, minute, action="click", terminal="app", ds=DS):
    return (ds, user, int(minute * MINUTE), terminal, action)


def shown(user, minute, position=1, ds=DS):
    return (ds, user, int(minute * MINUTE), "app", position)


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
