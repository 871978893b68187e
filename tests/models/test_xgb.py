"""XGBoost on planted data, and the figures behind the gate."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import ndcg_score, roc_auc_score

from jobs.errors import ContractError
from models import evaluation
from models.evaluation import Figure, Measured, of_groups
from models.promotion_gate import Params as GateParams
from models.promotion_gate import gate, passed
from models.rankers import rows, xgb, xgb_cluster
from models.rankers.ranker import isotonic
from models.rankers.rows import feature_matrix, query_ids
from models.rankers.xgb import XgbParams, XgbRanker
from models.ranking_features import EXPECTED, FEATURES

SMALL = XgbParams(trees=25, depth=3, threads=1, min_conversions=50)
USERS, SHOWN = 150, 12


def examples(seed: int, label: str = "planted", conversions: bool = False) -> pa.Table:
    """Showings of one day whose clicks depend on the user's strength with the item (or on nothing)."""
    rng = np.random.default_rng(seed)
    rows = USERS * SHOWN
    columns = {name: pa.array(np.zeros(rows, np.float32)) for name in FEATURES}
    strength = rng.uniform(0, 4, rows).astype(np.float32)
    columns["pair_strength"] = pa.array(strength)
    columns["item_target_users_7d"] = pa.array(rng.integers(0, 50, rows).astype(np.float32))
    chance = 1 / (1 + np.exp(6 - 3 * strength)) if label == "planted" else np.full(rows, 0.3)
    clicked = (rng.random(rows) < chance).astype(np.int32)
    if label in ("none", "all"):
        clicked[:] = label == "all"
    return pa.table(
        {
            "shown_ds": pa.array([dt.date(2024, 3, 1)] * rows),
            "user_id": np.repeat(np.arange(USERS), SHOWN),
            "item_id": np.tile(np.arange(SHOWN), USERS),
            "label": clicked,
            "converted": clicked if conversions else np.zeros(rows, np.int32),
            "dwell_ms": np.zeros(rows, np.int64),
            "weight": np.ones(rows),
            **columns,
        }
    )


@pytest.fixture(scope="module")
def planted() -> XgbRanker:
    return xgb.fit(examples(1), examples(2), SMALL)


@pytest.fixture(scope="module")
def measured(planted) -> Measured:
    return evaluation.evaluate(planted, examples(3))


# -- learning ------------------------------------------------------------------------------------


def test_a_planted_signal_is_learnt(planted):
    held = examples(3)
    # the label itself is drawn, so the true chance is the best that any score can do
    ceiling = roc_auc_score(held["label"].to_numpy(), held["pair_strength"].to_numpy())
    found = roc_auc_score(held["label"].to_numpy(), planted.score(held)["pctr"])
    assert ceiling > 0.9
    assert found > ceiling - 0.02


def test_both_orders_beat_popularity_on_held_out_users(measured):
    figures = measured.figures
    for name in ("ndcg_at_10", "ndcg_at_10_lambdamart"):
        assert figures[name].lo > figures["ndcg_at_10_popularity"].hi
    assert (measured.rows, measured.users) == (USERS * SHOWN, int(np.isfinite(measured.ndcg_by_user).sum()))


def test_probabilities_are_calibrated_on_held_out_rows(measured):
    assert measured.figures["calibration_error"].value < GateParams().max_calibration_error


def test_a_planted_ranker_passes_the_gate(measured):
    # that there are no bad cases to replay, and no day of audit.skew, is said and stops nothing
    assert [line.metric for line in gate(measured, None) if not line.passed] == ["regression.replay", "skew"]
    assert passed(gate(measured, None))


def test_labels_that_depend_on_nothing_are_refused_by_the_gate():
    ranker = xgb.fit(examples(1, "noise"), examples(2, "noise"), SMALL)
    lines = {line.metric: line for line in gate(evaluation.evaluate(ranker, examples(3, "noise")), None)}
    assert not lines["auc"].passed
    assert lines["auc"].fails


@pytest.mark.parametrize(("label", "positives"), [("none", 0), ("all", 1800)])
def test_labels_of_one_kind_cannot_be_learnt_from(label, positives):
    with pytest.raises(ContractError, match=f"has {positives} positives of 1800 rows: both are needed"):
        xgb.fit(examples(1, label), examples(2), SMALL)


def of_habit(seed: int) -> pa.Table:
    """Clicks whose chance is a feature, twice that where the user has few purchases."""
    rows, rng = examples(seed), np.random.default_rng(seed)
    chance, few = rng.uniform(0.001, 0.3, rows.num_rows), rng.random(rows.num_rows) < 0.5
    clicked = rng.random(rows.num_rows) < chance * np.where(few, 2, 1)
    changed = {EXPECTED: chance, "user_purchases_28d": np.where(few, 1, 9)}
    for name, values in changed.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, pa.array(values.astype(np.float32)))
    return rows.set_column(rows.schema.get_field_index("label"), "label", pa.array(clicked.astype(np.int32)))


