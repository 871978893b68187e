"""Counterfactual pairs: a planted model that follows a sensitive attribute is caught, a blind one passes."""

from __future__ import annotations

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Node, NoParams, Table, TableInput
from jobs.errors import ContractError
from jobs.session import connect
from jobs.settings import Market
from models import eligibility
from quality import counterfactual
from quality.counterfactual import STAGES, Params, changed, figures, ordered, pairs, sample

D = dt.date(2024, 3, 2)
TODAY = DayRange.day(D)
PEOPLE = "ds date, user_id bigint, gender string, region string, income_band string, city_tier int"
CANDIDATES = "ds date, user_id bigint, item_id bigint, score double"
LISTS = "surface string, user_id bigint, placed array<struct<rank:int,item_id:bigint>>"
RESTRICTABLE = "ds date, item_id bigint, regions string, age_limit int"
USERS, ITEMS = range(90), range(12)


def stage(name, inputs, columns, build) -> Node:
    return Node(Table(name, "serving", "test", "Planted.", columns, ["user_id"], inputs), build, NoParams)


def chain(bias: float, follows: str = "gender = 'f'") -> list[Node]:
    """A ranker that adds ``bias`` to the odd items of whom it ``follows``, and a reranker that takes its first five.

    As law has it, item 11 is for the north alone, and stands first there.
    """
    scored = [
        Column("user_id", "bigint", "-"),
        Column("item_id", "bigint", "-"),
        Column("score", "double", "-", digits=6),
    ]
    placed = "array<struct<rank:int,item_id:bigint>>"
    decided = [Column("surface", "string", "-"), Column("user_id", "bigint", "-"), Column("placed", placed, "-")]

    def rank(recall, user_profile, items, *, days, params):
        favoured = F.expr(follows) & (F.col("item_id") % 2 == 1)
        known = recall.join(user_profile.drop("ds"), "user_id", "left").join(items.drop("ds"), "item_id")
        return known.where("regions IS NULL OR regions = region").withColumn(
            "score", F.col("score") + F.when(favoured, bias).otherwise(0.0)
        )

    def rerank(ranked, *, days, params):
        best = F.slice(F.sort_array(F.collect_list(F.struct("score", "item_id")), asc=False), 1, 5)
        places = F.transform(best, lambda p, at: F.struct((at + 1).alias("rank"), p["item_id"].alias("item_id")))
        made = ranked.groupBy("ds", "user_id").agg(places.alias("placed"))
        return made.withColumn("surface", F.lit("feed"))

    known = [TableInput("features.user_profile"), TableInput("silver.items")]
    return [
        stage("candidates.ranked", [TableInput("candidates.recall"), *known], scored, rank),
        stage("serving.decision_log", [TableInput("candidates.ranked")], decided, rerank),
    ]


