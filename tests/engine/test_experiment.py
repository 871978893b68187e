"""``audit.experiment`` on people whose variants and clicks are planted."""

from __future__ import annotations

import datetime as dt

import pytest
from pyspark.sql import functions as F

from jobs.contract import DayRange
from jobs.errors import SettingsError
from jobs.runner import conform
from jobs.settings import Market
from quality.experiments import readout
from quality.experiments.design import bucket, bucket_column, design_of

START, TODAY = dt.date(2024, 3, 2), dt.date(2024, 3, 10)
COUNTS = (
    "impressions",
    "clicks",
    "targets",
    "purchases",
    "amount_minor",
    "logins",
    "searches",
    "favourites",
    "add_to_carts",
    "likes",
    "comments",
    "shares",
    "negatives",
)
DAILY = "ds date, user_id bigint, " + ", ".join(f"{name} bigint" for name in COUNTS)
USERS = "ds date, user_id bigint, registered_at_ms bigint, region string"
OPTIONS = {
    "layer": "ranking",
    "buckets": [0, 10_000],
    "variants": {"control": 1, "new": 1},
    "starts": START,
    "ends": TODAY,
}


def market(**options) -> Market:
    return Market("test", groups=("region",), experiments={"running": {"feed": OPTIONS | options}})


def daily(ds, user, impressions=10, clicks=0, **others):
    values = {"impressions": impressions, "clicks": clicks, "targets": clicks} | others
    return (ds, user, *[values.get(name, 0) for name in COUNTS])


def midnight(day: dt.date) -> int:
    return int(dt.datetime(day.year, day.month, day.day, tzinfo=dt.UTC).timestamp() * 1000)


def audit(spark, rows, users, of=None, **params):
    frame = readout.build(
        spark.createDataFrame(rows, DAILY),
        spark.createDataFrame(users, USERS),
        days=DayRange.day(TODAY),
        params=readout.Params(**params),
        market=of or market(),
    )
    found = [r.asDict() for r in conform(readout.CONTRACT, frame).collect()]
    return {(r["segment_by"], r["segment"], r["metric"]): r for r in found}


@pytest.fixture(scope="module")
def variants():
    design = design_of(market())
    return {user: design.variant(design.running[0], user) for user in range(400)}


@pytest.fixture(scope="module")
def small(spark, variants):
    """Everyone sees 10 items: control clicks 1 or 2 of them, the others 2 or 3; half of the people are new."""
    rows, users = [], []
    for user, variant in variants.items():
        clicks = 1 + user % 2 + (variant == "new")
        is_new = user % 4 < 2
        users.append((TODAY, user, midnight(START if is_new else dt.date(2023, 1, 1)), "north" if user < 200 else None))
        rows.append(daily(START, user, clicks=clicks))
        # a week later two thirds of the people come back
        if user % 3:
            rows.append(daily(START + dt.timedelta(days=7), user, impressions=0, logins=1))
        rows.append(daily(START - dt.timedelta(days=3), user, clicks=user % 2))
    return audit(spark, rows, users, min_group=20)


def test_the_hash_is_the_same_in_spark_and_in_python(spark):
    users = [*range(50), -(2**63), 2**63 - 1, -1]
    frame = spark.createDataFrame([(u,) for u in users], "user_id bigint")
    found = {
        r.user_id: r.b for r in frame.select("user_id", bucket_column("demo/x", F.col("user_id")).alias("b")).collect()
    }
    assert found == {u: bucket("demo/x", u) for u in users}


def test_variants_are_the_same_in_spark_and_in_python(spark):
    of = Market(
        "test",
        experiments={
            "holdout": 0.1,
            "running": {"x": OPTIONS | {"buckets": [1000, 8000], "variants": {"control": 2, "a": 1, "b": 1}}},
        },
    )
    design = design_of(of)
    experiment = design.running[0]
    frame = spark.range(2000).select("id", design.variant_column(experiment, F.col("id")).alias("variant"))
    found = {r.id: r.variant for r in frame.collect()}
    assert found == {u: design.variant(experiment, u) for u in range(2000)}
    assert set(found.values()) == {None, "control", "a", "b"}


