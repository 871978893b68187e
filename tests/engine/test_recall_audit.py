"""Recall of channels and of the fused list, with the arithmetic by hand."""

from __future__ import annotations

import pytest

from jobs.contract import DayRange
from jobs.runner import conform
from quality.recall_audit import CONTRACT, Params, build

RECALL = "ds date, channel string, user_id bigint, item_id bigint, rank int, audited boolean"
FUSED = "ds date, user_id bigint, item_id bigint, rank int"
TAKEN = "ds date, user_id bigint, item_id bigint, targets int"
D1, D2, D3 = "2024-03-10", "2024-03-11", "2024-03-12"


def audited(frame, recall, fused, taken, ds=D2, **params):
    made = build(
        frame(RECALL, recall),
        frame(FUSED, fused),
        frame(TAKEN, taken),
        days=DayRange.day(ds),
        params=Params(**{"horizons": (1,), "budget": 3, **params}),
    )
    return {(r["horizon_days"], r["subject"]): r for r in conform(CONTRACT, made).collect()}


RECALLED = [
    (D1, "a", 1, 10, 1, True),
    (D1, "a", 1, 11, 2, True),
    (D1, "a", 1, 12, 4, True),  # beyond the budget of 3
    (D1, "b", 1, 11, 1, True),
    (D1, "b", 2, 20, 1, True),
    (D1, "b", 3, 30, 1, True),  # takes nothing
    (D1, "a", 4, 40, 1, False),  # not audited
]
FUSED_ROWS = [(D1, 1, 10, 1), (D1, 1, 11, 2), (D1, 2, 20, 1), (D1, 3, 30, 1), (D1, 4, 40, 1)]
TAKEN_ROWS = [
    (D2, 1, 10, 1),
    (D2, 1, 11, 2),
    (D2, 1, 12, 1),
    (D2, 1, 13, 0),  # only seen
    (D2, 2, 20, 1),
    (D2, 4, 40, 1),
    (D1, 2, 21, 1),  # on the day of the lists, not after it
]


def test_recall_is_the_mean_over_users_at_the_budget(frame):
    found = audited(frame, RECALLED, FUSED_ROWS, TAKEN_ROWS)
    # user 1 took 10, 11, 12 and user 2 took 20: a has 2 of 3 and 0 of 1, b 1 of 3 and 1 of 1
    assert found[1, "a"]["recall"] == pytest.approx((2 / 3 + 0) / 2, abs=1e-6)
    assert found[1, "b"]["recall"] == pytest.approx((1 / 3 + 1) / 2, abs=1e-6)
    assert found[1, "fused"]["recall"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-6)
    assert {r["n"] for r in found.values()} == {2}
    assert all(r["lo"] <= r["recall"] <= r["hi"] for r in found.values())


def test_unique_hits_are_those_of_one_channel_alone(frame):
    found = audited(frame, RECALLED, FUSED_ROWS, TAKEN_ROWS)
    counts = {subject: (r["hits"], r["unique_hits"], r["candidates"]) for (_, subject), r in found.items()}
    # 10 is found by a alone, 20 by b alone, 11 by both
    assert counts == {"a": (2, 1, 1.0), "b": (2, 1, 1.0), "fused": (3, 0, 1.5)}


def test_a_longer_horizon_counts_later_days_of_older_lists(frame):
    later = [*TAKEN_ROWS, (D3, 2, 22, 1)]
    found = audited(frame, RECALLED, FUSED_ROWS, later, ds=D3, horizons=(1, 2))
    # lists of the 11th are not there; those of the 10th are judged by the 11th and 12th: user 2 took 20 and 22
    assert set(found) == {(2, "a"), (2, "b"), (2, "fused")}
    assert found[2, "b"]["recall"] == pytest.approx((1 / 3 + 1 / 2) / 2, abs=1e-6)


@pytest.mark.parametrize("part", range(3))
def test_without_lists_or_actions_there_is_nothing_to_say(frame, part):
    given = [RECALLED, FUSED_ROWS, TAKEN_ROWS]
    given[part] = []
    assert audited(frame, *given) == {}
