"""Fits of item2vec, LightGCN, topics and the crowd, on two planted tastes and against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from models import crowd, item2vec, lightgcn, topics
from models.channels import sequences
from models.channels.sequences import Found, Users, best, led_to, new_to_them, top, top_of_product
from models.preferences import Preferences

ITEMS = 24


def two_tastes() -> Preferences:
    """Even users take ten of the items 0 to 11 in some order, odd ones of 12 to 23."""
    rng = np.random.default_rng(4)
    taken = [rng.permutation(12)[:10] + 12 * (u % 2) for u in range(40)]
    pairs = sorted((u, int(i), n) for u, of in enumerate(taken) for n, i in enumerate(of))
    user, item, at = np.array(pairs).T
    return Preferences(np.arange(40), np.arange(100, 100 + ITEMS), user, item, np.ones(len(user)), at)


def within_and_across(likeness: np.ndarray) -> tuple[float, float]:
    """Least likeness within a taste, greatest across."""
    same = np.equal.outer(np.arange(ITEMS) < 12, np.arange(ITEMS) < 12)
    return likeness[same].min(), likeness[~same].max()


def test_item2vec_puts_together_what_is_taken_together():
    params = item2vec.Params(dimensions=8, epochs=30)
    vectors = item2vec.normalised(item2vec.fit(two_tastes(), params))
    within, across = within_and_across(vectors @ vectors.T)
    assert within > across + 0.5
    assert item2vec.fit(two_tastes(), params).tobytes() == item2vec.fit(two_tastes(), params).tobytes()


def test_clusters_are_the_tastes():
    vectors = item2vec.normalised(item2vec.fit(two_tastes(), item2vec.Params(dimensions=8, epochs=30)))
    found = item2vec.cluster(vectors, item2vec.Params(clusters=2))
    assert len(set(found[:12])) == len(set(found[12:])) == 1 and found[0] != found[12]


def test_pairs_are_within_the_window_of_one_user():
    # user 0 takes items 2, 0, 1 in this order, user 1 takes 2
    taken = Preferences(
        np.arange(2), np.arange(3), np.array([0, 0, 0, 1]), np.array([0, 1, 2, 2]), np.ones(4), np.array([5, 7, 3, 1])
    )
    assert sorted(map(tuple, item2vec.pairs_of(taken, 1).tolist())) == [(0, 1), (0, 2), (1, 0), (2, 0)]
    assert len(item2vec.pairs_of(taken, 2)) == 6


def test_lightgcn_puts_a_user_next_to_the_own_taste():
    taken = two_tastes()
    vectors = lightgcn.fit(taken, lightgcn.Params(dimensions=8, steps=100))
    degree = np.bincount(taken.item_at)
    space = lightgcn.GraphSpace(taken.items, vectors / np.sqrt(degree)[:, None], None)
    scores = space.fold_in(taken.matrix(np.ones(len(taken)))[:2]) @ vectors.T
    assert scores[0, :12].min() > scores[0, 12:].max()
    assert scores[1, 12:].min() > scores[1, :12].max()


def test_the_gradient_of_lightgcn_is_that_of_its_loss():
    taken, params = two_tastes(), lightgcn.Params(dimensions=2, regularization=0.0)
    edges, rng = lightgcn.graph(taken).astype(np.float64), np.random.default_rng(0)
    base = rng.normal(0, 0.5, (40 + ITEMS, 2))
    drawn = np.array([0, 1, 5]), 40 + np.array([3, 15, 20]), 40 + np.array([17, 2, 4])

    def loss(at: np.ndarray) -> float:
        made = lightgcn.spread_over(edges, at, params.layers)
        u, i, j = (made[each] for each in drawn)
        return float(np.log1p(np.exp(-(u * (i - j)).sum(axis=1))).mean())

    found = lightgcn._gradient(base, edges, drawn, params)
    for row, column in [(0, 0), (43, 1), (57, 0), (20, 1)]:
        step = np.zeros_like(base)
        step[row, column] = 1e-5
        assert found[row, column] == pytest.approx((loss(base + step) - loss(base - step)) / 2e-5, abs=1e-6)


def test_edges_are_weighted_by_the_degrees_of_both_ends():
    taken = Preferences(
        np.arange(2), np.arange(2), np.array([0, 0, 1]), np.array([0, 1, 1]), np.ones(3), np.zeros(3, np.int64)
    )
    made = lightgcn.graph(taken).toarray()
    # user 0 has 2 items, user 1 has 1; item 0 has 1 user, item 1 has 2
    assert made[0, 2] == pytest.approx(1 / np.sqrt(2)) and made[0, 3] == pytest.approx(1 / 2)
    assert made[1, 3] == pytest.approx(1 / np.sqrt(2)) and made[1, 2] == 0
    assert np.array_equal(made, made.T)


def test_topics_are_the_tastes():
    share = topics.fit(two_tastes(), topics.Params(topics=2))
    assert share.sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
    of_first = share[:, :12].sum(axis=1)
    assert of_first.max() > 0.9 and of_first.min() < 0.1
    known = topics.Topics(two_tastes().items, share)
    mixed = known.mixture(two_tastes().matrix(np.ones(400))[:1])[0]
    assert mixed[of_first.argmax()] > 0.9


def test_likeness_is_the_cosine_with_rare_items_counting_more():
    taken = two_tastes().matrix(np.ones(400))[:, :3]
    rarity = np.array([1.0, 2.0, 3.0], np.float32)
    weighted = taken.toarray()[:4] * rarity
    length = np.linalg.norm(weighted, axis=1)
    wanted = weighted @ weighted.T / np.maximum(np.outer(length, length), 1e-9)
    directions = crowd.directions_of(taken[:4], rarity)
    assert (directions @ directions.T).toarray() == pytest.approx(wanted, abs=1e-6)


def test_the_latest_items_of_a_heavy_user_count():
    taken = two_tastes().latest(3)
    assert np.bincount(taken.user_at).tolist() == [3] * 40
    assert taken.last_ms.min() == 7


# -- what searches share -------------------------------------------------------------------------


def users(*items: list[int]) -> Users:
    flat = np.array([i for of in items for i in of], np.int64)
    starts = np.r_[0, np.cumsum([len(of) for of in items])]
    return Users(starts, flat, np.ones(len(flat)), np.zeros(len(flat), np.int64))


def test_items_lead_to_others_by_the_sum_of_their_parts():
    import scipy.sparse as sp

    ids = np.array([10, 11, 12])
    # 10 leads to 11 (0.5) and 12 (0.2), 11 to 12 (0.6)
    graph = sp.csr_array(np.array([[0, 0.5, 0.2], [0, 0, 0.6], [0, 0, 0]]))
    found = led_to(users([10, 11], [], [99, 11]), np.array([1.0, 0.5, 1.0, 1.0]), ids, graph)
    rows = list(zip(found.user_at.tolist(), found.items.tolist(), found.scores.round(6).tolist(), found.seeds.tolist()))
    # user 0: 11 by 10; 12 by 10 (0.2) and by 11 (0.3). User 2: 99 is unknown, 12 by 11
    assert rows == [(0, 11, 0.5, 10), (0, 12, 0.5, 11), (2, 12, 0.6, 11)]


def test_nothing_leads_nowhere():
    import scipy.sparse as sp

    assert len(led_to(users([5], []), np.ones(1), np.array([1]), sp.csr_array((1, 1))).items) == 0


def test_own_items_are_no_candidates_of_their_user_alone():
    found = Found(np.array([0, 0, 1]), np.array([7, 8, 7]), np.ones(3))
    left = new_to_them(found, users([7], [9]))
    assert list(zip(left.user_at.tolist(), left.items.tolist())) == [(0, 8), (1, 7)]


def test_the_best_are_kept_by_score_then_item():
    found = Found(np.array([1, 0, 0, 0]), np.array([5, 9, 8, 7]), np.array([1.0, 2.0, 2.0, 3.0]))
    assert best(found, np.array([2, 1])).items.tolist() == [7, 8, 5]


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_array])
def test_the_best_of_a_product_are_those_of_the_whole_whatever_is_made_at_once(kind, monkeypatch):
    rng = np.random.default_rng(5)
    left, right = rng.integers(0, 3, (11, 4)).astype(float), rng.integers(0, 3, (4, 9)).astype(float)
    row, column = top(left @ right, 3)
    for made_at_once in (1, 8 * 9 * 4, 1 << 20):  # a row, four rows, and all
        monkeypatch.setattr(sequences, "DENSE_BYTES", made_at_once)
        found = top_of_product(kind(left), kind(right), 3)
        assert [part.tolist() for part in found] == [
            row.tolist(),
            column.tolist(),
            (left @ right)[row, column].tolist(),
        ]
    assert [len(part) for part in top_of_product(kind(left[:0]), kind(right), 3)] == [0, 0, 0]
    assert [len(part) for part in top_of_product(kind(left), kind(right[:, :0]), 3)] == [0, 0, 0]


def test_top_leaves_out_what_is_not_positive_and_breaks_ties_by_place():
    row, column = top(np.array([[0.0, 2.0, 1.0, 1.0], [0.0, 0.0, 0.0, 3.0]]), 2)
    assert list(zip(row.tolist(), column.tolist())) == [(0, 1), (0, 2), (1, 3)]
