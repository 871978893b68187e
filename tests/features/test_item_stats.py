from __future__ import annotations

import datetime as dt

import pytest

from features.item_stats import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.runner import conform
from jobs.settings import Market

ITEMS = (
    "ds date, item_id bigint, price_minor bigint, stock int, status string, created_at_ms bigint, category string, "
    "brand string, creator_id bigint"
)
DAILY = (
    "ds date, item_id bigint, impressions int, clicks int, targets int, target_users int, purchases int, "
    "negatives int, play_sum double, plays int, rating_sum double, ratings int, "
    "amount_minor bigint, discount_minor bigint"
)
TAKEDOWN = "ds date, item_id bigint, active boolean, at_ms bigint"
DS = "2024-03-28"


def item(item_id, ds=DS, price=100, stock=None, status="active", created=None):
    return (ds, item_id, price, stock, status, created, "shoes", "acme", 7)


def daily(
    item_id,
    ds=DS,
    shown=0,
    clicks=0,
    targets=0,
    users=0,
    bought=0,
    negatives=0,
    play=(0.0, 0),
    rating=(0.0, 0),
    money=(0, 0),
):
    return (ds, item_id, shown, clicks, targets, users, bought, negatives, *play, *rating, *money)


def stats(spark, items, days=(), timezone="UTC", takedowns=()):
    made = build(
        literal(spark, ITEMS, items),
        literal(spark, DAILY, days),
        literal(spark, TAKEDOWN, takedowns),
        days=DayRange.day(DS),
        params=Params(),
        market=Market("test", timezone=timezone),
    )
    return {r["item_id"]: r for r in conform(CONTRACT, made).collect()}


def literal(spark, schema, rows):
    typed = spark.createDataFrame(list(rows), schema.replace("ds date", "ds string"))
    return typed.withColumn("ds", typed["ds"].cast("date"))


CREATED = int(dt.datetime(2024, 3, 26, 20, tzinfo=dt.UTC).timestamp() * 1000)


@pytest.fixture(scope="module")
def found(spark):
    return stats(
        spark,
        [
            item(1),
            item(2, created=CREATED),
            item(3),
            item(11, price=75),
            item(11, "2024-03-10", price=100),
            item(11, "2024-02-29", price=1000),
            item(12, price=50),
            item(13, price=None),
            item(14, price=0),
            item(21, stock=1),
            item(22, status=None),
            item(23, stock=0),
            item(24, status="delisted"),
            item(99, "2024-03-27"),
        ],
        [
            daily(
                1, shown=60, clicks=3, targets=3, users=2, negatives=2, play=(1.5, 2), rating=(9.0, 2), money=(500, 100)
            ),
            daily(1, "2024-03-21", shown=40, clicks=3, bought=1, play=(0.0, 1), rating=(3.0, 1), money=(300, 100)),
            daily(1, "2024-02-29", shown=9999, clicks=9999, negatives=9999, rating=(1.0, 1)),  # age 28: outside
            daily(3, clicks=300, targets=300, negatives=300),
            daily(98),
            daily(99),
        ],
    )


def test_windows_end_on_the_built_day(found):
    assert (found[1]["impressions_1d"], found[1]["impressions_7d"], found[1]["impressions_28d"]) == (60, 60, 100)
    assert (found[1]["purchases_7d"], found[1]["purchases_28d"]) == (0, 1)


def test_rates_and_means_by_hand(found):
    # (6 + 4) / (100 + 100)
    assert found[1]["ctr_28d"] == 0.05
    # 1.5 / 3
    assert found[1]["completion_28d"] == 0.5
    # 2 / (100 + 100)
    assert found[1]["negative_rate_28d"] == 0.01
    # 12 / 3
    assert (found[1]["rating_28d"], found[1]["ratings_28d"]) == (4.0, 3)


def test_what_it_is_and_what_its_sales_were_discounted(found):
    assert (found[1]["category"], found[1]["brand"], found[1]["creator_id"]) == ("shoes", "acme", 7)
    # 200 of 1000; nothing was sold of the other
    assert (found[1]["discount_28d"], found[2]["discount_28d"]) == (0.2, None)