def test_trees_start_from_a_chance_and_learn_what_it_leaves(tmp_path):
    options = {"trees": 40, "depth": 2, "threads": 1, "order": "odds"}
    ranker = xgb.fit(of_habit(1), of_habit(2), XgbParams(**options, offset=EXPECTED))
    held = of_habit(3)
    scores, label = ranker.score(held), held["label"].to_numpy()
    assert set(ranker.heads) == {"pctr", "rank"} == set(scores)
    # better than what it started from, and than trees alone on as many rows
    start = held[EXPECTED].to_numpy()
    alone = xgb.fit(of_habit(1), of_habit(2), XgbParams(**options)).score(held)
    assert roc_auc_score(label, scores["rank"]) > roc_auc_score(label, start) + 0.02
    assert roc_auc_score(label, scores["rank"]) >= roc_auc_score(label, alone["rank"])
    # the order has no steps, which calibration makes
    assert len(np.unique(scores["rank"])) > 10 * len(np.unique(scores["pctr"]))
    ranker.save(tmp_path / "ranker")
    again = XgbRanker.load(tmp_path / "ranker").score(held)
    assert all(np.array_equal(scores[head], again[head]) for head in scores)


def test_without_a_tree_worth_it_the_order_is_that_of_the_offset():
    rows = of_habit(1)
    ranker = xgb.fit(rows, of_habit(2), XgbParams(trees=1, depth=1, learning_rate=1e-6, order="odds", offset=EXPECTED))
    scores, start = ranker.score(rows)["rank"], rows[EXPECTED].to_numpy()
    assert np.array_equal(np.argsort(-scores[:50], kind="stable"), np.argsort(-start[:50], kind="stable"))


def test_a_cluster_refuses_a_start_that_it_does_not_know(tmp_path):
    def run(folder):
        raise AssertionError(f"{folder} was run")

    with pytest.raises(ContractError, match="start from 'pair_expected' are not grown on a cluster"):
        xgb_cluster.fit(of_habit(1), of_habit(2), XgbParams(offset=EXPECTED), tmp_path, run, 2)


@pytest.mark.parametrize(
    ("options", "says"), [({"order": "gain"}, "must be lambdamart or odds"), ({"offset": "mood"}, "no ranking feature")]
)
def test_an_order_or_offset_that_there_is_not_is_named(options, says):
    with pytest.raises(ContractError, match=says):
        XgbParams(**options)


def test_two_fits_are_equal(planted):
    again = xgb.fit(examples(1), examples(2), SMALL)
    first, second = planted.score(examples(3)), again.score(examples(3))
    assert all(np.array_equal(first[head], second[head]) for head in first)


def test_a_query_that_a_batch_would_cut_stays_whole():
    # batches are of 65,536 rows, which is no multiple of 12 rows a query
    table = examples(1)
    many = pa.concat_tables(
        table.set_column(1, "user_id", pa.array(table["user_id"].to_numpy() + n * USERS)) for n in range(37)
    )
    assert many.num_rows == 66_600
    parts = list(rows.whole_queries(many))
    assert [part.num_rows for part in parts] == [65_532, 1_056, 12]
    assert pa.Table.from_batches(parts).equals(many.combine_chunks())
    # a weight for each query: XGBoost refuses a number other than that of its queries
    few = XgbParams(trees=2, depth=2, threads=1, min_conversions=50)
    assert xgb.fit(many, examples(2), few).facts["rows"] == 66_600


def test_a_conversion_head_is_fitted_only_where_there_are_enough(planted):
    assert "pcvr" not in planted.score(examples(3))
    converted = xgb.fit(examples(1, conversions=True), examples(2, conversions=True), SMALL)
    scores = converted.score(examples(3))
    assert set(scores) == {"pctr", "pcvr", "rank"}
    assert 0 <= scores["pcvr"].min() <= scores["pcvr"].max() <= 1


# -- files and inputs ----------------------------------------------------------------------------


def test_a_saved_ranker_gives_identical_scores(planted, tmp_path):
    planted.save(tmp_path / "ranker")
    loaded = XgbRanker.load(tmp_path / "ranker")
    first, second = planted.score(examples(3)), loaded.score(examples(3))
    assert set(first) == set(second) == {"pctr", "rank"}
    assert all(np.array_equal(first[head], second[head]) for head in first)
    assert loaded.features == FEATURES
    assert loaded.facts["rows"] == USERS * SHOWN


def test_a_table_a_batch_and_plain_arrays_score_alike(planted):
    table = examples(3)
    batch = table.combine_chunks().to_batches()[0]
    arrays = {name: table[name].to_numpy() for name in FEATURES}
    scores = [planted.score(columns)["pctr"] for columns in (table, batch, arrays)]
    assert np.array_equal(scores[0], scores[1]) and np.array_equal(scores[0], scores[2])


