"""Fits of candidate models and candidates of all users, beside the `implicit` library and Spark ML, as they grow.

Synthetic users of 20 groups take some 20 of many items, most of them of their group's; popularity falls as 1 / rank.
Processor seconds, because seconds on the wall grow with whoever else uses the machine. ``python -m bench candidates
numpy`` leaves out what needs Spark.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from pyspark.sql import SparkSession
from threadpoolctl import threadpool_limits

from bench.meter import Meter, engine, engine_seconds, figure, peak_memory
from jobs.contract import DayRange
from models import als, crowd, item2vec, item_neighbours, lightgcn, topics
from models.channels.sequences import Users, led_to
from models.preferences import Preferences

BASE = (5_000, 2_000)
GROWTH = {"base": (1, 1), "users x 2": (2, 1), "users x 4": (4, 1), "items x 2": (1, 2), "items x 4": (1, 4)}
GROUPS, LENGTH, TOP = 20, 20, 100
DS = "2024-03-10"
FITS: dict[str, Callable[[Preferences], object]] = {
    "als": lambda taken: als.fit(taken.user_at, taken.item_at, taken.strength, taken.shape, als.Params()),
    "item2vec": lambda taken: item2vec.fit(taken, item2vec.Params()),
    "lightgcn": lambda taken: lightgcn.fit(taken, lightgcn.Params()),
    "topics": lambda taken: topics.fit(taken, topics.Params()),
}


def bench(engines: str = "all") -> None:
    """All figures, or with ``numpy`` those that need no Spark."""
    for name, (users, items) in GROWTH.items():
        taken = interactions(BASE[0] * users, BASE[1] * items)
        size = f"{name}: {taken.shape[0]:,} users, {taken.shape[1]:,} items, {len(taken):,} pairs"
        with threadpool_limits(1):
            fits(taken, size)
            neighbours(taken, size)
    figure("candidates.peak_memory", peak_memory(), "GiB", "all these sizes in turn")
    if engines != "numpy":
        meter = Meter("base")
        with engine() as pids, meter.watching(pids):
            beside_spark(interactions(*BASE), pids)
        meter.figure("candidates.peak_memory.spark", meter.peak / 2**30, "GiB", "this process and the engine")


def interactions(users: int, items: int, seed: int = 7) -> Preferences:
    """Who took what: two of three items of the user's group, by popularity."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, items + 1)
    own = (rng.random(users * LENGTH) < 2 / 3).astype(int)
    drawn = rng.choice(items, users * LENGTH, p=share / share.sum())
    user = np.repeat(np.arange(users), LENGTH)
    # items are dealt to the groups in turn: the nearest one of the user's group stands for the drawn one
    item = np.where(own, np.minimum(drawn - drawn % GROUPS + user % GROUPS, items - 1), drawn)
    pairs = np.unique(user * items + item)
    shape = np.arange(users), np.arange(items)
    return Preferences(*shape, pairs // items, pairs % items, np.ones(len(pairs)), rng.permutation(len(pairs)))


def cpu_of(work: Callable[[], object]) -> float:
    """Processor seconds of this process."""
    started = time.process_time()
    work()
    return time.process_time() - started


def fits(taken: Preferences, size: str) -> None:
    """The weekly fits, each on one thread."""
    for name, fit in FITS.items():
        figure(f"fit.{name}", cpu_of(lambda: fit(taken)), "CPU s", size)  # noqa: B023


def neighbours(taken: Preferences, size: str) -> None:
    """All users' top 100 by item-CF from the same similarities, and what user-CF costs."""
    from implicit.nearest_neighbours import CosineRecommender

    matrix = sp.csr_matrix(taken.matrix(np.ones(len(taken))))
    theirs = CosineRecommender(K=50, num_threads=1)
    fitted = cpu_of(lambda: theirs.fit(matrix, show_progress=False))
    figure("item_cf.fit.implicit", fitted, "CPU s", size)
    asked = np.arange(taken.shape[0])
    beside = cpu_of(lambda: theirs.recommend(asked, matrix, N=TOP))
    graph = sp.csr_array(theirs.similarity.astype(np.float32))
    graph.setdiag(0)
    graph.eliminate_zeros()
    users = Users(matrix.indptr.astype(np.int64), taken.item_at, taken.strength, taken.last_ms)
    ours = cpu_of(lambda: led_to(users, np.ones(len(taken)), taken.items, graph))
    figure("item_cf.all_users", taken.shape[0] / ours, "users/CPU s", size, f"implicit: {taken.shape[0] / beside:,.0f}")
    rarity = np.ones(taken.shape[1], np.float32)
    rows = taken.matrix(np.ones(len(taken)))
    others, some = crowd.directions_of(rows, rarity).T, rows[:1000]
    seconds = cpu_of(lambda: (crowd.directions_of(some, rarity) @ others).toarray())
    figure("user_cf.likeness", 1000 / seconds, "users/CPU s", size)


def beside_spark(taken: Preferences, pids: list[int]) -> None:
    """ALS of `implicit` beside that of Spark ML, and item-CF's fit in Spark beside `implicit`'s."""
    from jobs.session import connect
    from jobs.settings import Market, load_settings, save_market

    save_market(Market("candidates"))
    spark = connect(load_settings("candidates"))
    daily, sequence = frames(spark, taken)
    size = f"{taken.shape[0]:,} users, {taken.shape[1]:,} items, {len(taken):,} pairs"

    def with_engine(work: Callable[[], object]) -> float:
        before = engine_seconds(pids)
        work()
        return engine_seconds(pids) - before

    for name in als.ENGINES:
        params = als.Params(**{**asdict(als.Params()), "engine": name})
        with tempfile.TemporaryDirectory() as out:
            cost = with_engine(
                lambda: als.build(daily, days=DayRange.day(DS), params=params, out=Path(out))  # noqa: B023
            )
        figure(f"als.{name}", cost, "CPU s, engine included", size)
    made = item_neighbours.build(sequence, days=DayRange.day(DS), params=item_neighbours.Params())
    figure("item_cf.fit.spark", with_engine(made.count), "CPU s, engine included", size)
    spark.stop()


def frames(spark: SparkSession, taken: Preferences):
    """The pairs as ``silver.user_item_daily`` and as ``features.user_sequence``."""
    from pyspark.sql import functions as F

    columns = {
        "user_id": taken.user_at,
        "item_id": taken.item_at,
        "strength": taken.strength,
        "last_ms": taken.last_ms,
    }
    daily = spark.createDataFrame(pa.table(columns)).persist()
    daily.count()
    step = F.struct((-F.col("last_ms")).alias("order"), "item_id", "last_ms")
    steps = daily.groupBy("user_id").agg(F.array_sort(F.collect_list(step)).alias("steps"))
    sequence = steps.select(
        F.lit(DS).cast("date").alias("ds"),
        "user_id",
        F.col("steps.item_id").alias("items"),
        F.col("steps.last_ms").alias("last_ms"),
    )
    return daily, sequence
