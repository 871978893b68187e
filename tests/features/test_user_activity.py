from __future__ import annotations

import datetime as dt

import pytest

from features.user_activity import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.errors import ContractError
from jobs.runner import conform

COUNTS = ("favourites", "add_to_carts", "likes", "comments", "shares")
SCHEMA = (
    "ds date, user_id bigint, impressions int, clicks int, targets int, purchases int, negatives int, "
    "logins int, dwell_ms bigint, amount_minor bigint, " + ", ".join(f"{name} int" for name in COUNTS)
)
SCORES = "ds date, half_life_days int, prior_percent int, log_likelihood double, targets bigint"
TODAY = DayRange.day("2024-03-28")


def row(user_id, ds="2024-03-28", **counts):
    """A literal row with the counts that it names."""
    names = ("impressions", "clicks", "targets", "purchases", "negatives", "logins", "dwell_ms", "amount_minor")
    return (ds, user_id, *[counts.get(name, 0) for name in (*names, *COUNTS)])


def activity(frame, *rows, days=TODAY, scores=(), **params):
    padded = [(*r, *[0] * (10 + len(COUNTS) - len(r))) for r in rows]
    made = build(frame(SCHEMA, padded), frame(SCORES, list(scores)), days=days, params=Params(**params))
    return {r["user_id"]: r for r in conform(CONTRACT, made).collect()}


def literal(spark, schema, rows):
    typed = spark.createDataFrame(list(rows), schema.replace("ds date", "ds string"))
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


def test_no_user_has_a_click_rate_where_nobody_was_shown_anything(frame):
    found = activity(frame, row(1, clicks=9, purchases=3), row(2, impressions=0, logins=1))
    assert [found[u]["ctr_28d"] for u in (1, 2)] == [None, None]


def test_showings_of_other_days_say_nothing_of_a_day_without(frame):
    days = DayRange(dt.date(2024, 3, 27), dt.date(2024, 3, 29))
    rows = [row(1, "2024-03-01", impressions=50), row(2, "2024-03-27", clicks=8)]
    made = conform(CONTRACT, build(frame(SCHEMA, rows), frame(SCORES, []), days=days, params=Params()))
    found = {(r["ds"].day, r["user_id"]): r["ctr_28d"] for r in made.collect()}
    # (0 + 2) / (50 + 50) and (8 + 2) / (max(0, 8) + 50); the showing of the 1st is within 28 days until the 28th
    assert found == {
        (27, 1): 0.02,
        (27, 2): round(10 / 58, 6),
        (28, 1): 0.02,
        (28, 2): round(10 / 58, 6),
        (29, 2): None,
    }


def test_who_only_answered_a_survey_is_a_user_of_the_last_28_days(frame):
    # such a day has a row of silver.user_daily whose counts of actions are all 0
    found = activity(frame, row(1, "2024-03-01"), row(2, "2024-02-29"))
    assert {u: (r["active_days_28d"], r["days_since_active"]) for u, r in found.items()} == {1: (0, 27)}


def test_every_action_is_counted_by_window(frame):
    names = (*COUNTS, "logins")
    rows = [row(1, **{n: 1 for n in names}), row(1, "2024-03-22", **{n: 2 for n in names})]
    rows.append(row(1, "2024-03-01", **{n: 4 for n in names}))
    found = activity(frame, *rows)[1]
    # 28 March; 22 March, the oldest of 7 days; 1 March, the oldest of 28
    assert {n: tuple(found[f"{n}_{d}d"] for d in (1, 7, 28)) for n in names} == {n: (1, 3, 7) for n in names}


def test_an_action_of_any_kind_makes_a_day_active(frame):
    found = activity(frame, row(1, likes=1), row(2, negatives=1), row(3, impressions=1))
    assert [found[u]["active_days_7d"] for u in (1, 2, 3)] == [1, 1, 0]


def test_rates_are_by_clicks_and_null_without(frame):
    found = activity(
        frame,
        row(1, impressions=20, clicks=4, favourites=1, add_to_carts=2, purchases=1, shares=6, negatives=5),
        row(2, purchases=3),
    )
    one, two = found[1], found[2]
    # of 4 clicks: 1 favourite, 2 carts, 1 purchase, 6 shares; 5 dislikes of 20 showings
    assert [one[f"{n}_rate_28d"] for n in ("favourite", "add_to_cart", "purchase", "share")] == [0.25, 0.5, 0.25, 1.5]
    assert (one["like_rate_28d"], one["negative_rate_28d"]) == (0.0, 0.25)
    assert (two["purchase_rate_28d"], two["negative_rate_28d"]) == (None, None)


