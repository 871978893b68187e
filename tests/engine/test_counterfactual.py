"""Counterfactual pairs: a planted model that follows a sensitive attribute is caught, a blind one passes."""

from __future__ import annotations

import datetime as dt

import pytest
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Node, NoParams, Table, TableInput
from jobs.settings import Market
from quality import counterfactual
from quality.counterfactual import STAGES, Params, changed, figures, narrowed, ordered, pairs, replay

D = dt.date(2024, 3, 2)
TODAY = DayRange.day(D)
PEOPLE = "ds date, user_id bigint, gender string"
CANDIDATES = "ds date, user_id bigint, item_id bigint, score double"
LISTS = "surface string, user_id bigint, placed array<struct<rank:int,item_id:bigint>>"
NUMBERS = (("item_id", "bigint", None), ("score", "double", 6))
USERS, ITEMS = range(40), range(10)


def stage(name, inputs, columns, build) -> Node:
    return Node(Table(name, "serving", "test", "Planted.", columns, ["user_id"], inputs), build, NoParams)


def chain(bias: float) -> list[Node]:
    """A ranker that adds ``bias`` to the odd items of women, and a reranker that takes its first five."""
    scored = [
        Column("user_id", "bigint", "-"),
        Column("item_id", "bigint", "-"),
        Column("score", "double", "-", digits=6),
    ]
    placed = "array<struct<rank:int,item_id:bigint>>"
    decided = [Column("surface", "string", "-"), Column("user_id", "bigint", "-"), Column("placed", placed, "-")]

    def rank(recall, people, *, days, params):
        favoured = (F.col("gender") == "f") & (F.col("item_id") % 2 == 1)
        known = recall.join(people.drop("ds"), "user_id", "left")
        return known.withColumn("score", F.col("score") + F.when(favoured, bias).otherwise(0.0))

    def rerank(ranked, *, days, params):
        best = F.slice(F.sort_array(F.collect_list(F.struct("score", "item_id")), asc=False), 1, 5)
        places = F.transform(best, lambda p, at: F.struct((at + 1).alias("rank"), p["item_id"].alias("item_id")))
        made = ranked.groupBy("ds", "user_id").agg(places.alias("placed"))
        return made.withColumn("surface", F.lit("feed"))

    people = TableInput("features.people")
    return [
        stage("candidates.ranked", [TableInput("candidates.recall"), people], scored, rank),
        stage("serving.decision_log", [TableInput("candidates.ranked")], decided, rerank),
    ]


def audited(spark, bias: float) -> dict:
    people = spark.createDataFrame([(D, u, "fm"[u % 2] if u else None) for u in USERS], PEOPLE)
    scores = [(D, u, i, float((u * 7 + i * 3) % 10)) for u in USERS for i in ITEMS]
    given = {"candidates_recall": spark.createDataFrame(scores, CANDIDATES), "features_people": people}
    stages, market = chain(bias), Market("test")
    theirs = {name: narrowed(frame, list(range(30))) for name, frame in given.items()}
    twins = {name: changed(frame, "gender", given[name]) for name, frame in theirs.items()}
    factual, others = (ordered(replay(stages, lists, TODAY, market)) for lists in (theirs, twins))
    compared = pairs(factual, others).withColumn("attribute", F.lit("gender"))
    (row,) = figures([r.asDict() for r in compared.collect()], Params())
    return row


def test_a_model_that_is_blind_to_the_attribute_passes(spark):
    row = audited(spark, bias=0.0)
    assert (row["pairs"], row["overlap"], row["displacement"], row["identical"]) == (30, 1.0, 0.0, 1.0)
    assert row["verdict"] == "ok"


def test_a_model_that_follows_the_attribute_is_caught(spark):
    row = audited(spark, bias=3.0)
    assert row["verdict"] == "different" and row["overlap"] < 0.9 and row["overlap_hi"] < 0.95
    assert row["displacement"] > 0.5
    # person 0 has no gender, which nothing changes
    assert row["identical"] >= 1 / 30


def test_people_get_the_next_of_all_values_and_nothing_else_changes(spark):
    frame = spark.createDataFrame([(D, 1, "a"), (D, 2, "b"), (D, 3, "c"), (D, 4, None), (D, 5, "a")], PEOPLE)
    drawn = narrowed(frame, [1, 2, 4])
    found = {r.user_id: r.gender for r in changed(drawn, "gender", frame).collect()}
    # c is nobody's among the drawn, and follows b all the same
    assert found == {1: "b", 2: "c", 4: None}
    assert changed(frame, "income_band", frame) is frame and changed("a path", "gender", frame) == "a path"


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


def test_few_pairs_say_nothing():
    pair = {"attribute": "gender", "surface": "feed", "overlap": 0.0, "displacement": 9.0, "identical": False}
    assert figures([pair] * 19, Params())[0]["verdict"] == "too small"
    assert figures([pair] * 20, Params())[0]["verdict"] == "different"


def test_the_chain_is_that_of_the_night():
    assert [node.name for node in STAGES] == ["candidates.fused", "candidates.ranked", "serving.decision_log"]
    inputs = {i.argument: i for i in counterfactual.CONTRACT.inputs}
    # its own lists of the day, and of the days before that the reranking reads
    assert inputs["serving_decision_log"].lag == 0 and inputs["serving_decision_log"].days > 1
    assert "candidates_recall" in inputs and "candidates_fused" not in inputs and "ranker" in inputs
