"""The contract of every ranker, present and future, and what each is there for, on planted truth."""

from __future__ import annotations

import dataclasses
import doctest
import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import OneHotEncoder

from jobs.errors import ContractError
from models.rankers import deep, deepfm, dien, din, esmm, groups, ple, rows
from models.rankers.deep import DeepParams
from models.rankers.ranker import Ranker, describe, discover_rankers, load, ranker
from models.ranking_features import FEATURES
from quality.metrics.calibration import ece
from tests.models.planted import funnel, histories, interactions, lures, strengths, turns

RANKERS = discover_rankers()
SMALL = {
    "xgb": {"trees": 25, "depth": 3},
    "deep": {"buckets": 1024, "width": 4, "layers": (16,), "batch": 256, "epochs": 6, "learning_rate": 0.01},
}
PLANTED = DeepParams(buckets=16_384, width=8, layers=(16,), batch=512, epochs=10, learning_rate=0.01)


def params(name: str, **more):
    kind = RANKERS[name].params
    return kind(**SMALL["deep" if issubclass(kind, DeepParams) else "xgb"], threads=1, min_conversions=50, **more)


@pytest.fixture(scope="module")
def data() -> list[pa.Table]:
    return [strengths(seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module", params=RANKERS)
def fitted(request, data) -> Ranker:
    return RANKERS[request.param].fit(*data[:2], params(request.param))


def auc(table: pa.Table, score: np.ndarray) -> float:
    return roc_auc_score(table["label"].to_numpy(), score)


# -- the contract --------------------------------------------------------------------------------


def test_rankers_are_found_by_name():
    assert {"xgb", "deepfm", "din", "dien", "esmm", "ple"} <= set(RANKERS)
    with pytest.raises(ContractError, match="There is no ranker 'svm'; there are"):
        ranker("svm")


def test_a_planted_signal_is_learnt_by_every_head(fitted, data):
    held = data[2]
    scores = fitted.score(held)
    assert {"pctr", "pcvr", "dwell"} <= set(scores) == set(fitted.heads)
    strength = held["pair_strength"].to_numpy()
    # the label itself is drawn, so the true chance is the best that any score can do
    assert auc(held, scores["pctr"]) > auc(held, strength) - 0.05
    assert roc_auc_score(held["converted"].to_numpy(), scores["pcvr"]) > 0.8
    if "satisfaction" in scores:
        assert roc_auc_score(held["dwell_ms"].to_numpy() >= 30_000, scores["satisfaction"]) > 0.8
    # a click lasts 5 s, and 10 s more for each unit of strength
    assert np.corrcoef(scores["dwell"], strength)[0, 1] > 0.9
    assert np.abs(scores["dwell"] - (5 + 10 * strength))[strength > 2].mean() < 5


def test_probabilities_are_calibrated_on_rows_that_it_never_saw(fitted, data):
    scores = fitted.score(data[2])
    for head, label in (("pctr", "label"), ("pcvr", "converted")):
        assert 0 <= scores[head].min() <= scores[head].max() <= 1
        assert ece(data[2][label].to_numpy(), scores[head]) < 0.04


def test_a_saved_ranker_gives_identical_scores(fitted, data, tmp_path):
    fitted.save(tmp_path / "ranker")
    again = load(tmp_path / "ranker")
    assert type(again) is type(fitted)
    first, second = fitted.score(data[2]), again.score(data[2])
    assert list(first) == list(second)
    assert all(np.array_equal(first[head], second[head]) for head in first)
    assert (again.features, again.facts["rows"]) == (FEATURES, 3000)
    assert {p.suffix for p in (tmp_path / "ranker").iterdir()} <= {".json", ".npz", ".ubj"}
    assert describe(tmp_path / "ranker")["ranker"] == fitted.spec.name


def test_a_batch_and_plain_arrays_score_as_the_table_does(fitted, data):
    table = data[2].slice(0, 1000)
    arrays = {n: table[n].to_numpy() for n in (*FEATURES, "user_id", "item_id")}
    arrays["recent_items"] = np.array(table["recent_items"].to_pylist(), dtype=object)
    whole = fitted.score(table)["pctr"]
    for columns in (table.combine_chunks().to_batches()[0], arrays):
        assert np.allclose(fitted.score(columns)["pctr"], whole, atol=1e-6)
    few = fitted.score(table.slice(0, 3))["pctr"]
    assert np.allclose(few, whole[:3], atol=1e-6)


def test_a_missing_column_is_named(fitted, data):
    with pytest.raises(ContractError, match="pair_strength"):
        fitted.score(data[2].drop_columns(["pair_strength"]))
    for name in (*fitted.spec.ids, *fitted.spec.sequences):
        with pytest.raises(ContractError, match=f"lack the column '{name}'"):
            fitted.score(data[2].drop_columns([name]))


def test_a_row_counts_by_its_weight(fitted, data):
    """Negatives that weigh nine times as much lower what is predicted, as nine times as many would."""
    name = fitted.spec.name
    train, valid = (
        table.set_column(
            table.schema.get_field_index("weight"),
            "weight",
            pa.array(np.where(table["label"].to_numpy() == 0, 9.0, 1.0)),
        )
        for table in data[:2]
    )
    weighed = RANKERS[name].fit(train, valid, params(name))
    before, after = (np.clip(each.raw(data[2])["pctr"], 1e-6, 1 - 1e-6) for each in (fitted, weighed))
    # nine times the negatives are log(9) = 2.2 less in log-odds
    lowered = np.log(before / (1 - before)) - np.log(after / (1 - after))
    assert 1.2 < np.median(lowered) < 3.2
    if "rank" in fitted.heads:
        assert not np.array_equal(fitted.raw(data[2])["rank"], weighed.raw(data[2])["rank"])


def test_a_row_of_an_older_day_weighs_one():
    assert rows.row_weights(pa.table({"weight": pa.array([None, 2.0, 1.0])})).tolist() == [1.0, 2.0, 1.0]


def test_labels_of_one_kind_are_refused(fitted, data):
    clicked = data[0].filter(pc.equal(data[0]["label"], 1))
    with pytest.raises(ContractError, match="both are needed"):
        RANKERS[fitted.spec.name].fit(clicked, data[1], params(fitted.spec.name))


def test_heads_without_examples_are_not_fitted(fitted):
    name = fitted.spec.name
    scores = RANKERS[name].fit(strengths(1, 600, False), strengths(2, 600, False), params(name)).score(strengths(3, 50))
    assert set(scores) <= {"pctr", "rank"}


def test_a_new_id_is_scored(fitted, data):
    unseen = data[2].slice(0, 10).set_column(1, "user_id", pa.array(range(10**15, 10**15 + 10)))
    assert np.isfinite(fitted.score(unseen)["pctr"]).all()


def test_a_fit_goes_on_from_another(fitted, data):
    name = fitted.spec.name
    short = dataclasses.replace(params(name), **{"trees": 3} if name == "xgb" else {"epochs": 1})
    warm = RANKERS[name].fit(*data[:2], short, start=fitted)
    assert auc(data[2], warm.raw(data[2])["pctr"]) > auc(data[2], fitted.raw(data[2])["pctr"]) - 0.01
    curve = "ctr" if name == "xgb" else "loss"
    assert warm.facts["curves"][curve]["train"][0] < fitted.facts["curves"][curve]["train"][0]


def test_a_second_fit_from_files_on_disk_is_equal(fitted, data, tmp_path):
    name = fitted.spec.name
    for n in range(3):
        pq.write_table(data[0].slice(n * 1000, 1000), tmp_path / f"{n}.parquet")
    again = RANKERS[name].fit(pads.dataset(tmp_path), data[1], params(name))
    first, second = fitted.score(data[2]), again.score(data[2])
    assert all(np.array_equal(first[head], second[head]) for head in first)


# -- what each is there for ----------------------------------------------------------------------


def pairs_that_meet(seed: int) -> tuple[float, float]:
    """AUC of a linear model on the same keys, and of DeepFM."""
    train, valid, held = interactions(seed, 15_000), interactions(seed + 100, 3000), interactions(seed + 200, 3000)
    keys = [np.column_stack([t["user_id"].to_numpy(), t["item_id"].to_numpy()]) for t in (train, held)]
    encode = OneHotEncoder(handle_unknown="ignore").fit(keys[0])
    linear = LogisticRegression().fit(encode.transform(keys[0]), train["label"].to_numpy())
    seen = auc(held, linear.predict_proba(encode.transform(keys[1]))[:, 1])
    options = dataclasses.asdict(PLANTED) | {"seed": seed}
    fm = deepfm.fit(train, valid, deepfm.Params(**options))
    return seen, auc(held, fm.score(held)["pctr"])


def sequences_that_tell(seed: int) -> tuple[float, float]:
    """AUC of DeepFM and of DIN on users of whom only the sequence is known."""
    train, valid, held = histories(seed, 12_000), histories(seed + 100, 2000), histories(seed + 200, 3000)
    options = dataclasses.asdict(PLANTED) | {"seed": seed, "batch": 256, "length": 6}
    blind = deepfm.fit(train, valid, deepfm.Params(**options | {"epochs": 4}))
    sees = din.fit(train, valid, din.Params(**options))
    return auc(held, blind.score(held)["pctr"]), auc(held, sees.score(held)["pctr"])


def conversions_of_all_shown(seed: int) -> tuple[float, float]:
    """Error of the chance of a purchase once clicked, over all that was shown: ESMM's, and that of clicks alone."""
    (train, _), (valid, _) = funnel(seed, 30_000), funnel(seed + 100, 6000)
    held, truth = funnel(seed + 200, 15_000)
    options = dataclasses.replace(PLANTED, seed=seed, width=4, learning_rate=0.005, min_conversions=50)
    raw = esmm.fit(train, valid, options).raw(held)
    alone = esmm.fit(of_clicks(train), of_clicks(valid), options).raw(held)["pctr"]
    return ece(truth, raw["pcvr"] / raw["pctr"]), ece(truth, alone)


def of_clicks(table: pa.Table) -> pa.Table:
    """The clicked rows, with the purchase as what is to be learnt."""
    clicked = table.filter(pc.equal(table["label"], 1))
    return clicked.set_column(clicked.schema.get_field_index("label"), "label", clicked["converted"])


def test_a_factorisation_machine_sees_what_a_linear_model_cannot():
    linear, fm = pairs_that_meet(1)
    assert linear < 0.55
    assert fm > 0.75


def test_wide_and_deep_has_no_second_order_part(data):
    narrow = params("deepfm", form="wide_deep")
    fitted = deepfm.fit(*data[:2], narrow)
    assert auc(data[2], fitted.score(data[2])["pctr"]) > 0.85
    counts = [len(deepfm.fit(*data[:2], p).network.weights) for p in (narrow, params("deepfm"))]
    assert counts[0] < counts[1]
    with pytest.raises(ContractError, match="has no form 'wide'"):
        deepfm.Params(form="wide")


def test_only_din_sees_a_sequence():
    blind, sees = sequences_that_tell(1)
    assert blind < 0.55
    assert sees > 0.7


def test_learning_from_all_that_was_shown_halves_the_error_of_learning_from_clicks():
    entire, clicks = conversions_of_all_shown(1)
    assert entire <= clicks / 2


def order_that_tells(seed: int) -> tuple[float, float]:
    """AUC of DIN and of DIEN on users of whom only the order of what they did says what they want."""
    train, valid, held = turns(seed, 12_000), turns(seed + 100, 2000), turns(seed + 200, 3000)
    # the order is seen after some epochs without a better loss
    options = dataclasses.asdict(PLANTED) | {"seed": seed, "batch": 256, "length": 6, "patience": 10}
    blind = din.fit(train, valid, din.Params(**options))
    sees = dien.fit(train, valid, dien.Params(**options))
    return auc(held, blind.score(held)["pctr"]), auc(held, sees.score(held)["pctr"])


def test_only_dien_sees_the_order_of_a_sequence():
    blind, sees = order_that_tells(1)
    assert blind < 0.55
    assert sees > 0.7


def satisfaction_apart_from_clicks(seed: int) -> tuple[float, float, float]:
    """AUC against clicks that lasted: of PLE's chance of a click, of its satisfied one, and of what was planted."""
    (train, _), (valid, _) = lures(seed, 12_000), lures(seed + 100, 3000)
    held, truth = lures(seed + 200, 4000)
    scores = ple.fit(train, valid, ple.Params(**dataclasses.asdict(PLANTED) | {"seed": seed})).score(held)
    lasted = held["dwell_ms"].to_numpy() >= 30_000
    clicks, satisfaction, best = (roc_auc_score(lasted, s) for s in (scores["pctr"], scores["satisfaction"], truth))
    return clicks, satisfaction, best


def test_a_satisfied_click_is_another_task_than_a_click():
    clicks, satisfaction, best = satisfaction_apart_from_clicks(1)
    assert satisfaction > best - 0.03
    assert satisfaction > clicks + 0.1
    with pytest.raises(ContractError, match="it needs one that is shared, and two to choose from"):
        ple.Params(shared=1, own=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planted_truths_are_found_from_any_seed(seed):
    linear, fm = pairs_that_meet(seed)
    blind, sees = sequences_that_tell(seed)
    entire, clicks = conversions_of_all_shown(seed)
    assert (linear < 0.55, fm > 0.75, blind < 0.55, sees > 0.7, entire <= clicks / 2) == (True,) * 5
    blind, sees = order_that_tells(seed)
    clicks, satisfaction, best = satisfaction_apart_from_clicks(seed)
    assert (blind < 0.55, sees > 0.7) == (True,) * 2
    # what was planted separates the two by 0.15 of AUC: at least half of it is found
    assert (satisfaction > best - 0.03, satisfaction > clicks + 0.075) == (True,) * 2


# -- inputs --------------------------------------------------------------------------------------


def test_the_backend_is_jax_on_bounded_threads():
    assert deep.keras().backend.backend() == "jax"
    assert os.environ["KERAS_BACKEND"] == "jax"


def test_a_hash_is_fixed_and_spread():
    ids = np.arange(100_000)
    found = rows.hashed(ids, 1000, 1)
    assert found.min() == 1 and found.max() == 1000
    # a hundred keys a bucket; five deviations of a binomial either way
    assert np.abs(np.bincount(found)[1:] - 100).max() < 50
    assert (rows.hashed(ids, 1000, 2) != found).mean() > 0.99
    assert rows.hashed(np.array([0, -1, 7]), 1000, 1).tolist() == rows.hashed(np.array([0, -1, 7]), 1000, 1).tolist()


def test_sequences_are_cut_and_filled():
    table = pa.table({"past": pa.array([[5, 6, 7], [], None, [8]], pa.list_(pa.int64()))})
    ids, present = rows.sequences(table, "past", 2)
    assert ids.tolist() == [[5, 6], [0, 0], [0, 0], [8, 0]]
    assert present.tolist() == [[True, True], [False, False], [False, False], [True, False]]


def test_a_shuffle_holds_a_window_and_keeps_every_row():
    table = pa.table({"n": np.arange(1000)})
    windows = list(rows.shuffled(table, 300, np.random.default_rng(1)))
    assert [w.num_rows for w in windows] == [300, 300, 300, 100]
    whole = np.concatenate([w["n"].to_numpy() for w in windows])
    assert not np.array_equal(whole, np.arange(1000)) and np.array_equal(np.sort(whole), np.arange(1000))


def test_scaling_leaves_the_unknown_at_the_mean():
    known = {name: np.array([1.0, 3.0, np.nan]) for name in FEATURES}
    table = pa.table({n: pa.array(v, pa.float32(), from_pandas=True) for n, v in known.items()})
    made = deep.Scaling.of(table, FEATURES)(rows.feature_matrix(table, FEATURES))
    assert made.shape == (3, 2 * len(FEATURES))
    assert made[:, 0].tolist() == pytest.approx([-1, 1, 0])
    assert made[:, len(FEATURES)].tolist() == [0, 0, 1]


def test_another_size_cannot_be_gone_on_from(data):
    first = deepfm.fit(*data[:2], params("deepfm"))
    other = dataclasses.replace(params("deepfm"), width=5)
    with pytest.raises(ContractError, match="other features, heads or sizes"):
        deepfm.fit(*data[:2], other, start=first)


# -- groups --------------------------------------------------------------------------------------


def test_examples_of_groups():
    assert doctest.testmod(groups).failed == 0


def test_reweighed_labels_do_not_depend_on_the_group():
    rng = np.random.default_rng(1)
    tenure = np.where(rng.random(4000) < 0.2, 5.0, 100.0)
    label = (rng.random(4000) < np.where(tenure < 30, 0.1, 0.4)).astype(int)
    weights = groups.Reweighing(groups.Groups("tenure", (30.0,)))
    for part in np.array_split(np.arange(4000), 7):
        weights.add({"tenure": tenure[part]}, label[part])
    weight = weights.of({"tenure": tenure}, label)
    rates = [np.average(label[of], weights=weight[of]) for of in (tenure < 30, tenure >= 30)]
    assert rates == pytest.approx([label.mean()] * 2, abs=1e-6)
    assert weight.mean() == pytest.approx(1)