def test_quality_is_a_mix_of_what_was_shrunk_to_the_market(spark):
    found = stats(
        spark,
        [item(i) for i in (1, 2, 3)],
        [
            daily(1, shown=100, negatives=0, play=(16.0, 20), rating=(25.0, 5)),
            daily(2, shown=100, negatives=2, play=(4.0, 20), rating=(5.0, 5)),
        ],
    )
    good, bad, unseen = found[1], found[2], found[3]
    # market: 20 of 40 plays = 0.5; (16 + 20 * 0.5) / (20 + 20)
    assert (good["quality_completion"], bad["quality_completion"], unseen["quality_completion"]) == (0.65, 0.35, 0.5)
    # market: 30 of 10 ratings = 3; (25 + 5 * 3) / (5 + 5)
    assert (good["quality_rating"], bad["quality_rating"], unseen["quality_rating"]) == (4.0, 2.0, 3.0)
    # market: 2 of 200, so one of 100 is to be expected: (0 + 5) / (0 + 1 + 10) and (2 + 5) / (2 + 1 + 10)
    assert (good["quality_negative"], bad["quality_negative"], unseen["quality_negative"]) == (
        round(5 / 11, 6),
        round(7 / 13, 6),
        0.5,
    )
    # 0.4 * 0.65 + 0.4 * 4/5 + 0.2 * 6/11 and 0.4 * 0.5 + 0.4 * 3/5 + 0.2 * 0.5
    assert good["quality"] == pytest.approx(0.26 + 0.32 + 1.2 / 11, abs=1e-6)
    assert unseen["quality"] == 0.54 > bad["quality"]


def test_a_part_of_quality_without_data_in_the_market_does_not_count(spark):
    found = stats(spark, [item(1), item(2)], [daily(1, shown=10, rating=(5.0, 1)), daily(2, rating=(1.0, 1))])
    assert (found[1]["quality_completion"], found[1]["quality_negative"]) == (None, None)
    # mean 3; (5 + 5 * 3) / 6 / 5 and (1 + 15) / 6 / 5
    assert (found[1]["quality"], found[2]["quality"]) == (round(2 / 3, 6), round(16 / 30, 6))
    assert stats(spark, [item(1)])[1]["quality"] is None


def test_an_untouched_item_has_the_prior_and_no_means(found):
    # 4 / 100
    assert (found[2]["ctr_28d"], found[2]["negative_rate_28d"], found[2]["ratings_28d"]) == (0.04, 0.0, 0)
    assert (found[2]["completion_28d"], found[2]["rating_28d"]) == (None, None)
    assert found[2]["clicks_28d"] == 0


def test_actions_without_showings_keep_rates_within_0_and_1(found):
    # (300 + 4) / (max(0, 300) + 100) and 300 / (max(0, 300) + 100)
    assert (found[3]["ctr_28d"], found[3]["negative_rate_28d"]) == (0.76, 0.75)


def test_rates_that_no_item_of_the_market_has_are_not_known(spark):
    # receipts alone: bought, never shown, never refused
    found = stats(spark, [item(1), item(2)], [daily(1, clicks=3, targets=9, users=4, bought=9)])
    assert {(i, r["ctr_28d"], r["negative_rate_28d"]) for i, r in found.items()} == {(1, None, None), (2, None, None)}
    assert [r["is_eligible"] for r in found.values()] == [True, True]
    # showings of the 28th day back make the click rate known, (0 + 4) / (1 + 100) and the prior; nothing was refused
    found = stats(spark, [item(1), item(2)], [daily(1, "2024-03-01", shown=1), daily(1, "2024-02-29", negatives=9)])
    assert (found[1]["ctr_28d"], found[2]["ctr_28d"]) == (round(4 / 101, 6), 0.04)
    assert (found[1]["negative_rate_28d"], found[2]["negative_rate_28d"]) == (None, None)
    # refusals without showings, (5 + 0) / (0 + 100): the item that nobody refused is at 0
    found = stats(spark, [item(1), item(2)], [daily(1, negatives=5)])
    assert [(found[i]["ctr_28d"], found[i]["negative_rate_28d"]) for i in (1, 2)] == [(None, 0.05), (None, 0.0)]


