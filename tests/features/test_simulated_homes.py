"""Homes and workplaces that people of the simulated world have are found from what their phones tell."""

from __future__ import annotations

import datetime as dt

import pytest
from pyspark.sql import functions as F

from features import user_context
from features.grid import cell_of, near
from jobs.contract import DayRange
from jobs.settings import Market
from jobs.simulator import WorldConfig, simulate
from jobs.tables import place_daily, sessions

WORLD = WorldConfig(
    users=240, items=240, creators=24, days=14, late_rate=0, too_late_rate=0, duplicate_rate=0, corrupt_rate=0
)
MARKET = Market("demo", timezone=WORLD.timezone)


@pytest.fixture(scope="module")
def found(spark, tmp_path_factory) -> dict[str, dict]:
    """Of each user who was seen with coordinates on seven days: whether home and work are right."""
    root = tmp_path_factory.mktemp("homes")
    simulate(WORLD, root / "landing", root / "truth")
    days = DayRange(WORLD.first_day, WORLD.first_day + dt.timedelta(days=WORLD.days - 1))
    shown = (
        spark.read.parquet(str(root / "landing" / WORLD.market / "impressions"))
        .withColumn("original", F.col("user_id"))
        .withColumn("user_id", F.xxhash64("user_id"))
        .withColumn("at_ms", F.unix_millis(F.to_timestamp("at")))
        .withColumn("cell", cell_of(F.col("latitude"), F.col("longitude")))
    )
    nobody = "ds date, user_id bigint, at_ms bigint, place string, impression_id string, request_id string"
    presence = place_daily.build(
        shown,
        spark.createDataFrame([], nobody),
        spark.createDataFrame([], "ds date, user_id bigint, region string"),
        days=days,
        params=place_daily.Params(),
        market=MARKET,
    )
    none = ", ".join(f"{c.name} {c.type}" for c in sessions.CONTRACT.schema)
    context = user_context.build(
        presence, spark.createDataFrame([], none), days=DayRange.day(days.last), params=user_context.Params()
    )
    truth = spark.read.parquet(str(root / "truth" / WORLD.market / "users")).select(
        F.xxhash64("user_id").alias("user_id"),
        *[cell_of(F.col(place)[0], F.col(place)[1]).alias(f"true_{place}") for place in ("home", "work")],
    )
    active = shown.where("cell IS NOT NULL").groupBy("user_id").agg(F.count_distinct("ds").alias("days"))
    rows = (
        context.join(truth, "user_id")
        .join(active.where("days >= 7"), "user_id")
        .select(
            "user_id",
            F.col("home_cell").isNotNull().alias("has_home"),
            F.col("work_cell").isNotNull().alias("has_work"),
            near(F.col("home_cell"), F.col("true_home")).alias("right_home"),
            near(F.col("work_cell"), F.col("true_work")).alias("right_work"),
        )
        .collect()
    )
    return {r["user_id"]: r.asDict() for r in rows}


def test_most_active_users_have_a_home_and_it_is_theirs(found):
    homes = [r for r in found.values() if r["has_home"]]
    assert len(found) >= 15
    assert len(homes) >= 0.9 * len(found)
    assert sum(r["right_home"] for r in homes) >= 0.9 * len(homes)


def test_workplaces_that_are_found_are_theirs(found):
    works = [r for r in found.values() if r["has_work"]]
    assert len(works) >= 5
    assert sum(r["right_work"] for r in works) >= 0.8 * len(works)
