"""Metrics and intervals: against scikit-learn under matching flags, against hand arithmetic, by properties."""

from __future__ import annotations

import datetime as dt
import doctest
import importlib
import math
import pkgutil

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import pdist
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    average_precision_score,
    label_ranking_average_precision_score,
    ndcg_score,
    precision_score,
    recall_score,
    roc_auc_score,
    top_k_accuracy_score,
)

from jobs.contract import DayRange
from jobs.errors import ContractError
from quality import category_trend, intervals, metrics
from quality.metrics import parse, per_user
from quality.metrics.auc import auc
from quality.metrics.calibration import ece, ratio
from quality.metrics.coverage import coverage
from quality.metrics.gauc import gauc
from quality.metrics.gini import gini
from quality.metrics.intra_list_diversity import intra_list_diversity
from quality.metrics.long_tail_share import long_tail_share
from quality.metrics.novelty import novelty
from quality.metrics.psi import psi
from quality.metrics.serendipity import serendipity

LIST_METRICS = ("ndcg", "recall", "precision", "hit_rate", "map", "mrr")


@st.composite
def judged_lists(draw):
    """Hits of some users over a ranking of all items, so that every relevant item has a position."""
    users, items = draw(st.integers(1, 6)), draw(st.integers(2, 25))
    hits = draw(hnp.arrays(bool, (users, items)))
    return hits, hits.sum(axis=1)


@pytest.mark.parametrize(
    "name",
    [
        "quality.intervals",
        "quality.category_trend",
        "quality.metrics",
        *(f"quality.metrics.{info.name}" for info in pkgutil.iter_modules(metrics.__path__)),
    ],
)
def test_the_examples_of_the_docstrings_hold(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted and not found.failed


# -- against scikit-learn ------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 5, 10, 40])
def test_ndcg_is_scikit_learns_without_ties(k):
    rng = np.random.default_rng(3)
    hits = rng.random((50, 40)) < 0.15
    hits[hits.sum(axis=1) == 0, 0] = True
    scores = np.tile(np.arange(40, 0, -1.0), (50, 1))
    ours = per_user("ndcg")(hits, hits.sum(axis=1), k)
    assert ours.mean() == pytest.approx(ndcg_score(hits, scores, k=k, ignore_ties=True))


def test_map_over_the_whole_ranking_is_scikit_learns_average_precision():
    rng = np.random.default_rng(4)
    hits = rng.random((30, 20)) < 0.3
    hits[:, 0] |= hits.sum(axis=1) == 0
    expected = [average_precision_score(row, np.arange(20, 0, -1)) for row in hits]
    assert per_user("map")(hits, hits.sum(axis=1), 20) == pytest.approx(expected)


@pytest.mark.parametrize("k", [1, 5, 20])
def test_precision_and_recall_are_scikit_learns_on_the_first_k(k):
    rng = np.random.default_rng(8)
    hits = rng.random((30, 20)) < 0.25
    hits[:, 3] |= hits.sum(axis=1) == 0
    shown = np.tile(np.arange(20) < k, (30, 1))
    relevant = hits.sum(axis=1)
    precision = precision_score(hits, shown, average="samples")
    recall = recall_score(hits, shown, average="samples")
    assert per_user("precision")(hits, relevant, k).mean() == pytest.approx(precision)
    assert per_user("recall")(hits, relevant, k).mean() == pytest.approx(recall)


@pytest.mark.parametrize("k", [1, 4, 11])
def test_with_one_relevant_item_hit_rate_is_top_k_accuracy_and_mrr_ranking_precision(k):
    rng = np.random.default_rng(9)
    scores, relevant = rng.random((60, 12)), rng.integers(0, 12, 60)
    order = np.argsort(-scores, axis=1)
    hits, one = order == relevant[:, None], np.ones(60, dtype=int)
    expected = top_k_accuracy_score(relevant, scores, k=k, labels=np.arange(12))
    assert per_user("hit_rate")(hits, one, k).mean() == pytest.approx(expected)
    # the precision at the only relevant item is one over its rank
    precision = label_ranking_average_precision_score(np.eye(12)[relevant], scores)
    assert per_user("mrr")(hits, one, 12).mean() == pytest.approx(precision)


def test_calibration_error_is_that_of_scikit_learns_quantile_bins():
    rng = np.random.default_rng(10)
    predictions = rng.random(1000)
    labels = rng.random(1000) < predictions**2
    observed, promised = calibration_curve(labels, predictions, n_bins=10, strategy="quantile")
    # no ties, so every bin has a tenth of the rows
    assert ece(labels, predictions, bins=10) == pytest.approx(np.abs(observed - promised).mean())


def test_intra_list_diversity_is_scipys_mean_cosine_distance():
    vectors = np.random.default_rng(11).normal(size=(8, 6, 16))
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    expected = [pdist(each, "cosine").mean() for each in vectors]
    assert intra_list_diversity(vectors) == pytest.approx(expected)
    short = vectors.copy()
    short[:, 4:] = np.nan
    assert intra_list_diversity(short) == pytest.approx([pdist(each[:4], "cosine").mean() for each in vectors])


def test_gini_is_half_the_relative_mean_difference_of_all_pairs():
    exposure = np.random.default_rng(12).poisson(2.0, 200)
    expected = np.abs(exposure[:, None] - exposure).mean() / (2 * exposure.mean())
    assert gini(exposure) == pytest.approx(expected)


def test_auc_is_scikit_learns_with_ties():
    rng = np.random.default_rng(5)
    labels, scores = rng.random(500) < 0.2, rng.integers(0, 12, 500)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))


