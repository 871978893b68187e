"""Trailing windows over daily tables, for one day or a range of days in one pass."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from jobs.contract import DayRange
from jobs.errors import SettingsError


def spread(daily: DataFrame, days: DayRange, window: int) -> DataFrame:
    """Give each daily row to every day of ``days`` whose trailing window holds it.

    Parameters
    ----------
    daily
        Rows with their day in ``ds``.
    days
        The days to build.
    window
        Length in days, the built day included.

    Returns
    -------
    DataFrame
        The rows with ``ds`` the built day, ``event_ds`` their own, and ``age`` in days (0: the built day).
    """
    if len(days) == 1:
        # the common night: a filter does it, nothing is copied
        return (
            daily.where(DayRange(days.first - dt.timedelta(days=window - 1), days.first).where())
            .withColumn("event_ds", F.col("ds"))
            .withColumn("ds", F.lit(days.first))
            .withColumn("age", F.datediff("ds", "event_ds"))
        )
    first = F.greatest(F.col("ds"), F.lit(days.first))
    last = F.least(F.date_add("ds", window - 1), F.lit(days.last))
    return (
        daily.withColumn("event_ds", F.col("ds"))
        .withColumn("_last", last)
        .withColumn("_first", first)
        .where("_first <= _last")
        .withColumn("ds", F.explode(F.sequence("_first", "_last")))
        .withColumn("age", F.datediff("ds", "event_ds"))
        .drop("_first", "_last")
    )


def summed(column: str, window: int, kind: str = "int") -> Column:
    """Sum of ``column`` over the rows of the last ``window`` days; 0 where there is none."""
    return F.coalesce(F.sum(F.when(F.col("age") < window, F.col(column))), F.lit(0)).cast(kind)


def seen_in_market(daily: DataFrame, days: DayRange, flags: Mapping[str, tuple[str, int]]) -> DataFrame:
    """Whether anybody in the market had anything of a kind: where nobody did, nothing that is made of it is known.

    Parameters
    ----------
    daily
        Daily aggregates.
    flags
        Name of a flag to the column and the days of its window.

    Returns
    -------
    DataFrame
        ``ds`` and the flags, of the days that have any row within the widest window.
    """
    columns = sorted({column for column, _ in flags.values()})
    totals = daily.groupBy("ds").agg(*[F.sum(column).alias(column) for column in columns])
    widest = max(window for _, window in flags.values())
    seen = [(summed(column, window, "bigint") > 0).alias(flag) for flag, (column, window) in flags.items()]
    return spread(totals, days, widest).groupBy("ds").agg(*seen)


def check_horizon(table: str, horizon: int, most: int, least: int = 1) -> None:
    """Refuse an option ``horizon`` that is not from ``least`` to ``most`` days, those that the table's contract reads.

    Raises
    ------
    SettingsError
        It names the table and both bounds.
    """
    if not least <= horizon <= most:
        raise SettingsError(f"{table}: horizon is {horizon}, but must be from {least} to {most} days.")


def decay(half_life_days: float | Column) -> Column:
    """Weight ``2^(-age / half_life_days)`` of a row: 1 on the built day, a half after each half-life."""
    half_life = half_life_days if isinstance(half_life_days, Column) else F.lit(half_life_days)
    return F.pow(F.lit(0.5), F.col("age") / half_life)
