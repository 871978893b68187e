from __future__ import annotations

import datetime as dt

import pytest

from features.creator_stats import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.runner import conform

CREATORS = "ds date, creator_id bigint, stage string, followers bigint"
ITEMS = "ds date, item_id bigint, creator_id bigint, status string, stock int"
DAILY = (
    "ds date, item_id bigint, impressions int, clicks int, targets int, negatives int, engagements int, "
    "play_sum double, plays int"
)
PAIRS = "ds date, user_id bigint, item_id bigint, clicks int, targets int"
DS = dt.date(2024, 3, 28)
TODAY = DayRange.day(DS)


def day(age: int) -> str:
    return str(DS - dt.timedelta(days=age))


def daily(item, age=0, shown=0, clicks=0, targets=0, negatives=0, engaged=0, play=(0.0, 0)):
    return (day(age), item, shown, clicks, targets, negatives, engaged, *play)


def offer(item, creator, status="active", stock=None, age=0):
    return (day(age), item, creator, status, stock)


@pytest.fixture
def stats(frame):
    def make(creators=(), items=(), of_items=(), pairs=(), days=TODAY, **params) -> dict:
        made = build(
            frame(CREATORS, list(creators)),
            frame(ITEMS, list(items)),
            frame(DAILY, list(of_items)),
            frame(PAIRS, list(pairs)),
            days=days,
            params=Params(**params),
        )
        rows = conform(CONTRACT, made).collect()
        return {(r["ds"], r["creator_id"]) if len(days) > 1 else r["creator_id"]: r.asDict() for r in rows}

    return make


def test_windows_are_sums_over_the_creator_s_items(stats):
    found = stats(
        [(day(0), 1, "head", 500), (day(0), 3, None, None)],
        [offer(10, 1), offer(11, 1, stock=0), offer(12, 1, "delisted"), offer(20, 2), offer(30, None)],
        [
            daily(10, 0, shown=5, clicks=2, targets=1),
            daily(11, 7, shown=5, clicks=1),
            daily(12, 28, shown=99),  # age 28: outside
            daily(30, 0, shown=9),  # of no creator
            daily(98, 0, shown=9),  # no longer known
        ],
    )
    assert set(found) == {1, 2, 3}
    assert [found[1][f"{n}_{w}d"] for n in ("impressions", "clicks", "targets") for w in (7, 28)] == [5, 10, 2, 3, 1, 1]
    assert {c: (r["items"], r["followers"], r["impressions_28d"]) for c, r in found.items()} == {
        1: (1, 500, 10),
        2: (1, None, 0),
        3: (0, None, 0),
    }


def test_a_stage_is_the_source_s_else_by_exposure(stats):
    items = [offer(n, n) for n in range(1, 12)]
    shown = [daily(n, shown=10 * n) for n in range(1, 11)]  # creator 11 was never shown
    found = stats([(day(0), 10, "novice", None)], items, shown)
    # places by exposure: 10 is 0.0, 9 is 0.1, 8 0.2, 7 0.3, 6 0.4; head is below 0.1, waist below 0.4
    assert {c: r["stage"] for c, r in found.items()} == {10: "novice", 9: "waist", 8: "waist", 7: "waist"} | {
        n: "novice" for n in (1, 2, 3, 4, 5, 6, 11)
    }
    assert (found[10]["stage_given"], found[9]["stage_given"]) == (True, False)
    assert stats((), items, shown)[10]["stage"] == "head"
    assert {r["stage"]: r["stage_level"] for r in stats((), items, shown).values()} == {
        "novice": 0,
        "waist": 1,
        "head": 2,
    }


def test_where_nobody_was_seen_all_are_novices(stats):
    found = stats([(day(0), 1, None, 5), (day(0), 2, None, 5)])
    assert {r["stage"] for r in found.values()} == {"novice"}
    assert (found[1]["quality"], found[1]["growth_7d"], found[1]["retention"]) == (None, 0.0, None)


