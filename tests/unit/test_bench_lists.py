"""The baselines that lists of real data are held against, on a past small enough to order by hand."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from bench.lists import BASELINES, Evening, by_item_cf, by_own_history, by_popularity, figures, first_ten

DS = dt.date(2024, 3, 10)
USERS, ITEMS = np.array([7, 8, 9]), np.arange(100, 112)


@pytest.fixture
def at() -> Evening:
    # user, item (places), age in days, times: all three took item 0 long ago, user 0 took item 5 twice and item 6 once
    rows = [(0, 0, 60, 1), (1, 0, 60, 1), (2, 0, 60, 1), (0, 5, 40, 2), (0, 6, 0, 1), (1, 3, 2, 1), (2, 3, 20, 1)]
    user, item, age, times = (np.array(each) for each in zip(*rows, strict=True))
    relevant = np.zeros((2, len(ITEMS)), bool)
    relevant[0, [5, 9]] = relevant[1, 3] = True
    return Evening(
        DS, USERS, ITEMS, (user, item, age, times.astype(float)), np.array([0, 1]), relevant, np.array([3, 1])
    )


def test_popularity_counts_users_of_the_last_days_then_of_all(at):
    # in 7 days: 3 and 6 by one each; of these 3 has two users ever. Then item 0, with three
    assert first_ten(by_popularity(7)(at))[0, :4].tolist() == [3, 6, 0, 5]
    assert first_ten(by_popularity(28)(at))[0, :2].tolist() == [3, 6]


def test_own_history_goes_by_count_and_then_by_popularity(at):
    lists = first_ten(by_own_history(None, None)(at))
    # user 0 took 5 twice, 0 and 6 once: 6 is popular in 28 days, 0 is not; then what else is popular
    assert lists[0, :4].tolist() == [5, 6, 0, 3]
    assert lists[1, :2].tolist() == [3, 0]
    # after a half-life of 20 days two takings of 40 days ago count as a half
    assert first_ten(by_own_history(90, 20.0)(at))[0, :2].tolist() == [6, 5]


def test_item_cf_counts_an_item_as_its_own_neighbour(at):
    scores = by_item_cf("ItemItemRecommender", 5)(at)
    # user 0: item 5 from itself 2 * (2 * 2), from 0 and 6 1 * (1 * 2) each
    assert scores[0, 5] == 12
    # user 1, who took 0 and 3: item 5 from item 0, which user 0 took with it twice
    assert scores[1, 5] == 2


def test_every_baseline_orders_all_items_of_every_judged_user(at):
    for name, scores in BASELINES.items():
        if name != "ALS":
            assert scores(at).shape == (2, len(ITEMS)), name


def test_figures_by_hand(at):
    lists = np.full((2, 10), -1)
    lists[0, :2], lists[1, :2] = [1, 5], [3, 1]
    found = figures(at, lists)
    # user 0 took three: hit in the second place of an ideal of three. User 1: the only one, first
    ideal = 1 + 1 / np.log2(3) + 1 / 2
    assert found["ndcg"] == pytest.approx((1 / np.log2(3) / ideal + 1) / 2)
    # items 1, 3 and 5 of twelve are shown: twice, once and once
    assert found["coverage"] == 3 / 12
    # in ascending order nine times 0, then 1, 1, 2: sum of (2i - 13) e is 7 + 9 + 22, by 12 * 4
    assert found["gini"] == pytest.approx(38 / 48)
