"""Training/serving skew: what scoring was given against what training joined, pair by pair."""

from __future__ import annotations

import datetime as dt
import doctest

import pyarrow as pa
import pytest

from jobs.contract import DayRange
from jobs.runner import conform
from models import scored_features
from models.ranked import scorer
from models.rankers import xgb
from models.rankers.xgb import XgbRanker
from models.ranking_features import FEATURES
from quality import skew
from tests.models.test_xgb import SMALL
from tests.models.test_xgb import examples as planted_examples

KNOWN, D1, D2 = (dt.date(2024, 3, d) for d in (1, 3, 4))
RANKED = f"ds date, user_id bigint, item_id bigint, scored_features {scored_features.TYPE}"
EXAMPLES = "ds date, user_id bigint, item_id bigint, " + ", ".join(f"{name} float" for name in FEATURES)
RUNS = "ds date, `table` string, status string, at_ms bigint"
PAIRS = [(user, item) for user in (1, 2) for item in (10, 11)]


def scored(user, item, known=KNOWN, **changes):
    values = {name: float(user + item + at) + 0.25 for at, name in enumerate(FEATURES)} | {"position": 1.0}
    return (known, user, item, list((values | changes).items()))


def trained(user, item, ds=D1, **changes):
    values = {name: float(user + item + at) + 0.25 for at, name in enumerate(FEATURES)} | {"position": 7.0}
    return (ds, user, item, *(values | changes).values())


def ran(table, ds, at, status="published"):
    return (ds, table, status, at)


def compared(spark, ranked, examples, days=None, runs=(), **params):
    made = skew.build(
        spark.createDataFrame(ranked, RANKED),
        spark.createDataFrame(examples, EXAMPLES),
        spark.createDataFrame(list(runs), RUNS),
        days=days or DayRange.day(D1),
        params=skew.Params(**params),
    )
    return {(r["ds"], r["feature"]): r.asDict() for r in conform(skew.CONTRACT, made).collect()}


def test_equal_values_are_ok_wherever_the_pair_was_shown(spark):
    found = compared(spark, [scored(*p) for p in PAIRS], [trained(*p) for p in PAIRS])
    assert {f for _, f in found} == set(skew.COMPARED) and "position" not in skew.COMPARED
    assert {(r["n"], r["different"], r["verdict"], r["known_ds"]) for r in found.values()} == {(4, 0, "ok", KNOWN)}


def test_a_changed_value_is_found_and_named(spark):
    changed = {"user_clicks_7d": 99.0}
    found = compared(
        spark, [scored(*p, **(changed if p == (1, 10) else {})) for p in PAIRS], [trained(*p) for p in PAIRS]
    )
    assert {f for (_, f), r in found.items() if r["verdict"] != "ok"} == {"user_clicks_7d"}
    row = found[D1, "user_clicks_7d"]
    # training has 1 + 10 + its place among the features + 0.25
    assert (row["different"], row["share"]) == (1, 0.25)
    assert row["largest"] == 99 - (11.25 + FEATURES.index("user_clicks_7d"))


def test_a_value_that_one_side_lacks_is_different(spark):
    ranked = [scored(1, 10, item_age_days=None), scored(1, 11), scored(2, 10, item_age_days=None), scored(2, 11)]
    examples = [trained(1, 10), trained(1, 11, item_age_days=None), trained(2, 10, item_age_days=None), trained(2, 11)]
    row = compared(spark, ranked, examples)[D1, "item_age_days"]
    # missing on both sides is equal
    assert (row["n"], row["different"], row["missing_scored"], row["missing_trained"]) == (4, 2, 1, 1)


def test_a_small_share_may_differ(spark):
    found = compared(spark, [scored(*p) for p in PAIRS], [trained(*p, user_ctr_28d=-1.0) for p in PAIRS], share=1.0)
    assert (found[D1, "user_ctr_28d"]["different"], found[D1, "user_ctr_28d"]["verdict"]) == (4, "ok")


def test_values_are_rounded_as_training_rows_are(spark):
    tiny = {"user_ctr_28d": 0.12345649}
    found = compared(spark, [scored(1, 10, **tiny)], [trained(1, 10, user_ctr_28d=0.123456)], tolerance=0.0)
    assert found[D1, "user_ctr_28d"]["different"] == 0


def test_only_pairs_of_the_same_day_are_compared_a_range_as_its_days(spark):
    later = KNOWN + dt.timedelta(days=1)
    ranked = [*[scored(*p) for p in PAIRS], scored(1, 10, later), (later, 2, 11, None)]
    examples = [trained(1, 10), trained(3, 10), trained(1, 10, D2, user_clicks_1d=0.0), trained(2, 11, D2)]
    whole = compared(spark, ranked, examples, DayRange(D1, D2))
    assert {ds: r["n"] for (ds, _), r in whole.items()} == {D1: 1, D2: 1}
    assert {key for key, r in whole.items() if r["different"]} == {(D2, "user_clicks_1d")}
    single = compared(
        spark, [r for r in ranked if r[0] == later], [e for e in examples if e[0] == D2], DayRange.day(D2)
    )
    assert single == {key: r for key, r in whole.items() if key[0] == D2}


