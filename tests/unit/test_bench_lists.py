"""The baselines that lists of real data are held against, on a past small enough to order by hand."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pytest

from bench.lists import (
    BASELINES,
    Evening,
    by_item_cf,
    by_own_history,
    by_own_history_alone,
    by_popularity,
    candidates,
    figures,
    first_ten,
)
from bench.meter import Meter
from jobs.lake import Lake
from jobs.settings import Market, Settings
from quality import recall_audit

DS = dt.date(2024, 3, 10)
USERS, ITEMS = np.array([7, 8, 9]), np.arange(100, 112)


@pytest.fixture
def at() -> Evening:
    # user, item (places), age in days, times: all three took item 0 long ago, user 0 took item 5 twice and item 6 once
    rows = [(0, 0, 60, 1), (1, 0, 60, 1), (2, 0, 60, 1), (0, 5, 40, 2), (0, 6, 0, 1), (1, 3, 2, 1), (2, 3, 20, 1)]
    user, item, age, times = (np.array(each) for each in zip(*rows, strict=True))
    relevant = np.zeros((2, len(ITEMS)), bool)
    relevant[0, [5, 9]] = relevant[1, 3] = True
    taken, barred = (user, item, age, times.astype(float)), np.zeros((2, len(ITEMS)), bool)
    return Evening(DS, USERS, ITEMS, taken, np.array([0, 1]), relevant, np.array([3, 1]), barred)


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


def test_own_history_alone_ends_where_it_ends(at):
    lists = first_ten(by_own_history_alone(at))
    # user 0 took 5 twice, 6 today and 0 long ago; user 1 took 3 two days ago and 0 long ago
    assert lists[0].tolist() == [5, 6, 0, *[-1] * 7]
    assert lists[1].tolist() == [3, 0, *[-1] * 8]


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


def test_the_fused_list_is_held_against_the_best_channel_of_each_night_and_of_all(tmp_path, capsys):
    nights = [DS, DS + dt.timedelta(days=7)]
    lake = Lake(Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("shop")))
    key = {"horizon_days": 1, "k": 200, "candidates": 9.0, "hits": 1, "unique_hits": 0, "n": 40}
    recalls = [
        {"fused": 0.6, "creator": 0.5, "topics": 0.3},
        {"fused": 0.8, "topics": 0.4},  # creator found nothing that night
    ]
    lake.append(
        recall_audit.CONTRACT,
        [
            {**key, "ds": night + dt.timedelta(days=1), "list_ds": night, "subject": subject, "recall": recall}
            for night, of in zip(nights, recalls, strict=True)
            for subject, recall in of.items()
        ],
    )
    candidates(lake, nights, Meter("shop"))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # 0.6 / 0.5; 0.8 / 0.4; together 0.7 / 0.35 of topics, before creator's (0.5 + 0) / 2. Of 7 days nothing is known
    assert [(line["name"].split(".")[0], line["value"]) for line in lines] == [
        ("2024-03-10", 1.2),
        ("2024-03-17", 2.0),
        ("mean", 2.0),
    ]
    assert lines[0]["compared_with"] == "0.600 / 0.500 of creator, 40 people; aim: 1.3 at least"
    assert lines[2]["compared_with"].startswith("0.700 / 0.350 of topics, 2 nights")
