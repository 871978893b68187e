from __future__ import annotations

import pytest

from jobs.contract import DayRange
from jobs.runner import conform
from jobs.settings import Market
from jobs.tables.user_daily import CONTRACT, build

EVENTS = (
    "ds date, user_id bigint, item_id bigint, at_ms bigint, action string, dwell_ms bigint, play_ratio double, "
    "terminal string"
)
ORDERS = "ds date, user_id bigint, item_id bigint, at_ms bigint, kind string, amount_minor bigint"
SHOWN = "ds date, user_id bigint"
DS = "2024-03-10"


def literal(spark, schema, rows):
    typed = spark.createDataFrame(rows, schema.replace("ds date", "ds string"))
    return typed.withColumn("ds", typed["ds"].cast("date"))


@pytest.fixture(scope="module")
def found(spark):
    actions = (
        "click",
        "click",
        "favourite",
        "add_to_cart",
        "like",
        "comment",
        "share",
        "dislike",
        "not_interested",
        "purchase",
    )
    events = [(DS, 1, 10, 1, action, 100, None, "app") for action in actions]
    events += [
        (DS, 1, None, 2, "login", None, None, "h5"),
        (DS, 1, None, 2, "search", None, None, None),
        (DS, 2, None, 2, "login", None, None, "app"),
        ("2024-03-11", 1, 10, 3, "click", None, None, "app"),
    ]
    orders = [
        (DS, 1, 10, 4, "sale", 300),
        (DS, 1, 11, 4, "sale", 200),
        (DS, 1, 11, 5, "refund", 200),
        (DS, 4, 10, 4, "sale", 50),
    ]
    made = build(
        literal(spark, EVENTS, events),
        literal(spark, ORDERS, orders),
        literal(spark, SHOWN, [(DS, 1), (DS, 1), (DS, 3)]),
        literal(spark, SHOWN, [(DS, 1), (DS, 5), (DS, 5)]),
        days=DayRange.day(DS),
        params=None,
        market=Market("demo", target=("click", "purchase")),
    )
    return {(str(r["ds"]), r["user_id"]): r for r in conform(CONTRACT, made).collect()}


def test_counts_and_sums_of_a_user(found):
    row = {k: v for k, v in found[DS, 1].asDict().items() if k not in ("ds", "user_id")}
    assert row == {
        "impressions": 2,
        "clicks": 2,
        "favourites": 1,
        "add_to_carts": 1,
        "purchases": 2,
        "likes": 1,
        "comments": 1,
        "shares": 1,
        "negatives": 2,
        "logins": 1,
        "searches": 1,
        "surveys": 1,
        "terminals": 2,
        "targets": 4,  # two clicks and two sale lines; the tracked purchase is no third
        "dwell_ms": 900,  # of nine actions; the tracked purchase is left to the sales
        "amount_minor": 500,
    }


def test_who_only_logged_in_saw_bought_or_answered_has_a_row_with_zeros(found):
    assert {key[1] for key in found if key[0] == DS} == {1, 2, 3, 4, 5}
    assert (found[DS, 5]["surveys"], found[DS, 5]["logins"], found[DS, 5]["clicks"]) == (2, 0, 0)
    assert (found[DS, 2]["logins"], found[DS, 2]["clicks"]) == (1, 0)
    assert (found[DS, 3]["impressions"], found[DS, 3]["terminals"]) == (1, 0)
    assert (found[DS, 4]["purchases"], found[DS, 4]["amount_minor"]) == (1, 50)
    assert all(value is not None for row in found.values() for value in row)


def test_days_are_kept_apart(found):
    assert (found["2024-03-11", 1]["clicks"], found["2024-03-11", 1]["logins"]) == (1, 0)
