from __future__ import annotations

from jobs.contract import DayRange
from jobs.runner import conform
from jobs.tables.user_terminal_daily import CONTRACT, build

EVENTS = "ds date, user_id bigint, terminal string, action string, dwell_ms bigint"
SHOWN = "ds date, user_id bigint, terminal string"
DS = "2024-03-10"


def test_counts_by_terminal(frame):
    events = [
        (DS, 1, "app", "login", None),
        (DS, 1, "app", "click", 500),
        (DS, 1, "app", "like", 100),
        (DS, 1, "h5", "click", None),
        (DS, 1, None, "click", 999),
        ("2024-03-11", 1, "app", "click", 1),
    ]
    shown = [(DS, 1, "app"), (DS, 1, "app"), (DS, 2, "mini_program"), (DS, 2, None)]
    made = build(frame(EVENTS, events), frame(SHOWN, shown), days=DayRange.day(DS), params=None)
    found = {tuple(r)[1:3]: tuple(r)[3:] for r in conform(CONTRACT, made).collect() if str(r["ds"]) == DS}
    # actions, impressions, clicks, logins, dwell
    assert found == {
        (1, "app"): (3, 2, 1, 1, 600),
        (1, "h5"): (1, 0, 1, 0, 0),
        (2, "mini_program"): (0, 1, 0, 0, 0),
    }


def test_a_day_without_anything_has_no_row(frame):
    assert build(frame(EVENTS, []), frame(SHOWN, []), days=DayRange.day(DS), params=None).collect() == []