def test_gauc_is_the_impression_weighted_mean_of_scikit_learns_auc():
    rng = np.random.default_rng(6)
    users, labels, scores = rng.integers(0, 20, 400), rng.random(400) < 0.3, rng.integers(0, 9, 400) / 8
    each, weights = [], []
    for user in range(20):
        mine = users == user
        if 0 < labels[mine].sum() < mine.sum():
            each.append(roc_auc_score(labels[mine], scores[mine]))
            weights.append(mine.sum())
    assert gauc(users, labels, scores) == pytest.approx(np.average(each, weights=weights))


# -- by hand -------------------------------------------------------------------------------------


def test_ndcg_of_a_list_by_hand():
    # hits at 1 and 4, three relevant, k = 5:
    # DCG = 1/log2(2) + 1/log2(5) = 1 + 0.43068 = 1.43068
    # ideal = 1 + 1/log2(3) + 1/log2(4) = 1 + 0.63093 + 0.5 = 2.13093
    # 1.43068 / 2.13093 = 0.67139
    hits = np.array([[True, False, False, True, False]])
    assert per_user("ndcg")(hits, np.array([3]), 5)[0] == pytest.approx(0.67139, abs=1e-5)


def test_the_ideal_is_cut_at_k():
    # two positions, both hit, five relevant: nothing better fits in two positions
    assert per_user("ndcg")(np.array([[True, True]]), np.array([5]), 2)[0] == pytest.approx(1.0)


def test_average_precision_by_hand():
    # Manning et al., section 8.4: hits at 1, 3, 5 -> (1/1 + 2/3 + 3/5) / 3 = 0.75556
    hits = np.array([[True, False, True, False, True]])
    assert per_user("map")(hits, np.array([3]), 5)[0] == pytest.approx(0.755556, abs=1e-6)
    # seven relevant but five places: the divisor is 5 -> 2.26667 / 5
    assert per_user("map")(hits, np.array([7]), 5)[0] == pytest.approx(0.453333, abs=1e-6)


def test_mean_reciprocal_rank_as_published():
    # the example of the Wikipedia article: answers at 3, 2 and 1 -> (1/3 + 1/2 + 1) / 3 = 11/18
    hits = np.array([[False, False, True], [False, True, False], [True, False, False]])
    assert per_user("mrr")(hits, np.ones(3, dtype=int), 3).mean() == pytest.approx(11 / 18)


def test_serendipity_by_hand():
    # three hits in five places; the popular list has the first of them: 2 / 5
    hits = np.array([[True, True, False, True, False]])
    popular = np.array([[True, False, True, False, False]])
    assert serendipity(hits, popular, 5)[0] == pytest.approx(0.4)
    assert serendipity(hits, popular, 1)[0] == 0
    assert serendipity(hits, ~popular & False, 5)[0] == per_user("precision")(hits, np.array([3]), 5)[0]


def test_a_list_of_one_item_has_no_diversity_to_speak_of():
    one = np.array([[[1.0, 0.0], [np.nan, np.nan]]])
    assert math.isnan(intra_list_diversity(one)[0])


def test_psi_by_hand():
    # shares 0.5, 0.3, 0.2 against 0.4, 0.3, 0.3: -0.1 ln 0.8 + 0 + 0.1 ln 1.5 = 0.022314 + 0.040547
    assert psi(np.array([50, 30, 20]), np.array([40, 30, 30])) == pytest.approx(0.062861, abs=1e-6)


