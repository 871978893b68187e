"""What the audits of lists share: who is judged, what counts as a hit, and what a list may hold.

Figures are made from *patterns*: the distinct (positions that hit, number of relevant items) with how many
users have each. Users without a hit, most of them, are only counted, so what leaves Spark is bounded by the
number of patterns and not by the number of users.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.contract import Table, ddl
from jobs.lake import arrow_rows
from jobs.settings import Market
from quality.intervals import bootstrap, jackknife
from quality.metrics import parse, per_user

USER_GROUPS = 10
"""Random groups of users, one of which is left out at a time for a jackknife interval."""


def frame_of(spark: SparkSession, contract: Table, rows: list[dict[str, Any]]) -> DataFrame:
    """Rows as a frame with the contract's columns; an empty frame for no rows."""
    if not rows:
        return spark.createDataFrame([], ddl(contract.schema))
    return spark.createDataFrame(arrow_rows(contract, rows))


def days_before(ds: dt.date, n: int) -> dt.date:
    return ds - dt.timedelta(days=n)


def on(day: dt.date) -> Column:
    return F.col("ds") == F.lit(day)


def between_days(first: dt.date, last: dt.date) -> Column:
    """The rows of the days from ``first`` to ``last``, both included."""
    return F.col("ds").between(F.lit(first), F.lit(last))


def eligible(items: DataFrame, day: dt.date) -> DataFrame:
    """Items that a list of ``day`` may hold: active, and in stock where stock is a limit.

    Returns
    -------
    DataFrame
        ``item_id, category``.
    """
    active = F.coalesce(F.col("status"), F.lit("active")) == "active"
    return items.where(on(day) & active & (F.coalesce(F.col("stock"), F.lit(1)) > 0)).select("item_id", "category")


def positives(user_item_daily: DataFrame, list_ds: dt.date, horizon: int, users: DataFrame) -> DataFrame:
    """What ``users`` took in the ``horizon`` days after ``list_ds``.

    Returns
    -------
    DataFrame
        ``user_id, item_id, relevant``: a row an item, with how many items the user took in all.
    """
    window = between_days(days_before(list_ds, -1), days_before(list_ds, -horizon))
    taken = user_item_daily.where(window & (F.col("targets") > 0)).join(users, "user_id", "left_semi")
    of_user = taken.groupBy("user_id").agg(F.collect_set("item_id").alias("items"))
    return of_user.select("user_id", F.explode("items").alias("item_id"), F.size("items").alias("relevant"))


def hits_of_users(lists: DataFrame, wanted: DataFrame, *by: str) -> DataFrame:
    """Positions that hit, of the users who have any; ``lists`` has a row an item, with its ``rank``.

    The few wanted items meet the many listed ones row by row, so that lists are read and never shuffled.

    Returns
    -------
    DataFrame
        ``*by, user_id, relevant, hits array<int>``, positions ascending.
    """
    met = lists.join(wanted, ["user_id", "item_id"])
    return met.groupBy(*by, "user_id", "relevant").agg(F.sort_array(F.collect_list("rank")).alias("hits"))


def not_again(user_item_daily: DataFrame, items: DataFrame, list_ds: dt.date, block: int, market: Market) -> DataFrame:
    """Pairs that a list of ``list_ds`` may not hold: rejected, or bought where the category allows no repeats.

    Returns
    -------
    DataFrame
        ``user_id, item_id``, of the ``block`` days up to ``list_ds``.
    """
    recent = user_item_daily.where(between_days(days_before(list_ds, block - 1), list_ds))
    rejected = recent.where("rejections > 0").select("user_id", "item_id")
    if "*" in market.repeat_categories:
        return rejected.distinct()
    category = items.where(on(list_ds)).select("item_id", "category")
    bought = recent.where("purchases > 0").join(category, "item_id")
    if market.repeat_categories:
        bought = bought.where(~F.coalesce(F.col("category").isin(*market.repeat_categories), F.lit(False)))
    return rejected.union(bought.select("user_id", "item_id")).distinct()


