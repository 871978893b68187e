"""The figures of ``python -m bench evidence``, by hand."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from bench import evidence
from jobs.catalog import discover
from jobs.lake import Lake
from jobs.settings import Market, Settings
from models import registry
from models.evaluation import mean_of
from models.ranking_features import FEATURES
from models.training import Data
from tests.models.planted import strengths

SHOWN = dt.date(2024, 3, 10)


def test_every_feature_is_of_one_group():
    names = [name for columns in evidence.feature_groups().values() for name in columns]
    assert sorted(names) == sorted(FEATURES) and len(set(names)) == len(names)


def test_item_cf_counts_what_others_took_together(tmp_path):
    settings = Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("demo"))
    contract = discover().table("silver.user_item_daily")
    # users 1 and 2 took items 1 and 2; user 3 took item 1; what happens on the day itself is not known yet
    took = [(9, 1, 1), (9, 1, 2), (8, 2, 1), (8, 2, 2), (9, 3, 1), (10, 3, 3)]
    rows = [
        {"ds": dt.date(2024, 3, day), "user_id": user, "item_id": item, "strength": 1.0} for day, user, item in took
    ]
    Lake(settings).append(contract, rows)
    held = pa.table({"shown_ds": pa.array([SHOWN] * 3), "user_id": [3, 3, 3], "item_id": [1, 2, 3]})
    # cosine of items 1 and 2: 2 common takers of 3 and 2; an own item does not speak for itself
    np.testing.assert_allclose(evidence.item_cf(settings, held), [0, 2 / np.sqrt(6), 0])


@pytest.fixture(scope="module")
def data():
    return Data(*(strengths(seed, 1500) for seed in (1, 2, 3)), versions={})


def test_a_ranker_is_judged_in_every_order_and_logged(data, home):
    rows = list(evidence.ranked("xgb", data))
    found = {row["subject"]: row["figures"] for row in rows}
    assert set(found) == {"xgb by rank", "xgb by pctr", "xgb by fusion", "xgb"}
    for figures in (found["xgb by rank"], found["xgb by pctr"]):
        # strength decides: far above chance, and the interval holds the value
        assert figures["auc_of_pctr"].lo > 0.8
        assert all(f.lo <= f.value <= f.hi for f in figures.values())
    settings = Settings(home, home / "lake", home / "landing", Market("demo"))
    evidence._log(settings, "xgb", "a look", rows)
    api = registry.client(settings)
    (run,) = api.search_runs([api.get_experiment_by_name("demo/evidence").experiment_id])
    assert run.data.metrics["xgb by rank.ndcg_at_10"] == found["xgb by rank"]["ndcg@10"].value
    assert "evidence.json" in {f.path for f in api.list_artifacts(run.info.run_id)}


def test_what_is_left_out_is_missed(data):
    groups, few = evidence.feature_groups(), {"trees": 10, "min_conversions": 10**9}
    whole = evidence._ndcg(data, few)
    lost = {name: evidence._ndcg(evidence._without(data, groups[name]), few) for name in ("pair", "user_activity")}
    # the planted truth is the strength of the pair; of the user's features nothing depends
    assert mean_of(lost["pair"] - whole).hi < -0.1
    assert abs(mean_of(lost["user_activity"] - whole).value) < 0.02