def test_a_table_that_was_built_again_since_says_nothing_of_the_code(spark):
    """What was scored at 100: user_activity was healed after it, user_profile only before; item_stats failed to be."""
    evening, before = KNOWN, KNOWN - dt.timedelta(days=3)
    runs = [
        ran("features.user_activity", evening, 50),
        ran("features.user_profile", evening, 60),
        ran("candidates.ranked", evening, 90),
        ran("candidates.ranked", evening, 100),
        ran("features.user_activity", evening, 200),
        ran("features.item_stats", evening, 210, "failed"),
        # other days: of features they do not matter; pairs are read over days
        ran("features.creator_stats", before, 220),
        ran("features.user_interests", evening + dt.timedelta(days=1), 220),
        ran("silver.user_item_daily", before, 230),
    ]
    names = ("user_clicks_7d", "profile_tenure_days", "item_targets_7d", "creator_items", "share_category")
    moved = (*names, "pair_strength")
    # values of the pairs are 11.25 to 13.25 and up, with a spread of 0.71: late rows move them all by a tenth
    examples = [trained(*p, **{f: p[0] + p[1] + FEATURES.index(f) + 0.35 for f in moved}) for p in PAIRS]
    found = compared(spark, [scored(*p) for p in PAIRS], examples, runs=runs)
    assert {f: r["verdict"] for (_, f), r in found.items() if r["different"]} == {
        "user_clicks_7d": "healed",
        "pair_strength": "healed",
        **dict.fromkeys(names[1:], "skew"),
    }
    # where nothing differs it is ok, healed or not
    row = found[D1, "user_ctr_28d"]
    assert (row["source"], row["healed"], row["verdict"]) == ("features.user_activity", True, "ok")


def test_late_rows_do_not_move_many_values_far(spark):
    """A tenth of the pairs may be far apart in a table that was healed; where more are, it is not late rows."""
    runs = [ran("candidates.ranked", KNOWN, 100), ran("features.user_activity", KNOWN, 200)]
    people = [(user, 10) for user in range(1, 41)]
    ranked = [scored(*p) for p in people]

    def verdict(far: int) -> tuple:
        # values go from 11.25 to 50.25; with four or five of 500 their spread is 150, and half of it less than 450
        examples = [trained(*p, **({"user_clicks_7d": 500.0} if p[0] <= far else {})) for p in people]
        row = compared(spark, ranked, examples, runs=runs)[D1, "user_clicks_7d"]
        return row["different"], row["far"], row["verdict"]

    assert verdict(4) == (4, 4, "healed") and verdict(5) == (5, 5, "skew")


def test_a_range_knows_what_was_healed_on_each_of_its_days(spark):
    later = KNOWN + dt.timedelta(days=1)
    runs = [ran("candidates.ranked", day, 100) for day in (KNOWN, later)]
    runs.append(ran("features.user_activity", later, 200))
    # of ten people one has moved
    ranked = [scored(user, 10, ds) for ds in (KNOWN, later) for user in range(1, 11)]
    changed = {"user_clicks_7d": -5.0}
    examples = [trained(u, 10, ds, **(changed if u == 1 else {})) for ds in (D1, D2) for u in range(1, 11)]
    whole = compared(spark, ranked, examples, DayRange(D1, D2), runs)
    assert {ds: r["verdict"] for (ds, f), r in whole.items() if f == "user_clicks_7d"} == {D1: "skew", D2: "healed"}
    for day in (D1, D2):
        single = compared(spark, ranked, examples, DayRange.day(day), runs)
        assert {key: r for key, r in single.items() if key[0] == day} == {
            key: r for key, r in whole.items() if key[0] == day
        }


def test_nothing_scored_makes_no_row(spark):
    assert compared(spark, [], [trained(1, 10)]) == {}


# -- what is kept when scoring -------------------------------------------------------------------


def test_the_values_are_those_of_the_batch_that_was_scored():
    assert doctest.testmod(scored_features).failed == 0
    columns = [
        pa.array([None if n == at else float(10 * at + n) for n in range(3)], pa.float32())
        for at in range(len(FEATURES))
    ]
    batch = pa.RecordBatch.from_arrays(columns, names=list(FEATURES))
    kept = scored_features.given(batch, pa.array([True, False, True])).to_pylist()
    assert kept[1] is None
    for n in (0, 2):
        assert {p["name"]: p["value"] for p in kept[n]} == {f: batch.column(f)[n].as_py() for f in FEATURES}
    none = scored_features.given(batch.slice(0, 0), pa.array([], pa.bool_()))
    assert len(none) == 0


def test_the_scorer_keeps_what_it_was_given_and_scores_as_before(tmp_path):
    shown = planted_examples(1)
    xgb.fit(shown, planted_examples(2), SMALL).save(tmp_path / "ranker")
    batch = shown.select(["user_id", "item_id", *FEATURES]).to_batches()[0].slice(0, 5)
    batch = batch.append_column("_sampled", pa.array([True, False, False, True, False]))
    (made,) = scorer(tmp_path / "ranker", ["user_id", "item_id", "_sampled"])(iter([batch]))
    kept = made["scored_features"].to_pylist()
    assert [row is not None for row in kept] == [True, False, False, True, False]
    assert {p["name"]: p["value"] for p in kept[3]} == {name: batch[name][3].as_py() for name in FEATURES}
    # made again from what was kept, the scores are the same
    again = pa.RecordBatch.from_pylist([{p["name"]: p["value"] for p in kept[3]}])
    alone = XgbRanker.load(tmp_path / "ranker").score(again)
    assert (made["pctr"][3].as_py(), made["relevance"][3].as_py()) == (alone["pctr"][0], alone["rank"][0])


def test_the_sample_is_a_fixed_share_of_users(spark):
    users = spark.range(20_000).withColumnRenamed("id", "user_id")
    kept = users.where(scored_features.is_sampled(0.02)).count()
    assert kept == pytest.approx(400, abs=80)
    assert users.where(scored_features.is_sampled(1.0)).count() == 20_000
