from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from features.audience_affinity import CONTRACT, Params, build, lift
from jobs.contract import DayRange
from jobs.runner import conform

AUDIENCE = "ds date, user_id bigint, label string"
PAIRS = "ds date, user_id bigint, item_id bigint, strength double"
ITEMS = "ds date, item_id bigint, category string"
DS = "2024-03-28"
SHOES, BOOKS, NAMELESS = 10, 11, 12
CATALOGUE = [(DS, SHOES, "shoes"), (DS, BOOKS, "books"), (DS, NAMELESS, None)]


def affinities(frame, audience, pairs, **params):
    made = build(
        frame(AUDIENCE, audience),
        frame(PAIRS, pairs),
        frame(ITEMS, CATALOGUE),
        days=DayRange.day(DS),
        params=Params(**params),
    )
    return {(r["label"], r["category"]): r for r in conform(CONTRACT, made).collect()}


def world(women: tuple[int, int], men: tuple[int, int]):
    """Users of two labels, so many with shoes of so many; the others have books."""
    audience, pairs = [], []
    for label, (shoes, users), start in (("women", women, 0), ("men", men, 1000)):
        for u in range(start, start + users):
            audience.append((DS, u, label))
            pairs.append((DS, u, SHOES if u < start + shoes else BOOKS, 1.0))
    return audience, pairs


def test_lift_is_the_labels_share_by_the_share_of_all(frame):
    found = affinities(frame, *world((30, 40), (10, 60)))
    row = found["women", "shoes"]
    # 30 of 40 women against 40 of all 100
    assert row["lift"] == pytest.approx(0.75 / 0.4)
    assert (row["n"], row["label_users"], row["category_users"], row["all_users"]) == (30, 40, 40, 100)
    # variance 0.75 * 0.25 / 40 * (1/0.75 - 0.4/0.4)^2 + (1/6 * 5/6) / 60 * (0.6/0.4)^2
    variance = 0.75 * 0.25 / 40 * (1 / 0.75 - 1) ** 2 + (1 / 6) * (5 / 6) / 60 * 1.5**2
    half = math.exp(1.959964 * math.sqrt(variance))
    assert row["lift_low"] == pytest.approx(1.875 / half, abs=1e-5)
    assert row["lift_high"] == pytest.approx(1.875 * half, abs=1e-5)
    assert row["is_small"] is False
    assert found["men", "shoes"]["lift_high"] < 1 < row["lift_low"]


def test_the_interval_holds_the_true_lift_as_often_as_it_says(spark):
    # 4,000 drawn worlds: 90 women of 300 users, true shares 0.4 and 0.2
    rng = np.random.default_rng(3)
    a, others = rng.binomial(90, 0.4, 4000), rng.binomial(210, 0.2, 4000)
    drawn = pd.DataFrame({"n": a, "category_users": a + others, "label_users": 90, "all_users": 300})
    found = spark.createDataFrame(drawn).withColumns(lift(Params())).toPandas()
    true = 0.4 / (0.3 * 0.4 + 0.7 * 0.2)
    covered = (found.lift_low <= true) & (true <= found.lift_high)
    assert 0.935 <= covered.mean() <= 0.965


def test_a_label_of_everybody_has_lift_1_without_doubt(frame):
    pairs = [(DS, u, SHOES if u < 3 else BOOKS, 1.0) for u in range(10)]
    row = affinities(frame, [(DS, u, "all") for u in range(10)], pairs)["all", "shoes"]
    assert (row["lift"], row["lift_low"], row["lift_high"]) == (1.0, 1.0, 1.0)


def test_users_without_a_label_count_among_all(frame):
    found = affinities(frame, [(DS, 1, "women")], [(DS, 1, SHOES, 1.0), (DS, 2, SHOES, 1.0), (DS, 3, BOOKS, 1.0)])
    # 1 of 1 against 2 of 3
    assert set(found) == {("women", "shoes")}
    assert (found["women", "shoes"]["lift"], found["women", "shoes"]["all_users"]) == (1.5, 3)


def test_small_labels_and_rare_categories_are_flagged(frame):
    found = affinities(frame, *world((3, 20), (30, 60)), min_users=20, min_expected=7.5)
    # of women 20 are enough, but 20 * 33 / 80 = 8.25 expected on shoes; with 9 expected at least it is small
    assert found["women", "shoes"]["is_small"] is False
    assert affinities(frame, *world((3, 20), (30, 60)), min_users=20, min_expected=9.0)["women", "shoes"]["is_small"]
    assert affinities(frame, *world((3, 20), (30, 60)))["women", "books"]["is_small"] is True


def test_a_user_counts_once_and_only_for_28_days_of_liking(frame):
    pairs = [(DS, 1, SHOES, 1.0), ("2024-03-01", 1, SHOES, 5.0), (DS, 2, SHOES, 0.0), ("2024-02-29", 3, SHOES, 9.0)]
    pairs += [(DS, 4, NAMELESS, 1.0), (DS, 5, 99, 1.0), (DS, 6, BOOKS, 1.0)]
    found = affinities(frame, [(DS, u, "x") for u in range(1, 7)], pairs)
    assert found["x", "shoes"]["n"] == 1
    assert (found["x", "shoes"]["label_users"], found["x", "shoes"]["all_users"]) == (2, 2)


def test_nobody_makes_no_row(frame):
    assert affinities(frame, [], [(DS, 1, SHOES, 1.0)]) == {}
    assert affinities(frame, [(DS, 1, "x")], []) == {}
