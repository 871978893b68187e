from __future__ import annotations

import numpy as np
import pytest

from jobs.contract import DayRange
from jobs.errors import ContractError
from models import als
from models.als import Params

PARAMS = Params(factors=4, iterations=12)


def blocks() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """30 users: the even ones take most of items 0 to 11, the odd ones most of 12 to 23."""
    rng = np.random.default_rng(3)
    pairs = [(u, i) for u in range(30) for i in range(12 * (u % 2), 12 * (u % 2) + 12) if rng.random() < 0.7]
    users, items = np.array(pairs).T
    return users, items, rng.choice([0.5, 1.0, 3.0], len(pairs))


def fitted(params: Params = PARAMS) -> np.ndarray:
    users, items, strengths = blocks()
    return als.fit(users, items, strengths, (30, 24), params)


def own(user: int) -> tuple[np.ndarray, np.ndarray]:
    users, items, strengths = blocks()
    return items[users == user], strengths[users == user]


def test_two_fits_are_equal_to_the_bit():
    assert fitted().tobytes() == fitted().tobytes()


def test_another_seed_starts_elsewhere():
    assert not np.array_equal(fitted(), fitted(Params(factors=4, iterations=12, seed=8)))


def test_planted_blocks_are_separated():
    params = Params(factors=2)
    factors = fitted(params)
    vectors = als.fold_in(factors, [own(0)[0], own(1)[0]], [own(0)[1], own(1)[1]], params)
    scores = vectors @ factors.T
    assert scores[0, :12].min() > scores[0, 12:].max() + 0.3
    assert scores[1, 12:].min() > scores[1, :12].max() + 0.3


def test_fold_in_solves_the_weighted_least_squares():
    factors = fitted().astype(np.float64)
    rows, strengths = own(0)
    # minimise sum_i c_i (p_i - x.y_i)^2 + r |x|^2 as an ordinary least squares of stacked rows
    preference, confidence = np.zeros(24), np.ones(24)
    preference[rows], confidence[rows] = 1, 1 + PARAMS.alpha * strengths
    root = np.sqrt(confidence)[:, None]
    stacked = np.vstack([root * factors, np.sqrt(PARAMS.regularization) * np.eye(4)])
    wanted, *_ = np.linalg.lstsq(stacked, np.r_[root[:, 0] * preference, np.zeros(4)], rcond=None)
    found = als.fold_in(fitted(), [rows], [strengths], PARAMS)[0]
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-4)


def test_the_fit_and_the_fold_in_mean_the_same_confidence():
    # at the end of the sweeps, folding the items into the space of the folded-in users gives the items back
    params = Params(factors=2, iterations=150, alpha=1.0, regularization=0.5)
    users, items, strengths = blocks()
    factors = fitted(params)
    people = als.fold_in(factors, *zip(*[(items[users == u], strengths[users == u]) for u in range(30)]), params)
    again = als.fold_in(people, *zip(*[(users[items == i], strengths[items == i]) for i in range(24)]), params)
    assert np.abs(people @ again.T - people @ factors.T).max() < 0.01


def test_a_user_without_items_is_at_the_origin():
    found = als.fold_in(fitted(), [np.zeros(0, np.int64)], [np.zeros(0, np.float32)], PARAMS)
    assert found.tolist() == [[0.0] * 4]


PAIRS = "user_id bigint, item_id bigint, strength double, last_ms bigint"


def test_build_saves_sorted_ids_with_their_factors(frame, tmp_path):
    users, items, strengths = blocks()
    rows = [(int(u), 1000 - int(i), float(s), 1) for u, i, s in zip(users, items, strengths)]
    pairs = frame(PAIRS, [*rows, (1, 5000, 0.0, 1)])
    facts = als.build(pairs, days=DayRange.day("2024-03-01"), params=PARAMS, out=tmp_path)
    ids, factors, params = als.load(tmp_path)
    # item 5000 was only seen
    assert ids.tolist() == list(range(977, 1001))
    assert facts == {"engine": "implicit", "users": 30, "items": 24, "interactions": len(rows)}
    assert (factors.shape, factors.dtype, params) == ((24, 4), np.float32, PARAMS)
    # an index is measured with users as the night folds them in; of thirty all are kept
    own_at = [(23 - own(user)[0], own(user)[1]) for user in range(30)]
    wanted = als.fold_in(factors, *zip(*[(at[np.argsort(at)], s[np.argsort(at)]) for at, s in own_at]), PARAMS)
    assert als.queries(tmp_path) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("rows", [[], [(1, 1, 1.0, 1), (2, 2, 1.0, 1)]])
def test_too_few_items_make_an_empty_model(frame, tmp_path, rows):
    als.build(frame(PAIRS, rows), days=DayRange.day("2024-03-01"), params=PARAMS, out=tmp_path)
    ids, factors, _ = als.load(tmp_path)
    assert (ids.shape, factors.shape, als.queries(tmp_path).shape) == ((0,), (0, 4), (0, 4))


def test_spark_ml_fits_the_same_blocks_behind_the_same_interface(frame, tmp_path):
    users, items, strengths = blocks()
    pairs = frame(PAIRS, [(int(u), 1000 - int(i), float(s), 1) for u, i, s in zip(users, items, strengths)])
    params = Params(factors=2, iterations=5, engine="spark")
    assert als.build(pairs, days=DayRange.day("2024-03-01"), params=params, out=tmp_path)["engine"] == "spark"
    ids, factors, fitted = als.load(tmp_path)
    assert ids.tolist() == list(range(977, 1001)) and fitted == params and not len(als.queries(tmp_path))
    vectors = als.fold_in(factors, [24 - 1 - own(0)[0]], [own(0)[1]], params)
    scores = (vectors @ factors.T)[0][::-1]
    assert scores[:12].min() > scores[12:].max()


def test_an_engine_that_there_is_not_is_refused():
    with pytest.raises(ContractError, match="engine is 'flink'"):
        Params(engine="flink")
