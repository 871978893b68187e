"""``audit.off_policy`` on logs whose answer is known."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from jobs.contract import DayRange
from jobs.runner import conform
from jobs.settings import Market
from quality import off_policy

D1, D2 = dt.date(2024, 3, 1), dt.date(2024, 3, 2)
SHOWN = (
    "ds date, impression_id string, user_id bigint, item_id bigint, surface string, position int, slot_type string, "
    "propensity double"
)
EVENTS = "ds date, impression_id string, action string"
LISTS = "ds date, surface string, user_id bigint, rank int, item_id bigint"
RANKED = "ds date, user_id bigint, item_id bigint, pctr double"
ITEMS, CLICKS = 4, np.array([0.6, 0.4, 0.1, 0.1])


def audit(spark, shown, clicked, lists, ranked, **params):
    frame = off_policy.build(
        spark.createDataFrame(shown, SHOWN),
        spark.createDataFrame([(D2, i, "click") for i in clicked], EVENTS),
        spark.createDataFrame(lists, LISTS),
        spark.createDataFrame(ranked, RANKED),
        days=DayRange.day(D2),
        params=off_policy.Params(**params),
        market=Market("test"),
    )
    return {r["estimator"]: r.asDict() for r in conform(off_policy.CONTRACT, frame).collect()}


@pytest.fixture(scope="module")
def world():
    """300 people see 10 of 4 items by chance; items 0 and 1, their list, are clicked more."""
    rng = np.random.default_rng(1)
    shown, clicked = [], []
    for user in range(300):
        for n in range(10):
            item = int(rng.integers(0, ITEMS))
            shown.append((D2, f"{user}-{n}", user, item, "feed", 1, "exploration", 1 / ITEMS))
            if rng.random() < CLICKS[item]:
                clicked.append(f"{user}-{n}")
    lists = [(D1, "feed", user, rank, rank - 1) for user in range(300) for rank in (1, 2)]
    ranked = [(D1, user, item, float(CLICKS[item])) for user in range(300) for item in range(ITEMS)]
    return shown, clicked, lists, ranked


def test_the_lists_value_lies_in_every_interval(spark, world):
    found = audit(spark, *world)
    assert set(found) == {"logged", "ips", "snips", "dm", "dr"}
    # a random item is clicked in 0.3, one of the list in (0.6 + 0.4) / 2 = 0.5 of the cases
    assert found["logged"]["lo"] <= 0.3 <= found["logged"]["hi"]
    for name in ("ips", "snips", "dr"):
        row = found[name]
        assert row["verdict"] == "ok" and row["lo"] <= 0.5 <= row["hi"], name
        # half of the showings have weight 2: (3000/2 * 2)^2 / (3000/2 * 4) is about 1500
        assert row["effective_size"] == pytest.approx(1500, rel=0.05) and row["n"] == 3000 and row["users"] == 300
    assert found["dm"]["value"] == pytest.approx(0.5, rel=0.06)


def test_ads_and_slots_without_propensity_are_no_evidence(spark, world):
    shown, clicked, lists, ranked = world
    ads = [(D2, f"ad{n}", 1, 0, "feed", 8, "ad", 0.5) for n in range(50)]
    unknown = [(D2, f"u{n}", 1, 0, "feed", 1, "organic", None) for n in range(50)]
    assert audit(spark, shown + ads + unknown, clicked, lists, ranked)["ips"]["n"] == 3000


def test_without_a_model_only_the_estimators_that_need_one_are_refused(spark, world):
    shown, clicked, lists, _ = world
    found = audit(spark, shown, clicked, lists, [])
    assert {name: r["verdict"] for name, r in found.items()} == {
        "logged": "ok",
        "ips": "ok",
        "snips": "ok",
        "dm": "refused",
        "dr": "refused",
    }
    assert "predictions" in found["dr"]["reason"] and found["dr"]["value"] is None


def test_a_log_that_never_shows_the_list_is_refused(spark, world):
    shown, clicked, _, ranked = world
    lists = [(D1, "feed", user, 1, 99) for user in range(300)]
    found = audit(spark, shown, clicked, lists, ranked)
    assert found["snips"]["verdict"] == "refused" and "mean weight is 0.00" in found["snips"]["reason"]


def test_nothing_is_said_of_a_day_without_propensities(spark):
    assert audit(spark, [], [], [], []) == {}