def test_the_others_by_hand():
    hits, relevant = np.array([[False, False, True, True]]), np.array([5])
    assert per_user("recall")(hits, relevant, 4)[0] == 2 / 5
    assert per_user("precision")(hits, relevant, 4)[0] == 2 / 4
    assert per_user("mrr")(hits, relevant, 4)[0] == pytest.approx(1 / 3)
    assert per_user("mrr")(hits, relevant, 2)[0] == 0
    assert per_user("hit_rate")(hits, relevant, 3)[0] == 1


def test_a_short_list_is_a_list_of_misses():
    assert per_user("precision")(np.array([[True]]), np.array([1]), 10)[0] == 0.1


def test_exposure_by_hand():
    # sorted 1, 2, 3, 4, weights -3, -1, 1, 3: (-3 - 2 + 3 + 12) / (4 * 10) = 0.25
    assert gini(np.array([4, 2, 1, 3])) == pytest.approx(0.25)
    # one item of five has everything: 1 - 1/5
    assert gini(np.array([0, 0, 7, 0, 0])) == pytest.approx(0.8)
    # the unshown item counts: 0, 1, 1 -> (-2*0 + 0*1 + 2*1) / (3 * 2)
    assert gini(np.array([1, 1, 0])) == pytest.approx(1 / 3)
    assert gini(np.array([1, 1])) == 0
    assert coverage(np.array([0, 3, 1])) == pytest.approx(2 / 3)
    assert long_tail_share(np.array([3, 1]), np.array([False, True])) == 0.25
    # (3 * 1 bit + 1 * 2 bits) / 4
    assert novelty(np.array([3, 1]), np.array([0.5, 0.25])) == pytest.approx(1.25)


def test_calibration_by_hand():
    labels, predictions = np.array([1, 0, 0, 0, 1, 1]), np.array([0.2, 0.2, 0.2, 0.6, 0.6, 0.6])
    # bins by value: |1/3 - 0.2| * 3/6 + |2/3 - 0.6| * 3/6 = 0.066667 + 0.033333
    assert ece(labels, predictions, bins=2) == pytest.approx(0.1)
    assert ratio(labels, predictions) == pytest.approx(2.4 / 3)


def test_a_figure_without_data_cannot_be_said():
    none = np.array([])
    for value in (
        auc(np.array([1, 1]), np.array([1, 2])),
        gauc(none, none, none),
        gini(np.zeros(3)),
        coverage(none),
        ece(none, none),
        ratio(np.zeros(2), np.ones(2)),
        novelty(np.zeros(1), np.ones(1)),
    ):
        assert math.isnan(value)


def test_an_unknown_metric_is_named():
    with pytest.raises(ContractError, match="'nonsense'"):
        per_user("nonsense")
    with pytest.raises(ContractError, match="not one of ranked lists"):
        per_user("gini")
    with pytest.raises(ContractError, match="cut-off"):
        parse("ndcg")


def test_a_category_that_shrinks_week_by_week_has_a_trend_below_0():
    # large holds half; of the rest middle falls from 40 to 30 of 100 showings, small rises from 10 to 20
    rows = [
        {"day": dt.date(2024, 3, 14) - dt.timedelta(days=age), "shown_category": name, "showings": n}
        for age in range(14)
        for name, n in zip(("large", "middle", "small"), (50, 30, 20) if age < 7 else (50, 40, 10))
    ]
    found = category_trend.figures(pa.Table.from_pylist(rows), DayRange.day("2024-03-14"))
    values = {metric: value for metric, (value, _, _), _ in found}
    assert values["middle_category_trend"] == pytest.approx(-0.1)
    assert values["small_category_share"] == pytest.approx(0.2)
    assert values["small_category_trend"] == pytest.approx(0.1)


# -- properties ----------------------------------------------------------------------------------


@given(judged_lists(), st.integers(1, 30), st.sampled_from(LIST_METRICS))
def test_list_metrics_lie_in_0_to_1_and_do_not_depend_on_the_order_of_users(lists, k, name):
    hits, relevant = lists
    values = per_user(name)(hits, relevant, k)
    assert ((values >= 0) & (values <= 1 + 1e-12)).all()
    assert per_user(name)(hits[::-1], relevant[::-1], k) == pytest.approx(values[::-1])


