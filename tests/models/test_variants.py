"""Two configurations of the pipeline in one night: whose lists are made how."""

from __future__ import annotations

import datetime as dt

import pytest
from pyspark.sql import functions as F

from jobs.contract import DayRange, NoParams, ddl
from jobs.errors import SettingsError
from jobs.ops import OBJECTIVE_WEIGHTS
from jobs.runner import conform
from jobs.settings import Market
from models import contexts, fused, ranked
from models.rankers import xgb
from models.ranking_features import inputs as feature_inputs
from models.variants import pipeline_of, pipelines, plans
from quality.experiments.design import design_of
from tests.models.planted import strengths

DS = "2024-03-10"
DAY = dt.date.fromisoformat(DS)
NEW = {
    "surfaces": {"feed": {"length": 7, "quotas": {"long_tail": 2}, "rules": {"mmr": None}}},
    "order_by": "pctr",
    "ranker": "challenger",
}
USUAL = {"feed": {"quotas": None, "contexts": {"commute": {"when": {"commute_share": {"min": 0.5}}, "length": 9}}}}


def experiment(pipeline, layer="lists", **more):
    made = {"layer": layer, "buckets": [0, 10_000], "variants": {"control": 1, "new": 1}, "pipeline": pipeline}
    return made | {"starts": "2024-03-11", "ends": "2024-03-20"} | more


def market(**running):
    return Market("demo", surfaces=USUAL, experiments={"running": running})


ONE = market(mixed=experiment({"new": NEW}))


def users(of=ONE, variant="new", number=3) -> list[int]:
    design = design_of(of)
    return [u for u in range(200) if design.variant(design.running[0], u) == variant][:number]


# -- configuration -------------------------------------------------------------------------------


def test_a_variant_is_laid_over_the_market():
    own, new = pipelines(ONE, DAY)
    assert (own.key, own.order_by, own.ranker) == ("", None, "champion")
    assert (new.key, new.order_by, new.ranker) == ("mixed.new", "pctr", "challenger")
    assert own.surfaces["feed"].length == 20 and new.surfaces["feed"].length == 7
    assert "mmr" in own.surfaces["feed"].rules and "mmr" not in new.surfaces["feed"].rules
    assert "distance" in new.surfaces["feed"].rules
    found = plans(ONE, DAY)
    # a context's own options still win
    lengths = [found["feed", name].length for name in ("usual", "usual@mixed.new", "commute", "commute@mixed.new")]
    assert lengths == [20, 7, 9, 9]


def test_lists_of_a_night_belong_to_the_experiments_of_the_day_on_which_they_are_shown():
    """It runs from the 11th to the 20th: the first lists are those of the 10th, the last those of the 19th."""
    days = [dt.date(2024, 3, n) for n in (9, 10, 19, 20)]
    assert [len(pipelines(ONE, day)) for day in days] == [1, 2, 2, 1]


def test_experiments_of_two_layers_meet():
    both = market(mixed=experiment({"new": NEW}), short=experiment({"new": {"order_by": "fusion"}}, layer="order"))
    assert [(p.key, p.order_by) for p in pipelines(both, DAY)] == [
        ("", None),
        ("short.new", "fusion"),
        ("mixed.new", "pctr"),
        ("mixed.new+short.new", "fusion"),
    ]


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        ({"old": {}}, "experiment mixed: pipeline is .*variants of the experiment"),
        ({"new": 3}, "experiment mixed: pipeline is"),
        ({"new": {"speed": 1}}, "mixed, new: a pipeline has no option 'speed'"),
        ({"new": {"order_by": "gmv"}}, "mixed, new: order_by is 'gmv', but must be one of"),
        ({"new": {"ranker": "9"}}, "mixed, new: ranker is '9'"),
        ({"new": {"surfaces": ["feed"]}}, "mixed, new: surfaces maps surfaces"),
        ({"new": {"surfaces": {"feed": {"length": 0}}}}, "Surface feed: length is a whole number"),
        ({"new": {"surfaces": {"home": {"length": 3}}}}, "a variant changes surfaces, it neither adds nor removes"),
    ],
)
def test_what_does_not_fit_is_named(pipeline, message):
    with pytest.raises(SettingsError, match=message):
        pipelines(market(mixed=experiment(pipeline)), DAY)


