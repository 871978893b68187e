"""What rankers cost: rows a second of training and of scoring, and the most memory that each takes.

``python -m bench rankers [ROWS] [NAME …] [full]``: synthetic rows with every feature, keys and sequences; each ranker
in a process of its own, so that memory is its own. ``full`` also scores 50,000 users x 200 candidates with the default
ranker, in two processes as two Spark workers would; joining their features is not part of it.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.meter import figure
from models.rankers.ranker import Ranker, load, ranker
from models.ranking_features import FEATURES
from models.training import DEFAULT_RANKER

RANKERS: dict[str, tuple[str, dict[str, Any]]] = {
    "xgb": ("xgb", {}),
    "deepfm": ("deepfm", {}),
    "wide_deep": ("deepfm", {"form": "wide_deep"}),
    "din": ("din", {}),
    "dien": ("dien", {}),
    "esmm": ("esmm", {}),
    "ple": ("ple", {}),
}
USERS, CANDIDATES, LIMIT_S, WORKERS = 50_000, 200, 240, 2
BATCH = 10_000
"""Rows of a batch, as Spark hands them to a worker."""
ITEMS, SEQUENCE_LENGTH, SHOWN = 20_000, 20, 20


def bench(rows: str = "200000", *options: str) -> None:
    """Figures of the named rankers, of all by default."""
    names = [option for option in options if option != "full"] or list(RANKERS)
    number = int(rows)
    for name in names:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            found = process.submit(measured, name, number).result()
        size = f"{number:,} rows of {len(FEATURES)} features"
        figure(f"{name}.training", found["train"], "rows/s", size)
        figure(f"{name}.scoring", found["score"], "rows/s of one process", size)
        figure(f"{name}.memory", found["memory"], "GiB at most, rows included", size)
        figure(f"{name}.files", found["files"], "MiB", size)
        night = USERS * CANDIDATES / found["score"] / WORKERS
        figure(f"{name}.50,000 x 200", night, f"s on {WORKERS} cores, extrapolated", size, f"limit {LIMIT_S} s")
    if "full" in options:
        whole_night(number)


def measured(name: str, rows: int) -> dict[str, float]:
    """Fit on so many rows, score as many, in this process."""
    kind, given = RANKERS[name]
    train, valid = examples(1, rows), examples(2, rows // 8)
    declared = ranker(kind)
    params = declared.params(**given)
    started = time.perf_counter()
    fitted = declared.fit(train, valid, params)
    spent = time.perf_counter() - started
    with tempfile.TemporaryDirectory() as folder:
        fitted.save(Path(folder) / "model")
        size = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
    return {
        "train": rows / spent,
        "score": speed(fitted, train, rows),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "files": size / 2**20,
    }


def speed(fitted: Ranker, table: pa.Table, rows: int) -> float:
    """Rows a second, batch by batch, the first batch aside: it compiles what a worker compiles once."""
    batches = table.combine_chunks().to_batches(BATCH)
    fitted.score(batches[0])
    started, done = time.perf_counter(), 0
    while done < rows:
        for batch in batches:
            fitted.score(batch)
            done += batch.num_rows
    return done / (time.perf_counter() - started)


def whole_night(rows: int) -> None:
    """Score every candidate of every user with the default ranker, half of them in each of two processes."""
    kind, given = RANKERS[DEFAULT_RANKER]
    declared = ranker(kind)
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "model"
        declared.fit(examples(1, rows), examples(2, rows // 8), declared.params(**given)).save(saved)
        started = time.perf_counter()
        with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as processes:
            share = USERS * CANDIDATES // WORKERS
            peaks = list(processes.map(score_share, [saved] * WORKERS, [share] * WORKERS))
        seconds = time.perf_counter() - started
    size = f"{USERS:,} users x {CANDIDATES} candidates, {os.cpu_count()} cores"
    figure(f"{DEFAULT_RANKER}.50,000 x 200 measured", seconds, f"s in {WORKERS} processes", size, f"limit {LIMIT_S} s")
    figure(f"{DEFAULT_RANKER}.memory of a scoring process", max(peaks), "GiB", size)


def score_share(saved: Path, rows: int) -> float:
    """Score so many rows with one thread, as one of Spark's workers does; returns the peak of memory."""
    fitted = load(saved)
    speed(fitted, examples(3, 200_000), rows)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def examples(seed: int, rows: int) -> pa.Table:
    """Rows of ``training.examples`` whose labels depend on a few features; 20 a user."""
    rng = np.random.default_rng(seed)
    values = rng.random((rows, len(FEATURES)), dtype=np.float32)
    values[rng.random(values.shape, dtype=np.float32) < 0.1] = np.nan
    logit = 4 * np.nan_to_num(values[:, :4], nan=0.5).sum(axis=1) - 10
    clicked = rng.random(rows) < 1 / (1 + np.exp(-logit))
    bought = clicked & (rng.random(rows) < 0.2)
    recent = rng.integers(1, ITEMS, rows * SEQUENCE_LENGTH)
    columns = {name: values[:, at] for at, name in enumerate(FEATURES)}
    return pa.table(
        {
            "shown_ds": pa.array(np.full(rows, np.datetime64("2024-03-01"))),
            "user_id": np.arange(rows) // SHOWN,
            "item_id": rng.integers(1, ITEMS, rows),
            "label": clicked.astype(np.int32),
            "converted": bought.astype(np.int32),
            "dwell_ms": np.where(clicked, rng.integers(1_000, 90_000, rows), 0),
            "weight": np.ones(rows),
            "recent_items": pa.ListArray.from_arrays(
                np.arange(0, rows * SEQUENCE_LENGTH + 1, SEQUENCE_LENGTH, dtype=np.int32), pa.array(recent)
            ),
            **columns,
        }
    )
