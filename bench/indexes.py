"""``python -m bench indexes``: nearest-neighbour search at 200,000 vectors (``python -m bench indexes N``: at N).

Each kind of index is built and tuned to recall@100 of 0.95 as the night does it, then searched for its 100 nearest.
Beside it the same search by blocked matrix multiplication, and by Spark ML's ``recommendForAllUsers`` over as many
items as it can do in minutes. Processor seconds of one thread, so that a busy machine changes little; Spark's are the
wall time of all cores.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from bench.meter import engine, figure, peak_memory
from jobs.session import connect
from jobs.settings import Market, Settings, home_dir
from models.ann import Index, IndexParams, build_index, normalised

COUNT, DIMENSIONS, K, QUERIES = 200_000, 64, 100, 2_000
SPARK_ITEMS, SPARK_USERS = 20_000, 2_000
AIM = "recall@100 of 0.95 or more"


def clustered(count: int, seed: int = 7) -> np.ndarray:
    """Vectors about a thousand centres, as tastes are: float32, shape ``(count, DIMENSIONS)``, length 1."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(1_000, DIMENSIONS)).astype(np.float32)
    made = centres[rng.integers(0, len(centres), count)]
    made += 0.6 * rng.standard_normal((count, DIMENSIONS), dtype=np.float32)
    return normalised(made)


def index(kind: str, vectors: np.ndarray, queries: np.ndarray) -> None:
    size = f"{len(vectors)} x {DIMENSIONS}"
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        facts = build_index(np.arange(len(vectors)), vectors, Path(folder), IndexParams(kind=kind))
        figure(f"indexes.{kind}.build", time.process_time() - started, "s", size, facts["parameters"])
        figure(f"indexes.{kind}.recall_at_100", facts["recall_at_100"], "share", size, AIM)
        figure(f"indexes.{kind}.bytes", (Path(folder) / "index.faiss").stat().st_size / len(vectors), "bytes", size)
        loaded = Index.load(Path(folder))
        started = time.process_time()
        loaded.search(queries, K)
        figure(f"indexes.{kind}.search", len(queries) / (time.process_time() - started), "users/s/core", size, AIM)


def multiplication(vectors: np.ndarray, queries: np.ndarray, block: int = 256) -> None:
    """The exact 100 best by products of blocks of users with all items."""
    started = time.process_time()
    for start in range(0, len(queries), block):
        scores = queries[start : start + block] @ vectors.T
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1), 1)
    rate = len(queries) / (time.process_time() - started)
    figure("indexes.multiplication.search", rate, "users/s/core", f"{len(vectors)} x {DIMENSIONS}", "exact")


def spark_als() -> None:
    """Spark ML's own way from factors to everyone's 100 best, over fewer items."""
    from pyspark.ml.recommendation import ALS

    with engine():
        home = home_dir()
        spark = connect(Settings(home, home / "lake", home / "landing", Market("bench")))
        rng = np.random.default_rng(7)
        every = np.arange(max(SPARK_ITEMS, SPARK_USERS) * 5)
        ratings = np.stack([every % SPARK_USERS, rng.permutation(every) % SPARK_ITEMS], axis=1)
        frame = spark.createDataFrame(ratings.astype(np.int32), ["user", "item"]).selectExpr("*", "1.0 AS rating")
        als = ALS(rank=DIMENSIONS, maxIter=1, implicitPrefs=True, userCol="user", itemCol="item", seed=7)
        model = als.fit(frame)
        started = time.monotonic()
        found = model.recommendForAllUsers(K).count()
        cores = os.cpu_count() or 1
        rate = found / (time.monotonic() - started) / cores
        figure("indexes.spark_als.search", rate, "users/s/core", f"{SPARK_ITEMS} x {DIMENSIONS}", "exact")
        # a client whose server is gone tries for minutes to say goodbye
        spark.stop()


def bench(count: int | str = COUNT) -> None:
    """Measure searching among ``count`` vectors."""
    count = int(count)
    with threadpool_limits(1):
        vectors, queries = clustered(count), clustered(QUERIES, seed=8)
        for kind in ("flat", "hnsw", "ivf", "ivfpq"):
            index(kind, vectors, queries[: QUERIES // 10] if kind == "flat" else queries)
        multiplication(vectors, queries[: QUERIES // 4])
        few = vectors[:SPARK_ITEMS]
        index("flat", few, queries)
        multiplication(few, queries)
    figure("indexes.peak_memory", peak_memory(), "GiB", str(count))
    spark_als()