def test_quality_by_hand(stats):
    found = stats(
        (),
        [offer(10, 1), offer(20, 2), offer(30, 3)],
        [
            daily(10, shown=100, clicks=20, engaged=12, negatives=0, play=(16.0, 20)),
            daily(20, shown=100, clicks=20, engaged=0, negatives=2, play=(4.0, 20)),
        ],
        prior_engagements=10.0,
        prior_plays=20.0,
        prior_negatives=5.0,
    )
    good, bad, unseen = found[1], found[2], found[3]
    # market: 12 engagements of 40 clicks, so 6 of 20 are to be expected: (12 + 10) / (12 + 6 + 20)
    assert (good["quality_depth"], unseen["quality_depth"]) == (round(22 / 38, 6), 0.5)
    # market: 20 of 40 plays = 0.5; (16 + 10) / 40 and (4 + 10) / 40
    assert (good["quality_completion"], bad["quality_completion"], unseen["quality_completion"]) == (0.65, 0.35, 0.5)
    # market: 2 of 200, so one of 100 is to be expected: (0 + 5) / (0 + 1 + 10) and (2 + 5) / (2 + 1 + 10)
    assert (good["quality_negative"], bad["quality_negative"]) == (round(5 / 11, 6), round(7 / 13, 6))
    # 0.4 * 22/38 + 0.4 * 0.65 + 0.2 * 6/11; of the average 0.4 * 0.5 + 0.4 * 0.5 + 0.2 * 0.5
    assert good["quality"] == pytest.approx(0.4 * 22 / 38 + 0.26 + 1.2 / 11, abs=1e-6)
    assert unseen["quality"] == 0.5 > bad["quality"]


def test_a_part_without_data_in_the_market_does_not_count(stats):
    found = stats((), [offer(10, 1), offer(20, 2)], [daily(10, shown=10, clicks=10, engaged=5), daily(20, clicks=10)])
    assert (found[1]["quality_completion"], found[1]["quality_negative"]) == (None, None)
    assert found[1]["quality"] == found[1]["quality_depth"] > 0.5 > found[2]["quality"]


def test_growth_is_a_week_by_the_week_before_smoothed(stats):
    found = stats(
        (),
        [offer(10, 1), offer(20, 2)],
        [daily(10, 6, targets=20), daily(10, 7, targets=5), daily(10, 13, targets=5), daily(10, 14, targets=99)],
    )
    # (20 + 10) / (10 + 10) - 1
    assert (found[1]["growth_7d"], found[2]["growth_7d"]) == (0.5, 0.0)


def test_retention_is_of_those_who_acted_before_the_last_week(stats):
    found = stats(
        (),
        [offer(10, 1), offer(11, 1), offer(20, 2)],
        (),
        [
            (day(7), 1, 10, 1, 0),  # before
            (day(6), 1, 11, 0, 1),  # and again, on another item
            (day(27), 2, 10, 0, 1),  # before only
            (day(8), 3, 10, 1, 0),
            (day(0), 3, 20, 1, 0),  # came to another creator
            (day(0), 4, 10, 1, 1),  # new
            (day(9), 5, 10, 0, 0),  # only saw it
            (day(28), 6, 10, 1, 1),  # outside
        ],
    )
    assert (found[1]["fans_before"], found[1]["fans_returned"], found[1]["retention"]) == (3, 1, round(1 / 3, 6))
    assert (found[2]["fans_before"], found[2]["retention"]) == (0, None)


def test_a_range_is_its_days_one_by_one(stats):
    creators = [(day(a), 1, None, 10 + a) for a in range(3)]
    items = [offer(i, 1 + i % 2, age=a) for a in range(3) for i in (10, 11)]
    of_items = [daily(i, a, i, a, a, a % 2, 1, (0.5, 1)) for a in range(30) for i in (10, 11)]
    pairs = [(day(a), u, 10 + u % 2, 1, 1) for a in range(30) for u in range(1, 6) if a % u == 0]
    days = DayRange(DS - dt.timedelta(days=2), DS)
    parts = {}
    for each in days:
        own = [[r for r in rows if r[0] == str(each)] for rows in (creators, items)]
        found = stats(*own, of_items, pairs, days=DayRange.day(each))
        parts |= {(each, c): r for c, r in found.items()}
    assert stats(creators, items, of_items, pairs, days=days) == parts
    assert len(parts) == 6