@given(judged_lists(), st.integers(1, 30), st.sampled_from(("ndcg", "map", "mrr", "hit_rate")))
def test_a_perfect_list_has_1_and_moving_a_hit_up_never_harms(lists, k, name):
    hits, relevant = lists
    best = -np.sort(-hits.astype(int), axis=1) > 0
    values, ideal = per_user(name)(hits, relevant, k), per_user(name)(best, relevant, k)
    assert (ideal >= values - 1e-12).all()
    assert ideal[relevant > 0] == pytest.approx(1.0)


@given(hnp.arrays(np.int64, st.integers(1, 30), elements=st.integers(0, 50)), st.randoms())
def test_gini_is_bounded_and_blind_to_order_and_scale(exposure, random):
    value = gini(exposure)
    if exposure.sum() == 0:
        assert math.isnan(value)
        return
    shuffled = exposure.copy()
    random.shuffle(shuffled)
    assert -1e-12 <= value <= 1 - 1 / exposure.size + 1e-12
    assert gini(shuffled) == pytest.approx(value)
    assert gini(exposure * 3) == pytest.approx(value)
    assert gini(np.append(exposure, 0)) >= value - 1e-12


@given(hnp.arrays(bool, st.integers(2, 40)), st.data())
def test_auc_turns_round_with_the_labels(labels, data):
    scores = data.draw(hnp.arrays(np.int64, labels.size, elements=st.integers(0, 5)))
    if 0 < labels.sum() < labels.size:
        assert auc(labels, scores) + auc(~labels, scores) == pytest.approx(1.0)
        assert gauc(np.zeros(labels.size), labels, scores) == pytest.approx(auc(labels, scores))


# -- intervals -----------------------------------------------------------------------------------


def test_wilson_is_as_published():
    # Newcombe (1998), table I, method 3: 81/263, 15/148, 0/20, 1/29
    published = {
        (81, 263): (0.2553, 0.3662),
        (15, 148): (0.0624, 0.1605),
        (0, 20): (0.0, 0.1611),
        (1, 29): (0.0061, 0.1718),
    }
    for (successes, n), expected in published.items():
        assert intervals.wilson(successes, n) == pytest.approx(expected, abs=5e-5)


def test_difference_of_shares_is_newcombes_as_published():
    # Newcombe (1998), paper on differences, table II, method 10, case (a): 56/70 - 48/80
    one, other = (0.8, *intervals.wilson(56, 70)), (0.6, *intervals.wilson(48, 80))
    assert intervals.difference(one, other) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_bootstrap_agrees_with_the_normal_interval_of_many_users():
    values = np.random.default_rng(1).random(5000)
    low, high = intervals.bootstrap(values, samples=4000)
    half = 1.96 * values.std() / math.sqrt(values.size)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=half / 15)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=30), st.randoms())
@settings(max_examples=30)
def test_bootstrap_repeats_whatever_the_order_and_however_users_are_folded(values, random):
    expected = intervals.bootstrap(np.array(values))
    distinct, counts = np.unique(values, return_counts=True)
    assert intervals.bootstrap(distinct, counts) == expected
    random.shuffle(values)
    assert intervals.bootstrap(np.array(values)) == expected
    assert min(values) - 1e-12 <= expected[0] <= expected[1] <= max(values) + 1e-12


def test_jackknife_of_a_mean_covers_it():
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(400):
        values = rng.exponential(size=(10, 30))
        without = np.array([np.delete(values, g, axis=0).mean() for g in range(10)])
        low, high = intervals.jackknife(values.mean(), without)
        covered += low <= 1 <= high
    # 95 % of 400, give or take four standard errors of 1.1 %
    assert 0.90 <= covered / 400 <= 0.99


def test_quotient_lies_around_the_ratio_and_says_when_it_cannot():
    value, low, high = intervals.quotient((0.4, 0.35, 0.45), (0.5, 0.45, 0.55))
    assert low < value < high and value == pytest.approx(0.8)
    assert all(math.isnan(x) for x in intervals.quotient((0.1, 0, 0.2), (0.0, 0.0, 0.1)))
    assert intervals.quotient((0.1, 0.05, 0.2), (0.1, 0.0, 0.2))[2] == math.inf


def test_intervals_of_nobody():
    none, one = np.array([]), np.array([1.0])
    for low, high in (intervals.wilson(0, 0), intervals.bootstrap(none), intervals.jackknife(1.0, one)):
        assert math.isnan(low) and math.isnan(high)
