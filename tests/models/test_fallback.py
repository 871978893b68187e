from __future__ import annotations

import pytest

from jobs.contract import DayRange
from jobs.runner import conform
from jobs.settings import Market
from models.constraints import with_violations_of_segments
from models.fallback import CONTRACT, Params, build
from models.surfaces import surfaces

DS = "2024-03-10"
STATS = "ds date, item_id bigint, is_eligible boolean, target_users_7d int, target_users_28d int, quality double"
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
        literal(spark, STATS, [(*row, None) for row in stats]),
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
    # the north likes 4 of b (2.003) and 1 of a (1.06); of everyone's 1, 8 and 5 only c has nothing in it yet
    assert [(r["item_id"], r["rank"], r["spare"]) for r in both["page"]["region=north"]] == [
        (4, 2, False),
        (1, 4, False),
        (5, 5, True),
    ]
    assert [r["item_id"] for of in both["feed"].values() for r in of if r["spare"]] == [5]


def test_everyone_gets_the_most_liked_eligible_items_with_a_cap_by_category(lists):
    # 1 (50.06), 3 (40.041), 2 (40.040) is the third of category a where two are allowed
    assert [(r["rank"], r["item_id"], r["score"]) for r in lists["everyone"]] == [
        (1, 1, 50.06),
        (2, 3, 40.041),
        (3, 8, 2.003),
        (4, 5, 0.0),
    ]


def test_a_region_counts_its_own_people_once_each_and_is_filled_up_from_everyone_s_list(lists):
    # item 4: users 1 and 2, who liked it on two days; item 1: user 3. Behind them everyone's 3 and 8 by everyone's
    # score, with which a and b have two items each, and 5 as a spare one
    assert [(r["item_id"], r["score"]) for r in lists["region=north"]] == [
        (4, 2.003),
        (1, 1.06),
        (3, 40.041),
        (8, 2.003),
        (5, 0.0),
    ]


def test_a_region_with_few_active_users_or_none_named_has_no_list(lists):
    assert set(lists) == {"everyone", "region=north"}