def test_a_missing_feature_is_named(planted):
    with pytest.raises(ContractError, match=r"lacks the features \['pair_strength'\]"):
        planted.score(examples(3).drop_columns(["pair_strength"]))


def test_null_is_unknown_not_0():
    columns = {name: pa.array([0.0], pa.float32()) for name in FEATURES}
    columns["item_rating_28d"] = pa.array([None], pa.float32())
    matrix = feature_matrix(pa.table(columns), FEATURES)
    assert matrix.shape == (1, len(FEATURES))
    assert np.flatnonzero(np.isnan(matrix[0])).tolist() == [FEATURES.index("item_rating_28d")]


def test_a_query_is_a_user_on_a_day():
    table = pa.table(
        {
            "shown_ds": pa.array([dt.date(2024, 3, 1)] * 3 + [dt.date(2024, 3, 2)] * 2),
            "user_id": [1, 1, 2, 2, 3],
        }
    )
    assert query_ids(table).tolist() == [0, 0, 1, 2, 3]


# -- figures -------------------------------------------------------------------------------------


def test_isotonic_calibration_is_monotone_within_0_and_1():
    rng = np.random.default_rng(0)
    raw = rng.random(500)
    x, y = isotonic(raw, (rng.random(500) < raw**2).astype(int))
    assert (np.diff(x) >= 0).all() and (np.diff(y) >= 0).all()
    assert 0 <= min(y) <= max(y) <= 1
    # the chance at 0.5 is 0.25 by construction
    assert np.interp(0.5, x, y) == pytest.approx(0.25, abs=0.12)


def test_isotonic_pools_what_is_out_of_order():
    # 1 before 0 pools to their mean
    x, y = isotonic(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0, 1, 0, 1]))
    assert np.interp([0.1, 0.2, 0.3, 0.4], x, y).tolist() == [0.0, 0.5, 0.5, 1.0]


def test_ndcg_by_hand():
    # second of three is the one positive: (1 / log2(3)) / 1
    found = of_groups("ndcg", np.array([0, 1, 0]), np.array([3.0, 2.0, 1.0]), np.zeros(3, int))
    assert found.tolist() == pytest.approx([0.6309297535714575])


def test_ndcg_agrees_with_scikit_learn():
    rng = np.random.default_rng(4)
    sizes = rng.integers(2, 25, 40)
    group = np.repeat(np.arange(40), sizes)
    label = (rng.random(len(group)) < 0.3).astype(int)
    score = rng.permutation(len(group)).astype(float)
    found = of_groups("ndcg", label, score, group)
    for g in range(40):
        of = group == g
        if label[of].any():
            assert found[g] == pytest.approx(ndcg_score([label[of]], [score[of]], k=10))
        else:
            assert np.isnan(found[g])


def test_ndcg_breaks_ties_in_row_order_whatever_the_rows_before():
    label, score = np.array([1, 0, 0, 1]), np.zeros(4)
    assert of_groups("ndcg", label, score, np.array([0, 0, 1, 1])).tolist() == pytest.approx([1.0, 1 / np.log2(3)])


def judged(ndcg: list[float], auc_lo: float = 0.6, error: float = 0.01, popular: float = 0.1) -> Measured:
    mean = float(np.mean(ndcg))
    return Measured(
        {
            "auc": Figure(0.7, auc_lo, 0.8),
            "ndcg_at_10": Figure(mean, mean, mean),
            "ndcg_at_10_popularity": Figure(popular, popular, popular),
            "calibration_error": Figure(error, error, error),
        },
        len(ndcg),
        len(ndcg),
        np.array(ndcg),
    )


@pytest.mark.parametrize(
    ("change", "metric"),
    [
        ({"auc_lo": 0.5}, "auc"),
        ({"error": 0.051}, "calibration_error"),
        ({"popular": 0.5}, "ndcg_at_10"),
    ],
)
def test_each_line_of_the_gate_refuses_by_itself(change, metric):
    lines = gate(judged([0.5] * 10, **change), None)
    assert [line.metric for line in lines if not line.passed and line.fails] == [metric]


def test_a_challenger_may_not_lose_to_the_champion():
    champion = judged([0.5, 0.6] * 50)
    assert passed(gate(judged([0.5, 0.6] * 50), champion))
    worse = gate(judged([0.48, 0.58] * 50), champion)
    # the paired loss is 0.02 for every user, beyond the margin of 0.005
    failed = [line for line in worse if not line.passed and line.fails]
    assert [line.metric for line in failed] == ["ndcg_at_10 - champion"]
    assert failed[0].value == pytest.approx(-0.02)
