from __future__ import annotations

import pytest

from features.user_activity import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.runner import conform

SCHEMA = (
    "ds date, user_id bigint, impressions int, clicks int, targets int, purchases int, negatives int, "
    "logins int, dwell_ms bigint, amount_minor bigint"
)
TODAY = DayRange.day("2024-03-28")


def activity(frame, *rows, days=TODAY, **params):
    made = conform(CONTRACT, build(frame(SCHEMA, list(rows)), days=days, params=Params(**params)))
    return {r["user_id"]: r for r in made.collect()}


def literal(spark, schema, rows):
    typed = spark.createDataFrame(rows, schema.replace("ds date", "ds string"))
    return typed.withColumn("ds", typed["ds"].cast("date"))


@pytest.fixture(scope="module")
def one(spark):
    return activity(
        lambda schema, rows: literal(spark, schema, rows),
        ("2024-03-28", 1, 10, 2, 2, 0, 1, 1, 1000, 0),
        ("2024-03-21", 1, 20, 1, 1, 1, 0, 0, 5000, 700),  # age 7: outside 7 days, inside 28
        ("2024-02-29", 1, 99, 9, 9, 9, 9, 9, 9999, 9999),  # age 28: outside all
    )[1]


def test_windows_end_on_the_built_day(one):
    assert (one["clicks_1d"], one["clicks_7d"], one["clicks_28d"]) == (2, 2, 3)
    assert (one["impressions_1d"], one["impressions_7d"], one["impressions_28d"]) == (10, 10, 30)
    assert (one["purchases_1d"], one["purchases_7d"], one["purchases_28d"]) == (0, 0, 1)
    assert one["negatives_28d"] == 1
    assert one["dwell_ms_7d"] == 1000
    assert one["amount_minor_28d"] == 700


def test_active_days_are_days_with_an_action(one):
    assert (one["active_days_7d"], one["active_days_28d"], one["days_since_active"]) == (1, 2, 0)


def test_activity_counts_actions_by_half_lives(one):
    # today 2 clicks + 2 targets + 1 login = 5; a half-life ago 1 + 1 + 1 purchase = 3, times 1/2
    assert one["activity"] == 6.5


def test_click_rate_is_smoothed_by_the_prior(one):
    # (3 + 2) / (30 + 50)
    assert one["ctr_28d"] == 0.0625


def test_users_who_only_click_or_only_see(frame):
    found = activity(
        frame,
        ("2024-03-28", 1, 0, 98, 98, 0, 0, 0, 0, 0),
        ("2024-03-27", 2, 5, 0, 0, 0, 0, 0, 0, 0),
        ("2024-02-29", 3, 1, 1, 1, 1, 1, 1, 1, 1),
    )
    # clicks without showings keep the rate below 1: (98 + 2) / (max(0, 98) + 50)
    assert found[1]["ctr_28d"] == pytest.approx(100 / 148, abs=1e-6)
    # who only saw items is not active
    assert (found[2]["active_days_28d"], found[2]["activity"], found[2]["days_since_active"]) == (0, 0.0, 1)
    # who was last there 28 days ago has no row
    assert set(found) == {1, 2}
