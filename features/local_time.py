"""Local time: the wall clock of the region that a person lives in, and what it says of the day and the week.

Moments are UTC milliseconds everywhere. A region's time zone is the market's unless ``region_timezones`` of the
market names another. Daylight saving is the zone's own: an hour that is lived twice is twice the same hour.
"""

from __future__ import annotations

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.settings import Market

WEEKEND = (5, 6)
"""Saturday and Sunday, as Spark's ``weekday`` counts them."""
DAY_PARTS = ("night", "morning", "midday", "afternoon", "evening")


def zone_of(region: Column, market: Market) -> Column:
    """IANA time zone of a region; the market's for a region that is unknown or has none of its own."""
    if not market.region_timezones:
        return F.lit(market.timezone)
    pairs = [F.lit(x) for item in market.region_timezones.items() for x in item]
    return F.coalesce(F.try_element_at(F.create_map(*pairs), region), F.lit(market.timezone))


def wall_clock(at_ms: Column, zone: Column) -> Column:
    """Date and time on the wall of ``zone``, as a timestamp that is to be read in UTC."""
    return F.from_utc_timestamp(F.timestamp_millis(at_ms), zone)


def in_local_time(facts: DataFrame, users: DataFrame, market: Market) -> DataFrame:
    """``facts`` (``ds``, ``user_id``, ``at_ms`` …) with ``local``, the wall clock of each row's user.

    Users are joined only where the market has more than one time zone.
    """
    if not market.region_timezones:
        return facts.withColumn("local", wall_clock(F.col("at_ms"), F.lit(market.timezone)))
    zones = users.select("ds", "user_id", zone_of(F.col("region"), market).alias("_zone"))
    zone = F.coalesce("_zone", F.lit(market.timezone))
    joined = facts.join(zones, ["ds", "user_id"], "left")
    return joined.withColumn("local", wall_clock(F.col("at_ms"), zone)).drop("_zone")


def is_weekend(local: Column) -> Column:
    return F.weekday(local).isin(*WEEKEND)


def within(local: Column, hours: tuple[int, ...]) -> Column:
    """True from the first hour until before the second; ``(22, 6)`` reaches over midnight."""
    first, end = hours
    hour = F.hour(local)
    return (hour >= first) & (hour < end) if first <= end else (hour >= first) | (hour < end)


def day_part(local: Column) -> Column:
    """``night`` to 6 and from 23, ``morning`` to 11, ``midday`` to 14, ``afternoon`` to 18, ``evening`` to 23."""
    hour = F.hour(local)
    return (
        F.when((hour < 6) | (hour >= 23), "night")
        .when(hour < 11, "morning")
        .when(hour < 14, "midday")
        .when(hour < 18, "afternoon")
        .otherwise("evening")
    )
