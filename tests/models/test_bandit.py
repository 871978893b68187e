"""Policies of exploration: probabilities that are those of their definition, and evidence weighted by propensity."""

from __future__ import annotations

import numpy as np
import pytest

from models.bandit import Evidence, floored, greedy, linucb, thompson

PRIOR = (1.0, 19.0)


def row(arm: str, n=0.0, weights=0.0, squares=0.0, rewards=0.0, gram=(0.0,), moments=(0.0,)) -> dict:
    return {
        "arm": arm,
        "n": n,
        "weights": weights,
        "squares": squares,
        "rewards": rewards,
        "gram": list(gram),
        "moments": list(moments),
    }


def test_rows_of_an_arm_add_up_and_unknown_arms_are_left_out():
    rows = [row("a", 2, 4, 8, 2), row("a", 1, 10, 100, 0), row("gone", 9, 9, 9, 9), row("b", moments=(0.0, 0.0))]
    made = Evidence.of(rows, ("a", "b"), 1)
    assert made.n.tolist() == [3, 0] and made.weights.tolist() == [14, 0]
    # 14² / 108 showings of equal weight; 2 of 14 weighted ones were rewarded
    assert made.effective == pytest.approx([196 / 108, 0]) and made.rate == pytest.approx([1 / 7, 0])


def test_weighting_by_propensity_undoes_what_a_policy_preferred():
    """A policy that shows an arm mostly to those who like it does not make the arm look better."""
    rng = np.random.default_rng(1)
    likes = rng.random(40_000) < 0.5
    propensity = np.where(likes, 0.8, 0.1)
    shown = rng.random(40_000) < propensity
    hit = rng.random(40_000) < np.where(likes, 0.3, 0.1)
    w = 1 / propensity[shown]
    made = Evidence.of([row("a", shown.sum(), w.sum(), (w**2).sum(), (w * hit[shown]).sum())], ("a",), 1)
    assert made.rate[0] == pytest.approx(0.2, abs=0.015)
    assert abs(hit[shown].mean() - 0.2) > 0.05
    assert made.effective[0] < shown.sum()


def test_thompson_s_probabilities_are_those_of_sampling():
    rows = [row("a", 50, 50, 50, 5), row("b", 200, 200, 200, 12), row("c")]
    made = Evidence.of(rows, ("a", "b", "c"), 1)
    rng = np.random.default_rng(2)
    wins, n = np.array([5, 12, 0]), np.array([50, 200, 0])
    drawn = rng.beta(PRIOR[0] + wins, PRIOR[1] + n - wins, size=(200_000, 3)).argmax(axis=1)
    assert thompson(made, PRIOR) == pytest.approx(np.bincount(drawn, minlength=3) / 200_000, abs=0.005)


def test_thompson_without_evidence_is_even_and_with_much_it_is_sure():
    assert thompson(Evidence.of([], ("a", "b", "c"), 1), PRIOR) == pytest.approx([1 / 3] * 3)
    rows = [row("a", 9e4, 9e4, 9e4, 9e3), row("b", 9e4, 9e4, 9e4, 4.5e3)]
    assert thompson(Evidence.of(rows, ("a", "b"), 1), PRIOR) == pytest.approx([1, 0], abs=1e-6)


def test_linucb_is_the_ridge_estimate_and_its_bound():
    rng = np.random.default_rng(3)
    x, r = rng.normal(size=(80, 2)), rng.random(80)
    gram, moments = x.T @ x, x.T @ r
    made = Evidence.of([row("a", 80, 80, 80, r.sum(), gram.ravel(), moments)], ("a", "b"), 2)
    users = rng.normal(size=(5, 2))
    theta = np.linalg.solve(np.eye(2) + gram, moments)
    inverse = np.linalg.inv(np.eye(2) + gram)
    by_hand = [u @ theta + 0.7 * np.sqrt(u @ inverse @ u) for u in users]
    bounds = linucb(made, users, 0.7)
    assert bounds[:, 0] == pytest.approx(by_hand)
    # nothing is known of b: its bound is its width alone
    assert bounds[:, 1] == pytest.approx(0.7 * np.linalg.norm(users, axis=1))


def test_linucb_is_no_surer_of_what_it_rarely_showed():
    x = np.ones((1, 1))
    # 30 showings without a reward: A = 1 + 30 = 31 whatever their propensity, so 0.5 / sqrt(31)
    rows = [row("often", 30, 30, 30, gram=(30,)), row("rarely", 30, 3000, 300_000, gram=(3000,))]
    bounds = linucb(Evidence.of(rows, ("often", "rarely"), 1), x, 0.5)
    assert bounds[0] == pytest.approx([0.5 / 31**0.5] * 2)
    # p = 0.5, 0.1 and a reward on the second: 1/p = 2, 10; worth 12² / 104 showings, of which 10 / 12 rewarded
    mixed = Evidence.of([row("a", 2, 12, 104, 10, gram=(12,), moments=(10,))], ("a",), 1)
    effective = 144 / 104
    by_hand = effective * 10 / 12 / (1 + effective) + 0.5 / (1 + effective) ** 0.5
    assert linucb(mixed, x, 0.5)[0] == pytest.approx([by_hand])


def test_linucb_tells_users_apart():
    known = {"gram": (500, 0, 0, 500), "weights": 1000, "squares": 1000, "n": 1000}
    rows = [row("a", moments=(400, 0), **known), row("b", moments=(0, 400), **known)]
    chances = greedy(linucb(Evidence.of(rows, ("a", "b"), 2), np.array([[1.0, 0.0], [0.0, 1.0]]), 0.1))
    assert chances.tolist() == [[1, 0], [0, 1]]


def test_the_floor_is_kept_and_equal_bounds_share():
    assert floored(np.array([[1.0, 0.0, 0.0]]), 0.1) == pytest.approx(np.array([[0.8, 0.1, 0.1]]))
    assert greedy(np.array([[0.3, 0.3, 0.1]])).tolist() == [[0.5, 0.5, 0.0]]