def test_an_active_user_has_3_logins_and_10_clicks_in_7_days(frame):
    found = activity(
        frame,
        row(1, logins=1, clicks=4),
        row(1, "2024-03-22", logins=2, clicks=6),  # six days ago: 3 logins, 10 clicks
        row(2, logins=1, clicks=4),
        row(2, "2024-03-21", logins=2, clicks=6),  # seven days ago
        row(3, logins=2, clicks=99),
        row(4, logins=9, clicks=9),
        row(5, "2024-03-10", logins=9, clicks=99),
    )
    assert {u: r["is_active"] for u, r in found.items()} == {1: True, 2: False, 3: False, 4: False, 5: False}


def test_the_numbers_of_an_active_user_are_options(frame):
    options = {"active_logins": 1, "active_clicks": 2, "active_days": 1}
    found = activity(frame, row(1, logins=1, clicks=2), row(2, "2024-03-27", logins=1, clicks=2), **options)
    assert {u: r["is_active"] for u, r in found.items()} == {1: True, 2: False}
    with pytest.raises(ContractError, match="active_days must be from 1 to 28"):
        Params(active_days=29)


def test_data_without_logins_cannot_say_who_is_active(frame):
    found = activity(frame, row(1, purchases=50, clicks=50))
    assert found[1]["is_active"] is None


def test_logins_of_other_days_say_nothing_of_a_day_without(frame):
    days = DayRange(dt.date(2024, 3, 20), dt.date(2024, 3, 28))
    made = build(frame(SCHEMA, [row(1, "2024-03-20", logins=1)]), frame(SCORES, []), days=days, params=Params())
    found = {str(r["ds"]): r["is_active"] for r in made.collect()}
    # the login of the 20th is within 7 days until the 26th
    assert [found[f"2024-03-{d}"] for d in (20, 26, 27, 28)] == [False, False, None, None]


def test_activity_takes_the_half_life_that_forecast_best(frame):
    # 14 days beats 7 with -90 + -95 against -100 + -90; 8 actions 14 days ago are worth 4
    scores = [
        ("2024-03-27", 7, 10, -100.0, 300),
        ("2024-03-27", 14, 10, -90.0, 300),
        ("2024-03-28", 7, 10, -90.0, 300),
        ("2024-03-28", 14, 10, -95.0, 300),
        ("2024-02-29", 7, 10, -1.0, 300),  # the 29th day back chooses nothing
        ("2024-02-29", 14, 10, -900.0, 300),
    ]
    rows = [row(1, "2024-03-14", logins=8)]
    assert activity(frame, *rows, scores=scores)[1]["activity"] == 4.0
    # with too little forecast the option holds: two half-lives of 7 days
    assert activity(frame, *rows, scores=scores, min_targets=601)[1]["activity"] == 2.0
    assert activity(frame, *rows)[1]["activity"] == 2.0


def test_each_day_of_a_range_takes_its_own_half_life(frame):
    scores = [("2024-03-27", 1, 10, -1.0, 900), ("2024-03-27", 2, 10, -2.0, 900)]
    scores += [("2024-03-28", 1, 10, -5.0, 900), ("2024-03-28", 2, 10, -1.0, 900)]
    made = build(
        frame(SCHEMA, [row(1, "2024-03-26", logins=16)]),
        frame(SCORES, scores),
        days=DayRange(dt.date(2024, 3, 26), dt.date(2024, 3, 28)),
        params=Params(half_life_days=4.0),
    )
    found = {str(r["ds"]): r["activity"] for r in conform(CONTRACT, made).collect()}
    # the 26th has no score; the 27th a half-life of 1; the 28th one of 2 (-3 against -6), two days on
    assert found == {"2024-03-26": 16.0, "2024-03-27": 8.0, "2024-03-28": 8.0}


def test_nobody_makes_no_row(frame):
    assert activity(frame) == {}