def test_spark_and_python_agree_on_who_has_which_pipeline(spark):
    both = market(mixed=experiment({"new": NEW}), short=experiment({"new": {"order_by": "fusion"}}, layer="order"))
    design = design_of(both)
    found = {
        r["id"]: r["key"] for r in spark.range(300).withColumn("key", pipeline_of(both, DAY, F.col("id"))).collect()
    }
    for user, key in found.items():
        changed = [f"{e.name}.new" for e in design.running if design.variant(e, user) == "new"]
        assert key == "+".join(changed)
    assert set(found.values()) == {p.key for p in pipelines(both, DAY)}


# -- one night, two pipelines --------------------------------------------------------------------


def test_contexts_carry_the_variant(tables):
    mine, theirs = users()[0], users(variant="control")[0]
    requests = [
        {"request_id": f"{u}-{n}", "user_id": u, "is_commute": u == mine, "is_fast_swiping": False}
        for u in (mine, theirs)
        for n in range(3)
    ]
    made = contexts.build(
        tables("features.user_activity", [{"user_id": u} for u in (mine, theirs, users()[1])], DS),
        tables("features.user_profile", [], DS),
        tables("features.user_context", [], DS),
        tables("features.request_context", requests, DS),
        tables("silver.campaigns", [], DS),
        days=DayRange.day(DS),
        params=NoParams(),
        market=ONE,
    )
    found = {r["user_id"]: r["context"] for r in conform(contexts.CONTRACT, made).collect()}
    assert found == {mine: "commute@mixed.new", theirs: "usual", users()[1]: "usual@mixed.new"}


def test_candidates_are_chosen_by_the_variant_s_quotas(tables):
    mine, theirs = users()[0], users(variant="control")[0]
    found = [
        {"user_id": u, "channel": channel, "item_id": item, "rank": n, "score": 1.0}
        for u in (mine, theirs)
        for channel, items in (("item_cf", range(1, 9)), ("long_tail", range(21, 24)))
        for n, item in enumerate(items, 1)
    ]
    named = {mine: "usual@mixed.new", theirs: "usual"}
    made = fused.build(
        tables("candidates.recall", found, DS),
        tables("candidates.contexts", [{"surface": "feed", "user_id": u, "context": c} for u, c in named.items()], DS),
        tables("silver.user_item_daily", [], DS),
        tables("silver.events", [], DS),
        tables("silver.items", [], DS),
        tables("features.user_profile", [], DS),
        tables("features.badcases", [], DS),
        days=DayRange.day(DS),
        params=fused.Params(budget=5),
        market=ONE,
    )
    rows = conform(fused.CONTRACT, made).collect()
    by_user = {u: sorted(r["item_id"] for r in rows if r["user_id"] == u) for u in (mine, theirs)}
    # 2 of 5 places are sure for the long tail in the variant, which weighs less than item_cf
    assert by_user == {mine: [1, 2, 3, 21, 22], theirs: [1, 2, 3, 4, 5]}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A champion and a challenger that judge alike, on other data."""
    folders = {}
    for name, seed in (("champion", 1), ("challenger", 2)):
        folders[name] = tmp_path_factory.mktemp("models") / name
        params = xgb.Params(trees=4, depth=2, threads=1)
        xgb.fit(strengths(seed), strengths(seed + 10), params).save(folders[name])
        (folders[name] / "VERSION").write_text(f"m/{name}")
    return folders


@pytest.mark.parametrize("challenger", [True, False])
def test_a_variant_is_scored_by_its_model_and_ordered_its_way(spark, tables, models, challenger):
    mine, theirs = users()[0], users(variant="control")[0]
    candidates = [
        {"user_id": u, "item_id": i, "rank": i, "score": 1 / i, "channel": "popular", "channels": ["popular"]}
        for u in (mine, theirs)
        for i in (1, 2)
    ]
    made = ranked.build(
        tables("candidates.fused", candidates, DS),
        models["champion"],
        models["challenger"] if challenger else None,
        tables("features.user_sequence", [], DS),
        tables("silver.items", [], DS),
        spark.createDataFrame([], ddl(OBJECTIVE_WEIGHTS.schema)),
        days=DayRange.day(DS),
        params=ranked.Params(),
        market=ONE,
        **{each.argument: tables(each.table, [], DS) for each in feature_inputs()},
    )
    rows = [r.asDict() for r in conform(ranked.CONTRACT, made).collect()]
    assert len(rows) == 4
    for row in rows:
        own = row["user_id"] == mine
        assert row["model_version"] == ("m/challenger" if own and challenger else "m/champion")
        # the variant orders by pCTR, the market by LambdaMART
        assert row["score"] == pytest.approx(row["pctr" if own else "relevance"], abs=1e-6)
