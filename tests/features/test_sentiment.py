from __future__ import annotations

import datetime as dt

import pytest

from features.sentiment import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.runner import conform

SIGNALS = "ds date, review_id string, user_id bigint, item_id bigint, channel string, sentiment double, label string"
ITEMS = "ds date, item_id bigint, creator_id bigint, category string"
TODAY = DayRange.day("2024-03-28")
SHOP = [("2024-03-28", 7, 70, "tea"), ("2024-03-28", 8, None, "tea")]


def sentiment(frame, *rows, items=SHOP, days=TODAY, **params):
    made = build(frame(SIGNALS, list(rows)), frame(ITEMS, items), days=days, params=Params(**params))
    return [row.asDict() for row in conform(CONTRACT, made).orderBy("ds", "kind", "value").collect()]


def of(rows, kind, value):
    return next(row for row in rows if (row["kind"], row["value"]) == (kind, str(value)))


@pytest.fixture
def rows(frame):
    return sentiment(
        frame,
        ("2024-03-28", "a", 1, 7, "review", 0.5, "positive"),
        ("2024-03-01", "b", 1, 7, "review", -0.5, "negative"),
        ("2024-03-28", "c", 2, 8, "service", -0.6, "negative"),
        ("2024-03-28", "d", 2, None, "service", 0.0, "neutral"),
        ("2024-02-29", "e", 3, 7, "review", 1.0, "positive"),  # 28 days old: out
        ("2024-03-28", "f", 4, 9, "review", None, None),  # not scored
    )


def test_each_text_counts_for_its_user_item_creator_and_category(rows):
    assert [(row["kind"], row["value"], row["texts"]) for row in rows] == [
        ("category", "tea", 3),
        ("creator", "70", 2),
        ("item", "7", 2),
        ("item", "8", 1),
        ("user", "1", 2),
        ("user", "2", 2),
    ]


def test_only_a_user_is_a_person(rows):
    assert [row["user_id"] for row in rows] == [None, None, None, None, 1, 2]


def test_means_and_shares(rows):
    tea = of(rows, "category", "tea")
    # (0.5 - 0.5 - 0.6) / 3
    assert tea["sentiment"] == pytest.approx(-0.2)
    assert (tea["share_positive"], tea["share_negative"]) == (
        pytest.approx(1 / 3, abs=1e-6),
        pytest.approx(2 / 3, abs=1e-6),
    )
    assert (tea["service_texts"], of(rows, "user", 2)["service_texts"]) == (1, 2)


def test_few_texts_are_drawn_to_the_mean_of_the_market(rows):
    # all four texts: (0.5 - 0.5 - 0.6 + 0) / 4 = -0.15; item 8: (1 * -0.6 + 5 * -0.15) / 6
    assert of(rows, "item", 8)["sentiment_shrunk"] == pytest.approx(-0.225)


def test_the_interval_of_the_negative_share_is_wilsons(rows):
    from quality.intervals import wilson

    for row in rows:
        low, high = wilson(round(row["share_negative"] * row["texts"]), row["texts"])
        assert row["negative_low"] == pytest.approx(low, abs=2e-6)
        assert row["negative_high"] == pytest.approx(high, abs=2e-6)


def test_a_text_about_an_unknown_item_counts_for_user_and_item(frame):
    found = sentiment(frame, ("2024-03-28", "a", 1, 99, "review", 0.5, "positive"))
    assert [(row["kind"], row["value"]) for row in found] == [("item", "99"), ("user", "1")]


def test_an_empty_month_makes_no_row(frame):
    assert sentiment(frame) == []


def test_a_range_gives_the_same_rows_as_day_by_day(frame):
    rows = [
        ("2024-03-26", "a", 1, 7, "review", 0.3, "positive"),
        ("2024-03-27", "b", 2, 7, "review", -0.7, "negative"),
        ("2024-03-28", "c", 1, 8, "service", 0.1, "neutral"),
        ("2024-02-28", "d", 3, 8, "review", 0.9, "positive"),  # 27 days before the 26th, then out
    ]
    items = [(f"2024-03-{d}", i, 70 + d % 2, "tea" if d < 28 else "coffee") for d in (26, 27, 28) for i in (7, 8)]
    days = DayRange(dt.date(2024, 3, 26), dt.date(2024, 3, 28))
    whole = sentiment(frame, *rows, items=items, days=days)
    singly = [
        row
        for day in days
        for row in sentiment(
            frame,
            *[r for r in rows if r[0] <= str(day)],
            items=[i for i in items if i[0] == str(day)],
            days=DayRange(day, day),
        )
    ]
    assert whole == singly and len(whole) > 15
