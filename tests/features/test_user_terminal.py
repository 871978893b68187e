from __future__ import annotations

from features.user_terminal import CONTRACT, build
from jobs.contract import DayRange
from jobs.runner import conform

DAILY = (
    "ds date, user_id bigint, terminal string, actions int, impressions int, clicks int, logins int, dwell_ms bigint"
)
DS = "2024-03-28"


def terminals(frame, *rows):
    made = build(frame(DAILY, list(rows)), days=DayRange.day(DS), params=None)
    return {(r["user_id"], r["terminal"]): r for r in conform(CONTRACT, made).collect()}


def test_counts_by_window_share_and_main_terminal(frame):
    found = terminals(
        frame,
        (DS, 1, "app", 1, 10, 1, 0, 100),
        ("2024-03-22", 1, "app", 2, 20, 1, 1, 200),  # 6 days ago
        ("2024-03-01", 1, "h5", 9, 5, 4, 0, 50),  # 27 days ago
        ("2024-02-29", 1, "mini_program", 99, 99, 99, 99, 99),  # 28 days ago
    )
    assert set(found) == {(1, "app"), (1, "h5")}
    app, h5 = found[1, "app"], found[1, "h5"]
    assert [app[f"actions_{n}d"] for n in (1, 7, 28)] == [1, 3, 3]
    assert [app[f"impressions_{n}d"] for n in (1, 7, 28)] == [10, 30, 30]
    assert [h5[f"clicks_{n}d"] for n in (1, 7, 28)] == [0, 0, 4]
    assert (app["logins_7d"], app["dwell_ms_28d"]) == (1, 300)
    # 3 and 9 of 12 actions
    assert (app["share_28d"], h5["share_28d"]) == (0.25, 0.75)
    assert (app["is_main"], h5["is_main"]) == (False, True)
    assert (app["terminals_28d"], app["is_cross_terminal"]) == (2, True)


def test_ties_go_by_showings_and_then_by_name(frame):
    found = terminals(
        frame,
        (DS, 1, "app", 2, 1, 0, 0, 0),
        (DS, 1, "h5", 2, 5, 0, 0, 0),
        (DS, 2, "mini_program", 2, 1, 0, 0, 0),
        (DS, 2, "h5", 2, 1, 0, 0, 0),
    )
    assert {key for key, row in found.items() if row["is_main"]} == {(1, "h5"), (2, "h5")}


def test_one_terminal_is_not_across_and_no_action_has_no_share(frame):
    found = terminals(frame, (DS, 1, "app", 0, 7, 0, 0, 0))[1, "app"]
    assert (found["share_28d"], found["is_main"], found["terminals_28d"]) == (None, True, 1)
    assert found["is_cross_terminal"] is False
    assert terminals(frame) == {}