def popular(
    user_item_daily: DataFrame, allowed: DataFrame, list_ds: dt.date, days: Sequence[int], pool: int
) -> DataFrame:
    """The ``pool`` items that most users took in each number of ``days`` up to ``list_ds``; ties by item.

    Returns
    -------
    DataFrame
        One row: ``pool_<days> array<bigint>`` for each, most taken first.
    """
    first = days_before(list_ds, max(days) - 1)
    taken = user_item_daily.where(between_days(first, list_ds) & (F.col("targets") > 0))
    # whoever took it last within the days did so in them: one pass for all windows
    last = taken.groupBy("item_id", "user_id").agg(F.max("ds").alias("last")).join(allowed, "item_id")
    users = [F.count_if(F.col("last") >= F.lit(days_before(list_ds, n - 1))).alias(f"users_{n}") for n in days]
    counted = last.groupBy("item_id").agg(*users)

    def best(n: int) -> Column:
        order = -F.col(f"users_{n}")
        rows = F.collect_list(F.when(order < 0, F.struct(order.alias("order"), "item_id")))
        return F.transform(F.slice(F.sort_array(rows), 1, pool), lambda p: p["item_id"]).alias(f"pool_{n}")

    return counted.agg(*[best(n) for n in days])


def group_of_user() -> Column:
    """The user's random group, from 0 to ``USER_GROUPS - 1``: a hash, so always the same."""
    return F.pmod(F.xxhash64("user_id", F.lit("audit group")), F.lit(USER_GROUPS)).cast("int")


def exposure_by_group(shown: DataFrame, *by: str) -> DataFrame:
    """Count how often each item of ``*by, user_id, item_id`` is shown, by random group of users.

    Returns
    -------
    DataFrame
        ``*by, item_id, shown array<bigint>`` with ``USER_GROUPS`` counts.
    """
    return shown.groupBy(*by, "item_id").agg(count_by_group().alias("shown"))


def count_by_group() -> Column:
    """Rows of each random group of users, as ``array<bigint>``."""
    return F.array(*[F.count_if(group_of_user() == g) for g in range(USER_GROUPS)])


def exposure_matrix(shown: pa.ChunkedArray) -> np.ndarray:
    """Counts as ``items x USER_GROUPS``."""
    flat = shown.combine_chunks().flatten() if len(shown) else pa.array([], pa.int64())
    return flat.to_numpy(zero_copy_only=False).reshape(-1, USER_GROUPS)


def with_jackknife(
    figure: Callable[[np.ndarray], float], matrix: np.ndarray, unit: bool = True
) -> tuple[float, float, float]:
    """Value and interval over users of ``figure(exposure)``, from ``items x groups`` counts.

    ``unit`` clips the interval to [0, 1].
    """
    total = matrix.sum(axis=1)
    value = figure(total)
    low, high = jackknife(value, np.array([figure(total - matrix[:, g]) for g in range(matrix.shape[1])]))
    return (value, *(float(x) for x in np.clip([low, high], 0, 1))) if unit else (value, low, high)


def list_figure(
    name: str, hits: Sequence[Sequence[int]], relevant: Sequence[int], users: Sequence[int], everyone: int
) -> tuple[float, float, float]:
    """Mean of the list metric ``name`` over users, with its bootstrap interval.

    Parameters
    ----------
    name
        As ``"ndcg@10"``.
    hits, relevant, users
        Patterns: positions from 1 that hit, relevant items, users with the pattern.
    everyone
        Users judged; those that no pattern covers had no list and get 0.

    Returns
    -------
    tuple of float
        Value, lower and upper end.
    """
    metric, k = parse(name)
    matrix = np.zeros((len(hits) + 1, k), dtype=bool)
    for row, positions in enumerate(hits):
        for position in positions:
            if position <= k:
                matrix[row, position - 1] = True
    counts = np.append(np.asarray(users, dtype=np.int64), everyone - int(np.sum(users)))
    values = per_user(metric)(matrix, np.append(np.asarray(relevant, dtype=np.int64), 1), k)
    low, high = bootstrap(values, counts)
    return float(values @ counts / everyone), low, high
