from __future__ import annotations

import datetime as dt

import pytest
from pyspark.sql import functions as F

from features.local_time import DAY_PARTS, day_part, in_local_time, is_weekend, within
from jobs.settings import Market

NEW_YORK = Market("test", timezone="America/New_York")
TWO_ZONES = Market("test", timezone="Asia/Shanghai", region_timezones={"west": "Asia/Urumqi", "abroad": "Asia/Tokyo"})


def ms(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).timestamp() * 1000)


@pytest.fixture
def walls(spark):
    """Wall clocks of moments, as text; users 1 to 4 live in west, abroad, an unlisted region, none."""
    users = "ds date, user_id bigint, region string"
    day = dt.date(2024, 3, 10)
    people = spark.createDataFrame(
        [(day, 1, "west"), (day, 2, "abroad"), (day, 3, "east"), (day, 4, None)],
        users,
    )

    def make(market: Market, *moments: str, user: int = 1) -> list[str]:
        facts = spark.createDataFrame(
            [(day, user, ms(m), n) for n, m in enumerate(moments)],
            "ds date, user_id bigint, at_ms bigint, n int",
        )
        found = in_local_time(facts, people, market).orderBy("n").select(F.date_format("local", "MM-dd HH:mm"))
        return [r[0] for r in found.collect()]

    return make


def test_the_hour_that_spring_leaves_out(walls):
    # clocks went from 02:00 EST (UTC-5) to 03:00 EDT (UTC-4)
    assert walls(NEW_YORK, "2024-03-10T06:59+00:00", "2024-03-10T07:00+00:00", "2024-03-11T03:59+00:00") == [
        "03-10 01:59",
        "03-10 03:00",
        "03-10 23:59",
    ]


def test_the_hour_that_autumn_lives_twice(walls):
    # clocks went from 02:00 EDT back to 01:00 EST
    assert walls(
        NEW_YORK, "2024-11-03T05:30+00:00", "2024-11-03T06:30+00:00", "2024-11-03T07:00+00:00", "2024-11-04T04:59+00:00"
    ) == ["11-03 01:30", "11-03 01:30", "11-03 02:00", "11-03 23:59"]


def test_regions_have_their_own_wall_and_else_the_market_s(walls):
    noon = "2024-03-10T04:00+00:00"
    # Shanghai is UTC+8, Urumqi UTC+6, Tokyo UTC+9
    assert [walls(TWO_ZONES, noon, user=u)[0][-5:] for u in (1, 2, 3, 4, 5)] == [
        "10:00",
        "13:00",
        "12:00",
        "12:00",
        "12:00",
    ]
    # without zones of regions nobody is looked up
    assert walls(Market("test", timezone="Asia/Shanghai"), noon, user=1) == ["03-10 12:00"]


def test_hours_reach_to_before_their_end_and_over_midnight(spark):
    hours = spark.range(24).select(
        F.col("id"), F.make_timestamp(F.lit(2024), F.lit(3), F.lit(8), F.col("id"), F.lit(59), F.lit(0)).alias("local")
    )
    local = F.col("local")
    rows = hours.select(
        "id", within(local, (22, 6)).alias("night"), within(local, (9, 18)).alias("work"), day_part(local).alias("part")
    ).collect()
    assert [r["id"] for r in rows if r["night"]] == [0, 1, 2, 3, 4, 5, 22, 23]
    assert [r["id"] for r in rows if r["work"]] == list(range(9, 18))
    parts = {part: [r["id"] for r in rows if r["part"] == part] for part in DAY_PARTS}
    assert parts["night"] == [0, 1, 2, 3, 4, 5, 23]
    assert {p: (h[0], h[-1]) for p, h in parts.items() if p != "night"} == {
        "morning": (6, 10),
        "midday": (11, 13),
        "afternoon": (14, 17),
        "evening": (18, 22),
    }


def test_the_weekend_is_saturday_and_sunday(spark):
    week = spark.range(7).select(F.date_add(F.lit("2024-03-04").cast("date"), F.col("id").cast("int")).alias("day"))
    # the 4th was a Monday
    assert [r["day"].day for r in week.where(is_weekend(F.col("day").cast("timestamp"))).collect()] == [9, 10]
