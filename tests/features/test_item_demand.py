from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from features.item_demand import CONTRACT, Params, build, expected_share
from jobs.contract import DayRange
from jobs.runner import conform

DAILY = "ds date, user_id bigint, item_id bigint, targets int"
ITEMS = "ds date, item_id bigint, category string"
DS = "2024-12-31"
PLAIN = Params(prior=1.0, doubt=1.0)


def demand(frame, daily, items, params=PLAIN, days=None):
    made = build(frame(DAILY, daily), frame(ITEMS, items), days=days or DayRange.day(DS), params=params)
    return {(str(r["ds"]), r["item_id"]): r for r in conform(CONTRACT, made).collect()}


def test_share_and_shape_by_hand(frame):
    # user 1 took item 10 four times (on two days); user 2 took 10, 11 and 11; what is older than a year is not there
    daily = [
        ("2024-06-01", 1, 10, 3),
        (DS, 1, 10, 1),
        (DS, 2, 10, 1),
        ("2024-03-03", 2, 11, 2),
        ("2024-01-01", 2, 12, 50),
        (DS, 2, 13, 0),
    ]
    found = demand(frame, daily, [(DS, 10, "a"), (DS, 11, "b")])
    assert set(found) == {(DS, 10), (DS, 11)}
    ten, eleven = found[DS, 10], found[DS, 11]
    assert (ten["takers"], ten["takings"], eleven["takers"], eleven["takings"]) == (2, 5, 1, 2)
    # 5 and 2 of 7 takings
    assert (ten["share"], eleven["share"]) == (round(5 / 7, 9), round(2 / 7, 9))
    # repeats: 4 * 3 of item 10, 2 * 1 of item 11. By chance share^2 * (4 * 3 + 3 * 2): 450/49 and 72/49
    again, chance = {10: 12, 11: 2}, {10: 450 / 49, 11: 72 / 49}
    market = 14 / sum(chance.values())
    for item in (10, 11):
        # each is alone in its category: drawn to the market by one repeat, then to the category by one
        category = (again[item] + 1) / (chance[item] + 1 / market)
        excess = (again[item] + 1) / (chance[item] + 1 / category)
        assert found[DS, item]["shape"] == pytest.approx(1 / (excess - 1), abs=1e-6)


def test_the_planted_shape_is_found(frame):
    rng = np.random.default_rng(5)
    users, shares, shapes = 1500, {10: 0.2, 11: 0.2, 12: 0.6}, {10: 0.5, 11: 5.0}
    # two items whose rates differ between people, and one that all take the rest of the time
    rows = []
    for user in range(users):
        rates = {item: rng.gamma(shape, shares[item] / shape) for item, shape in shapes.items()}
        taken = {item: rng.poisson(20 * rate) for item, rate in rates.items()} | {12: rng.poisson(12)}
        rows += [(DS, user, item, int(n)) for item, n in taken.items() if n]
    found = demand(frame, rows, [(DS, i, str(i)) for i in shares])
    # users' totals differ too, by their rates: the estimate by moments is near, not exact
    assert 0.35 < found[DS, 10]["shape"] < 1.0
    assert found[DS, 11]["shape"] > 3.0


def test_an_item_seldom_taken_is_what_its_category_is(frame):
    # in "habit" whoever takes an item takes it again, in "novelty" nobody does
    daily = [(DS, u, 10 + u % 5, 6) for u in range(50)] + [(DS, u, 100 + u, 1) for u in range(50)]
    daily += [(DS, 99, 20, 1), (DS, 99, 30, 1)]
    items = [(DS, 10 + n, "habit") for n in range(5)] + [(DS, 100 + n, "novelty") for n in range(50)]
    found = demand(frame, daily, [*items, (DS, 20, "habit"), (DS, 30, "novelty")])
    assert found[DS, 20]["share"] == found[DS, 30]["share"]
    assert found[DS, 20]["shape"] < found[DS, 30]["shape"]


def test_a_range_equals_its_days(frame):
    daily = [("2024-12-30", 1, 10, 2), ("2024-12-30", 2, 10, 1), (DS, 1, 11, 1), ("2024-01-01", 1, 12, 1)]
    items = [(ds, i, "a") for ds in ("2024-12-30", DS) for i in (10, 11, 12)]
    whole = demand(frame, daily, items, days=DayRange(dt.date(2024, 12, 30), dt.date(2024, 12, 31)))
    single = {}
    for day in ("2024-12-30", DS):
        single |= demand(frame, daily, items, days=DayRange.day(day))
    assert whole == single


def test_what_is_expected_moves_from_everyone_s_share_to_the_user_s_own(frame):
    rows = [(0.1, 2.0, 0, 0), (0.1, 2.0, 0, 20), (0.1, 2.0, 20, 20), (0.1, 2.0, 2000, 2000), (0.0, 2.0, 0, 20)]
    given = frame("share double, shape double, mine int, whole int", rows)
    names = ("share", "shape", "mine", "whole")
    found = [r[0] for r in given.select(expected_share(*(given[n] for n in names))).collect()]
    # a stranger: the share. 20 takings, none of it: 0.1 * 2 / (2 + 2). All of them: 0.1 * 22 / 4. What nobody takes: 0
    assert found == pytest.approx([0.1, 0.05, 0.55, 0.1 * 2002 / 202, 0.0])