def world(spark) -> dict:
    """Ninety people with a list: nobody tells an income, person 0 no gender, 1 no region, and all live in one tier."""
    people = [
        (D, u, "fm"[u % 2] if u else None, ["north", "south"][u // 2 % 2] if u != 1 else None, None, 1) for u in USERS
    ]
    scores = [(D, u, i, 99.0 if i == 11 else float((u * 7 + i * 3) % 10)) for u in USERS for i in ITEMS]
    lists = [(D, "feed", u) for u in USERS]
    return {
        "candidates_recall": spark.createDataFrame(scores, CANDIDATES),
        "features_user_profile": spark.createDataFrame(people, PEOPLE),
        "silver_items": spark.createDataFrame(
            [(D, i, "north" if i == 11 else None, None) for i in ITEMS], RESTRICTABLE
        ),
        "serving_decision_log": spark.createDataFrame(lists, "ds date, surface string, user_id bigint"),
    }


def audited(spark, monkeypatch, stages: list[Node], groups=("gender",), **options):
    """Rows of the audit's own build, by attribute."""
    monkeypatch.setattr(counterfactual, "STAGES", stages)
    made = counterfactual.build(
        days=TODAY, params=Params(**options), market=Market("test", groups=groups), **world(spark)
    )
    return {row.attribute: row for row in made.collect()}


def test_a_model_that_is_blind_to_the_attribute_passes(spark, monkeypatch):
    row = audited(spark, monkeypatch, chain(bias=0.0))["gender"]
    assert (row.pairs, row.overlap, row.displacement, row.identical) == (50, 1.0, 0.0, 1.0)
    assert (row.surface, row.verdict) == ("feed", "ok")


def test_a_model_that_follows_one_attribute_is_caught_in_that_one_alone(spark, monkeypatch):
    groups = ("gender", "region", "income_band", "city_tier")
    found = audited(spark, monkeypatch, chain(bias=3.0, follows="region = 'south'"), groups)
    assert set(found) == {"gender", "region", "income_band", "city_tier"}
    caught, blind = found["region"], found["gender"]
    assert caught.verdict == "different" and caught.overlap < 0.9 and caught.overlap_hi < 0.95
    assert caught.displacement > 0.5 and caught.identical < 0.5 and caught.pairs >= 20
    # item 11, which law keeps to the north, is in neither list: else it alone would be one of five items
    assert (blind.verdict, blind.overlap) == ("ok", 1.0) and blind.pairs >= 20
    # nobody's income is known, and nobody's tier can be another: nothing was tested, and nothing is said
    for untested in (found["income_band"], found["city_tier"]):
        assert (untested.verdict, untested.pairs, untested.surface, untested.overlap) == ("not known", 0, "", None)


def test_what_law_keeps_to_a_region_is_no_difference(spark, monkeypatch):
    row = audited(spark, monkeypatch, chain(bias=0.0), attributes=("region",))["region"]
    assert (row.pairs, row.overlap, row.verdict) == (50, 1.0, "ok")


def test_an_attribute_that_there_is_not_is_an_error_and_a_market_without_groups_has_no_rows(spark, monkeypatch):
    with pytest.raises(ContractError, match="no columns \\['gendr'\\]; name some of"):
        audited(spark, monkeypatch, chain(0.0), attributes=("gendr",))
    assert audited(spark, monkeypatch, chain(0.0), groups=()) == {}


def test_everybody_is_drawn_for_one_attribute_that_is_known_of_them(spark):
    given = world(spark)
    people, lists = given["features_user_profile"], given["serving_decision_log"]
    drawn = sample(lists, people, ("gender", "region", "income_band", "city_tier"), 20)
    assert len({row["user_id"] for row in drawn}) == len(drawn)
    # some have none to be changed: they were allotted to the tier, which has one value
    assert {row["attribute"] for row in drawn} == {"gender", "region"} and len(drawn) <= 40
    was = {row.user_id: row for row in people.collect()}
    for row in drawn:
        assert was[row["user_id"]][row["attribute"]] not in (None, row["becomes"])
    everybody = sample(lists, people, ("gender",), 99)
    assert [row["user_id"] for row in everybody] == list(USERS)[1:]


def test_people_get_the_next_of_all_values_and_nothing_else_changes(spark):
    rows = [
        (D, 1, "a", "x", None, 1),
        (D, 2, "b", "x", None, 2),
        (D, 3, "c", "y", None, 10),
        (D, 4, None, "x", None, 1),
    ]
    frame = spark.createDataFrame(rows, PEOPLE)
    drawn = sample(frame, frame, ("gender",), 9)
    assert [(r["user_id"], r["becomes"]) for r in drawn] == [(1, "b"), (2, "c"), (3, "a")]
    tiers = [{"user_id": 4, "attribute": "city_tier", "becomes": "10", "also": {}}]
    found = {r.user_id: tuple(r)[2:] for r in changed(frame, drawn[:2] + tiers).collect()}
    assert found == {
        1: ("b", "x", None, 1),
        2: ("c", "x", None, 2),
        3: ("c", "y", None, 10),
        4: (None, "x", None, 10),
    }
    assert changed(frame.select("user_id"), drawn).columns == ["user_id"] and changed("a path", drawn) == "a path"


def test_an_age_changes_with_its_band(spark):
    """As people's ages are known and as rules of law read them (the age before the band)."""
    schema = "ds date, user_id bigint, region string, age_band string, age_years int, is_new boolean, tenure_days int"
    rows = [
        (D, 1, "north", "18_24", 19, True, 2),
        (D, 2, "north", "25_34", 33, False, 40),
        (D, 3, "north", "25_34", 27, False, 9),
        # the year of birth is not known, so it is not made up
        (D, 4, "north", "18_24", None, True, 3),
        (D, 5, "north", "25_34", 30, False, 50),
    ]
    frame = spark.createDataFrame(rows, schema)
    drawn = {row["user_id"]: row for row in sample(frame, frame, ("age_band",), 9)}
    # the youngest of 33, 27 and 30; the only known one of 18_24
    assert drawn[1] == {"user_id": 1, "attribute": "age_band", "becomes": "25_34", "also": {"age_years": "27"}}
    assert drawn[2]["also"] == {"age_years": "19"}
    twins = changed(frame, [drawn[n] for n in (1, 2, 4)])
    found = {r.user_id: (r.age_band, r.age_years) for r in twins.collect()}
    assert found == {
        1: ("25_34", 27),
        2: ("18_24", 19),
        3: ("25_34", 27),
        4: ("25_34", None),
        5: ("25_34", 30),
    }
    assert {r.user_id: r.least_age for r in eligibility.people(twins).collect()} == {1: 27, 2: 19, 3: 27, 4: 25, 5: 30}
    # who is new and for how long: 2 days is the least of the new
    ten = {row["user_id"]: row for row in sample(frame, frame, ("is_new",), 9)}
    assert {r.user_id: (r.is_new, r.tenure_days) for r in changed(frame, [ten[1], ten[2]]).collect()} == {
        1: (False, 9),
        2: (True, 2),
        3: (False, 9),
        4: (True, 3),
        5: (False, 50),
    }


def test_overlap_and_displacement_by_hand(spark):
    def lists(*rows):
        made = [("feed", u, [(rank, item) for rank, item in enumerate(items, 1)]) for u, items in rows]
        return ordered(spark.createDataFrame(made, LISTS))

    factual = lists((1, [10, 11, 12]), (2, [10, 11, 12]), (3, [10, 11, 12]))
    other = lists((1, [11, 10, 13]), (2, [10, 11, 12]))
    found = {r.user_id: r for r in pairs(factual, other).collect()}
    # 10 and 11 change places, 12 moves behind the end: (1 + 1 + 1) / 3
    assert (found[1].overlap, found[1].displacement) == (pytest.approx(2 / 3), 1.0)
    assert (found[2].overlap, found[2].displacement, found[2].identical) == (1.0, 0.0, True)
    # person 3 lost the list: every item moves to place 1
    assert (found[3].overlap, found[3].displacement) == (0.0, 1.0)


def test_what_a_pool_s_thread_keeps_belongs_to_its_frame_s_session(spark, settings):
    """The process's first session is another one."""
    own = connect(settings)
    frame = own.range(3)
    with ThreadPoolExecutor(1) as pool:
        kept = pool.submit(counterfactual.held, frame).result()
    assert kept.join(frame, "id").count() == 3
    own.stop()


def test_few_pairs_say_nothing():
    pair = {"attribute": "gender", "surface": "feed", "overlap": 0.0, "displacement": 9.0, "identical": False}
    assert figures(["gender"], [pair] * 19, Params())[0]["verdict"] == "too small"
    assert figures(["gender"], [pair] * 20, Params())[0]["verdict"] == "different"


def test_the_chain_is_that_of_the_night():
    assert [node.name for node in STAGES] == ["candidates.fused", "candidates.ranked", "serving.decision_log"]
    inputs = {i.argument: i for i in counterfactual.CONTRACT.inputs}
    # its own lists of the day, and of the days before that the reranking reads
    assert inputs["serving_decision_log"].lag == 0 and inputs["serving_decision_log"].days > 1
    assert "candidates_recall" in inputs and "candidates_fused" not in inputs and "ranker" in inputs
