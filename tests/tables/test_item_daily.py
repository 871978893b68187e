from __future__ import annotations

import pytest

from jobs.contract import DayRange
from jobs.runner import conform
from jobs.settings import Market
from jobs.tables.item_daily import CONTRACT, build

EVENTS = "ds date, user_id bigint, item_id bigint, at_ms bigint, action string, dwell_ms bigint, play_ratio double"
ORDERS = (
    "ds date, user_id bigint, item_id bigint, at_ms bigint, kind string, amount_minor bigint, discount_minor bigint"
)
SHOWN = "ds date, item_id bigint"
REVIEWS = "ds date, item_id bigint, rating double"
DS = "2024-03-10"


def literal(spark, schema, rows):
    typed = spark.createDataFrame(rows, schema.replace("ds date", "ds string"))
    return typed.withColumn("ds", typed["ds"].cast("date"))


@pytest.fixture(scope="module")
def found(spark):
    events = [
        (DS, 1, 10, 1, "click", 500, None),
        (DS, 1, 10, 2, "click", None, None),
        (DS, 2, 10, 3, "click", 700, None),
        (DS, 2, 10, 4, "view", None, 0.5),
        (DS, 3, 10, 5, "view", None, 4.0),
        (DS, 3, 10, 6, "dislike", None, None),
        (DS, 3, None, 7, "login", None, None),
        (DS, 3, 10, 8, "purchase", None, None),
        (DS, 3, 10, 9, "favourite", None, None),
        (DS, 3, 10, 9, "share", None, None),
    ]
    orders = [(DS, 4, 10, 9, "sale", 300, 50), (DS, 4, 10, 9, "refund", 300, 0), (DS, 4, 13, 9, "sale", 10, None)]
    made = build(
        literal(spark, EVENTS, events),
        literal(spark, ORDERS, orders),
        literal(spark, SHOWN, [(DS, 10), (DS, 11)]),
        literal(spark, REVIEWS, [(DS, 12, 4.0), (DS, 12, 2.5), (DS, 12, None), (DS, None, 1.0)]),
        days=DayRange.day(DS),
        params=None,
        market=Market("demo"),
    )
    return {r["item_id"]: r for r in conform(CONTRACT, made).collect()}


def test_counts_and_sums_of_an_item(found):
    row = {k: v for k, v in found[10].asDict().items() if k not in ("ds", "item_id")}
    assert row == {
        "impressions": 1,
        "clicks": 3,
        "targets": 3,
        "target_users": 2,
        "purchases": 1,
        "amount_minor": 300,
        "discount_minor": 50,
        "engagements": 3,  # favourite, share and the sale; a tracked purchase is none by itself
        "negatives": 1,
        "dwell_ms": 1200,
        "play_sum": 1.5,
        "plays": 2,  # 0.5 + 4 capped at 1
        "rating_sum": 0.0,
        "ratings": 0,
    }


def test_an_item_that_was_only_shown_or_rated_has_zeros(found):
    assert (found[11]["impressions"], found[11]["clicks"], found[11]["play_sum"]) == (1, 0, 0.0)
    assert (found[12]["rating_sum"], found[12]["ratings"], found[12]["impressions"]) == (6.5, 2, 0)
    assert set(found) == {10, 11, 12, 13}


def test_a_sale_without_a_discount_has_none(found):
    assert (found[13]["purchases"], found[13]["amount_minor"], found[13]["discount_minor"]) == (1, 10, 0)
    assert all(value is not None for row in found.values() for value in row)
