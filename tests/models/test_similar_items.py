from __future__ import annotations

import numpy as np
import pytest

from jobs.contract import DayRange
from jobs.errors import ContractError
from jobs.runner import conform
from models.ann import IndexParams, build_index
from models.similar_items import CONTRACT, Params, build

DS = "2024-03-10"
NEIGHBOURS = "ds date, item_id bigint, neighbour_id bigint, similarity double"
STATS = "ds date, item_id bigint, is_eligible boolean, quality double"
ITEMS = "ds date, item_id bigint, regions string, age_limit int"
BADCASES = "ds date, user_id bigint, item_id bigint, stops boolean"
CONTENT = "ds date, item_id bigint, vector array<float>"
# angles in degrees: 1 and 2 and 3 close together, 5 apart, 4 between but not eligible
ANGLES = {1: 0, 2: 10, 3: 20, 4: 5, 5: 90}
VECTORS = {i: [float(np.cos(np.radians(a))), float(np.sin(np.radians(a)))] for i, a in ANGLES.items()}


def literal(spark, schema, rows):
    typed = spark.createDataFrame(list(rows), schema.replace("ds date", "ds string"))
    return typed.withColumn("ds", typed["ds"].cast("date"))


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    build_index(np.array(list(VECTORS)), np.array(list(VECTORS.values()), np.float32), folder, IndexParams())
    return folder


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """The index of a day without content."""
    folder = tmp_path_factory.mktemp("empty")
    build_index(np.zeros(0, np.int64), np.zeros((0, 0), np.float32), folder, IndexParams())
    return folder


def pages(spark, folder, near, stats, content=(), items=(), badcases=(), **options):
    """What `build` makes of neighbours, stats and what else is said."""
    given = ((NEIGHBOURS, near), (STATS, stats), (CONTENT, content), (ITEMS, items), (BADCASES, badcases))
    frames = [literal(spark, schema, rows) for schema, rows in given]
    return build(*frames, folder, days=DayRange.day(DS), params=Params(**options))


@pytest.fixture(scope="module")
def lists(spark, index):
    made = pages(
        spark,
        index,
        [(DS, 1, 5, 0.1), (DS, 1, 3, 0.3), (DS, 1, 4, 0.9), (DS, 4, 1, 0.9)],
        [(DS, i, i != 4, None) for i in VECTORS],
        content=[(DS, i, v) for i, v in VECTORS.items()],
        length=3,
    )
    found: dict[int, list] = {}
    for row in conform(CONTRACT, made).orderBy("item_id", "rank").collect():
        found.setdefault(row["item_id"], []).append(row)
    return found


def test_neighbours_of_users_come_before_neighbours_by_content(lists):
    assert [(r["rank"], r["similar_item_id"], r["source"]) for r in lists[1]] == [
        (1, 3, "together"),
        (2, 5, "together"),
        (3, 2, "content"),
    ]


def test_an_item_that_nobody_touched_has_neighbours_by_content_nearest_first(lists):
    # 5 is at 90 degrees: 3 (70 away), 2 (80), 1 (90)
    assert [r["similar_item_id"] for r in lists[5]] == [3, 2, 1]
    assert [r["score"] for r in lists[5]] == pytest.approx([np.cos(np.radians(a)) for a in (70, 80, 90)], abs=1e-4)


def test_neither_a_page_nor_a_neighbour_is_an_item_that_cannot_be_had(lists):
    assert set(lists) == {1, 2, 3, 5}
    assert not [r for of in lists.values() for r in of if r["similar_item_id"] == 4]


def test_no_item_is_its_own_neighbour_nor_another_s_twice(lists):
    for item, of in lists.items():
        others = [r["similar_item_id"] for r in of]
        assert item not in others
        assert len(set(others)) == len(others) <= 3


def test_a_day_without_content_has_the_neighbours_of_users(spark, empty):
    made = pages(spark, empty, [(DS, 1, 3, 0.3)], [(DS, 1, True, None), (DS, 3, True, None)])
    assert [(r["item_id"], r["similar_item_id"]) for r in made.collect()] == [(1, 3)]


def test_a_restricted_item_stands_on_pages_of_the_same_restriction_only(spark, empty):
    near = [(DS, 1, 3, 0.3), (DS, 2, 3, 0.3), (DS, 3, 1, 0.3), (DS, 3, 2, 0.2), (DS, 5, 3, 0.1)]
    items = [(DS, 1, None, None), (DS, 2, "north", None), (DS, 3, "north", None), (DS, 5, "north", 18)]
    made = pages(spark, empty, near, [(DS, i, True, None) for i in (1, 2, 3, 5)], items=items)
    assert sorted((r["item_id"], r["similar_item_id"]) for r in made.collect()) == [(2, 3), (3, 1), (3, 2)]


def test_what_a_bad_case_stops_for_everyone_stands_on_no_page(spark, empty):
    # 2 is stopped for one person, whose list this is not
    made = pages(
        spark,
        empty,
        [(DS, 1, 3, 0.3), (DS, 1, 2, 0.2), (DS, 3, 1, 0.3)],
        [(DS, i, True, None) for i in (1, 2, 3)],
        badcases=[("2024-03-05", None, 3, True), (DS, 7, 2, True)],
    )
    # who opens the page of 3 all the same finds others on it
    assert sorted((r["item_id"], r["similar_item_id"]) for r in made.collect()) == [(1, 2), (3, 1)]


def test_nothing_below_the_floor_of_quality_stands_on_a_page(spark, empty):
    made = pages(
        spark,
        empty,
        [(DS, 1, 3, 0.3), (DS, 1, 2, 0.2), (DS, 3, 1, 0.3)],
        [(DS, 1, True, 0.2), (DS, 2, True, None), (DS, 3, True, 0.19)],
    )
    # 3 is below 0.2, and its own page has what goes with it all the same; of 2 nothing is known
    assert sorted((r["item_id"], r["similar_item_id"]) for r in made.collect()) == [(1, 2), (3, 1)]


def test_content_that_the_index_was_not_fitted_on_is_refused(spark, index):
    # as many dimensions, and other vectors: built again after the index, which would find wrong neighbours
    turned = {i: [v[1], v[0]] for i, v in VECTORS.items()}
    fewer = {i: v for i, v in VECTORS.items() if i != 5}
    for vectors in (turned, fewer):
        with pytest.raises(ContractError, match="build it again from them"):
            pages(
                spark,
                index,
                [],
                [(DS, i, True, None) for i in VECTORS],
                content=[(DS, i, v) for i, v in vectors.items()],
            )