def test_the_reason_tells_the_people_of_the_segment(lists):
    assert lists["region=north"][0]["reasons"] == [
        {"kind": "basic", "code": "popular", "text": "Liked by 2 people this week", "evidence": '{"people_7d":2}'}
    ]
    # what follows is of everyone's list: nobody in the north liked it
    codes = [r["reasons"][0]["code"] for r in lists["region=north"]]
    assert codes == ["popular", "popular", "suggested", "suggested", "suggested"]
    assert {r["detail"] for r in lists["region=north"][:2]} == {
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


@pytest.fixture(scope="module")
def shop(spark):
    """Items 1 to 6 of a, 7 to 9 of b, 10 to 12 of c, 13 of d, each with more takers than the next; 2 is a bad one."""
    category = {
        i: c for c, items in {"a": range(1, 7), "b": range(7, 10), "c": range(10, 13), "d": [13]}.items() for i in items
    }
    # the north likes 9 (three people), the bad one (two) and 4 (one)
    liked = [(DS, u, i, 1) for i, users in {9: (1, 2, 3), 2: (1, 2), 4: (1,)}.items() for u in users]
    made = build(
        literal(spark, STATS, [(DS, i, True, 100 - i, 0, 0.1 if i == 2 else 0.5) for i in category]),
        literal(spark, ITEMS, [(DS, i, c, None, None) for i, c in category.items()]),
        literal(spark, PROFILE, [(DS, u, "north") for u in (1, 2, 3)]),
        literal(spark, PAIRS, liked),
        literal(spark, BADCASES, []),
        days=DayRange.day(DS),
        params=Params(min_region_users=3),
        market=Market(
            "demo",
            surfaces={
                "feed": None,
                "page": {"length": 10, "ad_slots": [2, 5, 8], "rules": {"quality_floor": {}, "category_share": {}}},
                "long": {"length": 12, "rules": {"category_share": {}}},
            },
        ),
    )
    return conform(CONTRACT, made).orderBy("surface", "segment", "rank").collect()


def shown(rows, surface, segment):
    return [(r["rank"], r["item_id"]) for r in rows if (r["surface"], r["segment"]) == (surface, segment)]


def test_a_category_has_its_share_of_the_rows_and_nothing_stands_below_the_floor(shop):
    # 10 places less 3 for ads are 7 rows: 0.3 * 7 = 2.1 and 0.4 * 7 = 2.8, so two of a category
    items = [1, 3, 7, 8, 10, 11, 13]
    assert shown(shop, "page", "everyone") == list(zip([1, 3, 4, 6, 7, 9, 10], items))


def test_a_region_s_list_is_as_long_as_everyone_s_and_keeps_the_cap(shop):
    # 9 and 4 were liked there; 3 would be the third of a, 8 the third of b
    items = [9, 4, 1, 7, 10, 11, 13]
    assert shown(shop, "page", "region=north") == list(zip([1, 3, 4, 6, 7, 9, 10], items))


def test_a_list_that_categories_cannot_fill_is_shorter_and_takes_from_beyond_their_share_last(shop):
    # 12 rows may have floor(4.8) = 4 of a category: 4 + 3 + 3 + 1 = 11 are too few. 11 rows: floor(4.4) = 4 fill them,
    # and with their share of floor(3.3) = 3 there are 10; the place that is left goes to the fourth of a
    assert shown(shop, "long", "everyone") == list(enumerate([1, 2, 3, 7, 8, 9, 10, 11, 12, 13, 4], 1))


def test_what_is_built_breaks_no_rule(both, shop):
    rows = [*shop, *(row for of in both.values() for rows in of.values() for row in rows)]
    assert {tuple(row["violations"]) for row in rows} == {()}


HELD = (
    "surface string, segment string, rank int, item_id bigint, spare boolean, category string, regions string, "
    "age_limit int, region string, is_eligible boolean, quality double, categories int"
)


def test_a_row_is_held_against_the_rules_of_its_surface(spark):
    def row(segment, rank, item, category, regions=None, age=None, eligible=True, quality=0.5, spare=False):
        region = None if segment == "everyone" else segment
        return ("page", segment, rank, item, spare, category, regions, age, region, eligible, quality, 4)

    rows = [
        # 0.4 of four rows is one item of a category, and a has two
        row("everyone", 1, 1, "a"),
        row("everyone", 2, 2, "b"),
        row("everyone", 3, 3, "a"),
        row("everyone", 5, 4, "c"),
        # spare ones are behind the list, and no rows of it
        row("everyone", 6, 5, "c", quality=0.1, spare=True),
        row("everyone", 7, 6, "c", spare=True),
        row("everyone", 8, 10, "c", spare=True),
        row("north", 1, 7, "a", regions="south"),
        row("north", 3, 8, "b", regions="south|north", age=18),
        row("north", 4, 9, "c", eligible=False),
    ]
    rules = {"quality_floor": {"floor": 0.2}, "category_share": {}}
    market = Market("demo", surfaces={"feed": None, "page": {"length": 4, "ad_slots": [2], "rules": rules}})
    stopped = literal(spark, BADCASES, [(DS, None, 6, True), (DS, 1, 10, True)])
    made = with_violations_of_segments(spark.createDataFrame(rows, HELD), stopped, surfaces(market)).collect()
    assert {r["item_id"]: r["violations"] for r in made} == {
        1: ["above the ceiling of its category"],
        2: ["on a rank kept for ads"],
        3: ["above the ceiling of its category"],
        4: ["beyond the list's length"],
        5: ["below the quality floor"],
        6: ["stopped by a bad case"],
        7: ["not for the segment's region, or for an age"],
        8: ["not for the segment's region, or for an age"],
        9: ["not on offer"],
        10: [],
    }
