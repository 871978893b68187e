from __future__ import annotations

import pytest

from jobs.contract import DayRange
from jobs.runner import conform
from jobs.settings import Market
from models.fallback import CONTRACT, Params, build

DS = "2024-03-10"
STATS = "ds date, item_id bigint, is_eligible boolean, target_users_7d int, target_users_28d int"
ITEMS = "ds date, item_id bigint, category string, regions string, age_limit int"
PROFILE = "ds date, user_id bigint, region string"
BADCASES = "ds date, user_id bigint, item_id bigint, stops boolean"
PAIRS = "ds date, user_id bigint, item_id bigint, targets int"


def literal(spark, schema, rows):
    typed = spark.createDataFrame(list(rows), schema.replace("ds date", "ds string"))
    return typed.withColumn("ds", typed["ds"].cast("date"))


@pytest.fixture(scope="module")
def both(spark):
    """Items 1 to 5 with ever fewer takers, 9 not eligible; the north likes 4, the south is too small.

    Item 6 is for the south, 7 for adults, 4 for the north and the south: the north alone may be shown it.
    """
    stats = [
        (DS, 1, True, 50, 60),
        (DS, 2, True, 40, 40),
        (DS, 3, True, 40, 41),
        (DS, 4, True, 2, 3),
        (DS, 5, True, 0, 0),
        (DS, 6, True, 90, 90),
        (DS, 7, True, 80, 80),
        (DS, 8, True, 2, 3),
        (DS, 9, False, 99, 99),
        (DS, 10, True, 95, 95),
    ]
    # a bad case keeps 10 from everyone; 1 from one person only; of 3 it is told and not acted on
    stopped = [("2024-03-05", None, 10, True), (DS, 1, 1, True), (DS, None, 3, False)]
    free = [(DS, i, c, None, None) for i, c in ((1, "a"), (2, "a"), (3, "a"), (5, "c"), (8, "b"), (9, "d"), (10, "d"))]
    items = [*free, (DS, 4, "b", "north|south", None), (DS, 6, "b", "south", None), (DS, 7, "c", None, 18)]
    people = [(DS, u, "north") for u in (1, 2, 3)] + [(DS, 4, "south"), (DS, 5, None)]
    liked = [
        (DS, 1, 4, 1),
        (DS, 2, 4, 1),
        ("2024-03-09", 2, 4, 3),
        (DS, 3, 1, 1),
        (DS, 3, 2, 0),
        (DS, 1, 9, 1),
        (DS, 4, 5, 1),
        (DS, 5, 5, 1),
        (DS, 1, 6, 1),
        (DS, 1, 7, 1),
        (DS, 1, 10, 1),
    ]
    made = build(
        literal(spark, STATS, stats),
        literal(spark, ITEMS, items),
        literal(spark, PROFILE, people),
        literal(spark, PAIRS, liked),
        literal(spark, BADCASES, stopped),
        days=DayRange.day(DS),
        params=Params(min_region_users=3),
        market=Market(
            "demo",
            surfaces={
                "feed": {"length": 4, "rules": {"category_share": {"share": 0.5, "ceiling": 0.5}}},
                # the last place for ads is behind the list
                "page": {"length": 4, "ad_slots": [1, 3, 9], "rules": {"category_share": {"share": 0.25}}},
            },
        ),
    )
    found: dict[str, dict[str, list]] = {"feed": {}, "page": {}}
    for row in conform(CONTRACT, made).orderBy("surface", "segment", "rank").collect():
        found[row["surface"]].setdefault(row["segment"], []).append(row.asDict(recursive=True))
    return found


@pytest.fixture(scope="module")
def lists(both):
    return both["feed"]


def test_ranks_that_are_kept_for_ads_stay_free_and_spare_items_follow_the_list(both):
    # one of a category at most: 1 of a (50.06), 8 of b (2.003), 5 of c (0)
    assert [(r["item_id"], r["rank"], r["spare"]) for r in both["page"]["everyone"]] == [
        (1, 2, False),
        (8, 4, False),
        (5, 5, True),
    ]
    assert [(r["item_id"], r["rank"], r["spare"]) for r in both["page"]["region=north"]] == [
        (4, 2, False),
        (1, 4, False),
    ]
    assert not any(r["spare"] for of in both["feed"].values() for r in of)


def test_everyone_gets_the_most_liked_eligible_items_with_a_cap_by_category(lists):
    # 1 (50.06), 3 (40.041), 2 (40.040) is the third of category a where two are allowed
    assert [(r["rank"], r["item_id"], r["score"]) for r in lists["everyone"]] == [
        (1, 1, 50.06),
        (2, 3, 40.041),
        (3, 8, 2.003),
        (4, 5, 0.0),
    ]


def test_a_region_counts_its_own_people_once_each(lists):
    # item 4: users 1 and 2, who liked it on two days; item 1: user 3
    assert [(r["item_id"], r["score"]) for r in lists["region=north"]] == [(4, 2.003), (1, 1.06)]


def test_a_region_with_few_active_users_or_none_named_has_no_list(lists):
    assert set(lists) == {"everyone", "region=north"}


def test_the_reason_tells_the_people_of_the_segment(lists):
    assert lists["region=north"][0]["reasons"] == [
        {"kind": "basic", "code": "popular", "text": "Liked by 2 people this week", "evidence": '{"people_7d":2}'}
    ]
    assert {r["detail"] for r in lists["region=north"]} == {
        "2 different people liked it in the last 7 days",
        "1 different people liked it in the last 7 days",
    }


def test_of_what_nobody_liked_nothing_is_claimed(lists):
    # user 3 liked item 1, users 4 and 5 liked item 5
    codes = {r["item_id"]: r["reasons"][0]["code"] for r in lists["everyone"]}
    assert codes == {1: "popular", 3: "suggested", 8: "suggested", 5: "popular"}


def test_what_a_bad_case_stops_for_everyone_is_in_no_list(lists):
    # 10 is eligible and liked more than any other, in the north as well
    assert 10 not in {r["item_id"] for of in lists.values() for r in of}
