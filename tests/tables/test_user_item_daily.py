from __future__ import annotations

import pytest

from jobs.contract import DayRange
from jobs.runner import conform
from jobs.settings import Market
from jobs.tables.user_item_daily import CONTRACT, build

EVENTS = "ds date, user_id bigint, item_id bigint, at_ms bigint, action string, dwell_ms bigint, play_ratio double"
ORDERS = "ds date, user_id bigint, item_id bigint, at_ms bigint, kind string, amount_minor bigint"
SHOWN = "ds date, user_id bigint, item_id bigint, at_ms bigint, surface string"
DS = "2024-03-10"


def literal(spark, schema, rows):
    typed = spark.createDataFrame(rows, schema.replace("ds date", "ds string"))
    return typed.withColumn("ds", typed["ds"].cast("date"))


@pytest.fixture(scope="module")
def found(spark):
    events = [
        (DS, 1, 10, 100, "click", 500, None),
        (DS, 1, 10, 300, "favourite", None, None),
        (DS, 1, 10, 200, "view", 1500, 0.5),
        (DS, 1, 10, 250, "purchase", None, None),
        (DS, 2, 10, 100, "dislike", None, None),
        (DS, 2, 11, 100, "not_interested", None, None),
        (DS, 2, 12, 100, "block_author", None, None),
        (DS, 2, 13, 100, "already_purchased", None, None),
        (DS, 3, None, 100, "login", None, None),
        (DS, 5, 10, 100, "follow_author", None, None),
        (DS, 5, 11, 100, "follow_author", None, None),
        (DS, 5, 11, 200, "unfollow_author", None, None),
        (DS, 5, 12, 100, "unfollow_author", None, None),
        (DS, 5, 12, 200, "follow_author", None, None),
        (DS, 5, 13, 100, "follow_author", None, None),
        (DS, 5, 13, 200, "block_author", None, None),
        (DS, 5, 14, 100, "unfollow_author", None, None),
        (DS, 5, 14, 100, "follow_author", None, None),
        ("2024-03-11", 1, 10, 900, "click", None, None),
    ]
    orders = [(DS, 1, 10, 350, "sale", 999), (DS, 1, 10, 360, "sale", 999), (DS, 1, 11, 370, "refund", 999)]
    shown = [(DS, 1, 10, 50, "shelf"), (DS, 1, 10, 400, "feed"), (DS, 4, 10, 50, "search")]
    made = build(
        literal(spark, EVENTS, events),
        literal(spark, ORDERS, orders),
        literal(spark, SHOWN, shown),
        days=DayRange.day(DS),
        params=None,
        market=Market("demo", target=("click", "purchase"), surfaces={"shelf": {}}),
    )
    return {(str(r["ds"]), r["user_id"], r["item_id"]): r for r in conform(CONTRACT, made).collect()}


def test_counts_of_a_pair(found):
    pair = found[DS, 1, 10]
    assert {k: pair[k] for k in ("impressions", "clicks", "purchases", "negatives", "rejections")} == {
        "impressions": 2,
        "clicks": 1,
        "purchases": 2,
        "negatives": 0,
        "rejections": 0,
    }
    # 500 + 1500; the last thing was a showing
    assert (pair["dwell_ms"], pair["last_ms"]) == (2000, 400)


def test_targets_are_the_market_s(found):
    # one click and two sale lines
    assert found[DS, 1, 10]["targets"] == 3


def test_strength_is_the_sum_over_actions_and_a_tracked_purchase_counts_by_its_sale_lines(found):
    # click 1 + favourite 3 + view 0.5 + two sale lines of 5; the purchase event adds nothing
    assert found[DS, 1, 10]["strength"] == 14.5


def test_rejections_are_a_wish_not_to_see_it(found):
    assert {i: (found[DS, 2, i]["negatives"], found[DS, 2, i]["rejections"]) for i in (10, 11, 12, 13)} == {
        10: (1, 1),
        11: (1, 1),
        12: (1, 1),
        13: (0, 1),
    }
    assert all(found[DS, 2, i]["strength"] == 0 for i in (10, 11, 12, 13))


def test_days_are_kept_apart(found):
    assert found["2024-03-11", 1, 10]["clicks"] == 1


def test_a_refund_or_an_action_without_item_makes_no_pair_and_a_showing_does(found):
    followed = {(5, item) for item in range(10, 15)}
    assert {key[1:] for key in found} == {(1, 10), (2, 10), (2, 11), (2, 12), (2, 13), (4, 10)} | followed
    assert (found[DS, 4, 10]["impressions"], found[DS, 4, 10]["strength"]) == (1, 0.0)


def test_a_pair_tells_the_surfaces_on_which_it_was_shown_the_market_s_own_too(found):
    assert sorted(found[DS, 1, 10]["shown_on"]) == ["feed", "shelf"] and found[DS, 4, 10]["shown_on"] == ["search"]
    assert found[DS, 2, 11]["shown_on"] == []


def test_the_last_action_of_the_day_says_whether_its_creator_is_followed(found):
    # 11: followed, then unfollowed; 12: the other way round; 13: then blocked; 14: both at one moment, which ends it
    assert {i: found[DS, 5, i]["follows"] for i in range(10, 15)} == {10: 1, 11: -1, 12: 1, 13: -1, 14: -1}
    assert (found[DS, 2, 12]["follows"], found[DS, 1, 10]["follows"]) == (-1, 0)


def test_a_follow_is_a_sign_of_taste_and_neither_success_nor_refusal_and_an_unfollow_says_nothing(found):
    names = ("strength", "targets", "negatives", "rejections")
    assert [found[DS, 5, 10][name] for name in names] == [3.0, 0, 0, 0]
    # one follow of 3, and nothing for the unfollow
    assert [found[DS, 5, 11][name] for name in names] == [3.0, 0, 0, 0]
    assert [found[DS, 5, 13][name] for name in names] == [3.0, 0, 1, 1]