def test_price_drop_is_against_the_highest_price_of_28_days(found):
    # 1 - 75 / 100; the price of 28 days ago is forgotten
    assert [found[i]["price_drop"] for i in (11, 12, 13, 14)] == [0.25, 0.0, 0.0, 0.0]


def test_age_is_since_the_first_offer(found):
    assert (found[2]["age_days"], found[1]["age_days"]) == (2, None)


def test_eligible_is_active_and_in_stock_where_stock_is_a_limit(found):
    eligible = {i: found[i]["is_eligible"] for i in (1, 21, 22, 23, 24)}
    assert eligible == {1: True, 21: True, 22: True, 23: False, 24: False}


def test_an_item_that_is_no_longer_known_has_no_row(found):
    assert not {98, 99} & set(found)


def test_popularity_ranks_by_users_of_the_week_then_of_the_month_and_days_are_the_market_s(spark):
    found = stats(
        spark,
        [item(1, created=CREATED), item(2), item(3)],
        [
            daily(1, users=5),
            daily(2, users=1),
            daily(3, users=1),
            daily(3, "2024-03-20", users=2),
        ],
        timezone="Asia/Shanghai",
    )
    assert [found[i]["popularity"] for i in (2, 3, 1)] == [0.0, 0.5, 1.0]
    # 20:00 UTC of the 26th is 04:00 of the 27th there
    assert found[1]["age_days"] == 1


def test_the_head_is_the_share_with_most_exposure(spark):
    found = stats(spark, [item(i) for i in (1, 2, 3, 4, 5)], [daily(4, shown=50), daily(2, shown=10)])
    # 20 % of five items is one
    assert [i for i, r in sorted(found.items()) if not r["is_long_tail"]] == [4]


def test_the_newest_order_up_to_the_day_takes_an_item_down_or_lets_it_back(spark):
    orders = [
        ("2024-03-01", 1, True, 1),  # holds until it is lifted
        ("2024-03-01", 2, True, 1),
        ("2024-03-28", 2, False, 5),
        ("2024-03-28", 3, False, 5),
        ("2024-03-28", 3, True, 6),  # later on the same day
        ("2024-03-29", 4, True, 9),  # tomorrow
        # given after a rollback, so of an earlier day than the order before
        ("2024-03-28", 5, False, 5),
        ("2024-03-26", 5, True, 6),
        ("2024-03-28", 6, True, 5),
        ("2024-03-26", 6, False, 6),
    ]
    found = stats(spark, [item(i) for i in (1, 2, 3, 4, 5, 6)], takedowns=orders)
    eligible = {1: False, 2: True, 3: False, 4: True, 5: False, 6: True}
    assert {i: r["is_eligible"] for i, r in found.items()} == eligible


def test_a_range_is_its_days_one_by_one(spark):
    days = DayRange(dt.date(2024, 3, 26), dt.date(2024, 3, 28))
    items = [item(i, f"2024-03-{d}", price=100 + d * i) for i in (1, 2, 3) for d in range(20, 29)]
    of_days = [
        daily(i, f"2024-03-{d:02}", d, i, i, 1, 1, d % 2, (0.5, 1), (4.0, 1), (100, d))
        for i in (1, 2)
        for d in range(1, 29)
    ]

    def rows(days):
        made = build(
            literal(spark, ITEMS, items),
            literal(spark, DAILY, of_days),
            literal(spark, TAKEDOWN, [("2024-03-27", 1, True, 1), ("2024-03-28", 1, False, 2)]),
            days=days,
            params=Params(),
            market=Market("test"),
        )
        return {(r["ds"], r["item_id"]): r for r in conform(CONTRACT, made).collect()}

    parts = {}
    for day in days:
        parts |= rows(DayRange.day(day))
    assert rows(days) == parts
    assert len(parts) == 9
