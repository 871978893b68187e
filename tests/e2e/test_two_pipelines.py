"""Two configurations of the pipeline, side by side in the same nights, held against each other."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import replace

import pytest
import yaml

from jobs import steps
from jobs.lake import Lake
from jobs.report import night_report, render_text
from jobs.session import connect
from jobs.settings import load_settings, market_file
from quality.experiments.design import design_of
from tests.e2e.conftest import FIRST, LAST_HISTORY, NEXT, NIGHT, environment, land

NEW = {
    "surfaces": {"feed": {"length": 10, "quotas": {"long_tail": 40}, "rules": {"mmr": {"relevance": 0.7}}}},
    "order_by": "fusion",
    "ranker": "challenger",
}
EXPERIMENT = {
    "layer": "lists",
    "buckets": [0, 10_000],
    "variants": {"control": 1, "new": 1},
    "pipeline": {"new": NEW},
    "starts": dt.date(2024, 3, 8),
    "ends": dt.date(2024, 3, 20),
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory, spark_server):
    """Two nights; before the second a challenger waits for its decision."""
    home, before = tmp_path_factory.mktemp("pipelines"), dict(os.environ)
    os.environ.update(environment(home))
    try:
        made = land(home)
        market = replace(made.market, experiments={"running": {"two": EXPERIMENT}})
        market_file("demo", home).write_text(yaml.safe_dump(market.to_mapping(), sort_keys=False))
        spark = connect(made)
        steps.build_days(FIRST, LAST_HISTORY, "demo", "history", spark)
        spark.stop()
        steps.night(NIGHT, "demo", "night-1")
        challenger = steps.fit_rankers(NIGHT, "demo", "challenger")
        assert challenger["passed"]
        steps.night(NEXT, "demo", "night-2")
        yield load_settings("demo")
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def arms(settings):
    design = design_of(settings.market)
    return lambda user: design.variant(design.running[0], user)


@pytest.mark.slow
def test_each_arm_has_its_own_rules_length_order_and_model(settings, arms):
    lake = Lake(settings)
    lists = lake.rows("serving.recommendations", ds=NEXT).to_pandas()
    lists["arm"] = lists["user_id"].map(arms)
    assert set(lists["arm"]) == {"control", "new"}
    assert (lists["context"].str.endswith("@two.new") == (lists["arm"] == "new")).all()
    sizes = lists.groupby(["arm", "user_id"]).size()
    assert set(sizes["control"]) == {20} and set(sizes["new"]) == {10}
    versions = lists.groupby("arm")["model_version"].agg(set)
    assert versions["control"] == {"nightjar_demo_ranker/1"} and versions["new"] == {"nightjar_demo_ranker/2"}
    assert (lists["violations"].map(len) == 0).all()
    pins = {(str(p["ds"]), p["role"]): p["version"] for p in lake.rows("ops.model_pin").to_pylist()}
    # in the first night there was no challenger that was not champion
    assert pins[NIGHT, "challenger"] == "" and pins[NEXT, "challenger"] == "2" and pins[NEXT, "ranker"] == "1"


@pytest.mark.slow
def test_each_arm_s_candidates_are_of_its_quotas(settings, arms):
    fused = Lake(settings).rows("candidates.fused", ds=NEXT).to_pandas()
    fused["arm"] = fused["user_id"].map(arms)
    # 40 places are sure for the long tail in the variant, 10 in control: what stands between tells them apart
    place = fused["sources"].map(lambda found: next((s["rank"] for s in found if s["channel"] == "long_tail"), 0))
    between = fused[(place > 10) & (place <= 40)].groupby("arm")["in_quota"].mean()
    assert between["new"] == 1 and between["control"] < 1


@pytest.mark.slow
def test_the_arms_are_held_against_each_other(settings):
    lake = Lake(settings)
    judged = lake.rows("audit.evaluation", ds=NEXT).to_pandas()
    served = judged[(judged["subject"] == "served") & (judged["horizon_days"] == 1) & (judged["metric"] == "ndcg")]
    n = served.set_index("group")["n"]
    assert set(n.index) == {"all", "two.control", "two.new"}
    assert n["all"] == n["two.control"] + n["two.new"]
    read = lake.rows("audit.experiment", ds=NEXT).to_pandas()
    everyone = read[(read["experiment"] == "two") & (read["segment_by"] == "all")]
    assert set(everyone["variant"]) == {"new"} and {"ctr", "conversion"} <= set(everyone["metric"])
    assert (everyone["n_control"] > 0).any() and (everyone["n"] > 0).any()
    said = render_text(night_report(settings, dt.date.fromisoformat(NEXT)))
    assert "served, two.new" in said and "two: new" in said