def test_the_planted_effect_is_found(small, variants):
    n = {name: sum(v == name for v in variants.values()) for name in ("control", "new")}
    ctr = small["all", "", "ctr"]
    assert (ctr["n_control"], ctr["n"]) == (n["control"], n["new"])
    # about 1.5 and 2.5 clicks of 10 showings
    assert ctr["control_value"] == pytest.approx(0.15, abs=0.01) and ctr["value"] == pytest.approx(0.25, abs=0.01)
    assert ctr["lift"] == pytest.approx(ctr["difference"] / ctr["control_value"], abs=1e-5)
    assert ctr["lo"] < ctr["difference"] < ctr["hi"] and ctr["lift_lo"] < ctr["lift"] < ctr["lift_hi"]
    assert ctr["is_primary"] and ctr["verdict"] == "better" and ctr["p_value"] < 1e-6 and ctr["always_p"] < 1e-6
    assert ctr["always_lo"] < ctr["lo"] and ctr["always_hi"] > ctr["hi"]
    assert ctr["sample_ratio_p"] > 0.001


def test_cuped_leaves_the_effect_alone(small):
    # clicks since the start are those before plus 1, or plus 2: known before but for the effect of 1
    row = small["all", "", "clicks_per_user"]
    assert row["method"] == "cuped" and row["difference"] == pytest.approx(1.0, abs=1e-3)
    assert row["hi"] - row["lo"] < 0.01


def test_new_people_have_a_first_day_and_a_return(small):
    first, returned = small["all", "", "first_day_ctr"], small["all", "", "retention_7d"]
    new = small["tenure", "new", "ctr"]
    assert (first["n_control"], first["n"]) == (new["n_control"], new["n"])
    assert first["value"] == pytest.approx(new["value"], abs=1e-6)
    assert returned["control_value"] == pytest.approx(2 / 3, abs=0.07) and returned["verdict"] == "open"
    assert small["tenure", "old", "retention_7d"]["verdict"] == "too small"


def test_people_whose_group_is_not_known_count_in_all_only(small):
    north, everyone = small["region", "north", "ctr"], small["all", "", "ctr"]
    assert north["n"] + north["n_control"] == 200 and everyone["n"] + everyone["n_control"] == 400
    assert {segment for by, segment, _ in small if by == "region"} == {"north"}


def test_a_small_variant_is_not_read(spark, variants):
    rows = [daily(START, user, clicks=1) for user in variants]
    users = [(TODAY, user, None, None) for user in variants]
    row = audit(spark, rows, users, min_group=300)["all", "", "ctr"]
    assert row["verdict"] == "too small" and row["value"] is None and row["n"] > 100


def test_a_broken_split_is_not_read(spark, variants):
    # of those in the new variant every third is lost
    rows = [daily(START, u, clicks=1 + u % 2) for u, v in variants.items() if v == "control" or u % 3]
    users = [(TODAY, user, None, None) for user in variants]
    found = audit(spark, rows, users, min_group=20, sample_ratio_limit=0.05)
    assert {r["verdict"] for r in found.values()} == {"sample ratio"}


def test_people_who_have_not_come_since_the_start_do_not_count(spark, variants):
    rows = [daily(START, user, clicks=user % 2) for user in variants if user < 300]
    rows += [daily(START - dt.timedelta(days=1), user, clicks=1) for user in variants if user >= 300]
    users = [(TODAY, user, None, None) for user in variants]
    row = audit(spark, rows, users)["all", "", "clicks_per_user"]
    assert row["n"] + row["n_control"] == 300


def test_nothing_runs_nothing_is_read(spark):
    users = [(TODAY, 1, None, None)]
    assert audit(spark, [daily(TODAY, 1)], users, Market("test")) == {}
    over = market(ends=TODAY - dt.timedelta(days=1))
    assert audit(spark, [daily(TODAY, 1)], users, over) == {}


def test_a_primary_metric_that_does_not_exist_is_named(spark):
    with pytest.raises(SettingsError, match="experiment feed: there is no metric 'happiness'"):
        audit(spark, [daily(TODAY, 1)], [(TODAY, 1, None, None)], market(primary="happiness"))
