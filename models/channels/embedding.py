"""What lies nearest to the user in the space of ALS factors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from jobs.contract import ArtifactInput, DayRange, TableInput
from jobs.settings import Market
from models import als
from models.ann import Index
from models.channels.channel import Channel

RESULT = "ds date, user_id bigint, item_id bigint, score double, seed_item_id bigint"


@dataclass(frozen=True)
class Params:
    """``items`` returned for each user."""

    items: int = 100


CHANNEL = Channel(
    "embedding",
    "Nearest items to the user, folded into the ALS space from the last 50 items.",
    [TableInput("features.user_sequence"), ArtifactInput("models.als"), ArtifactInput("models.item_index")],
    weight=1.0,
)


def recall(
    user_sequence: DataFrame, als: Path, item_index: Path, *, days: DayRange, params: Params, market: Market
) -> DataFrame:
    search = searcher(als, item_index, params.items)
    return user_sequence.select("ds", "user_id", "items", "strengths").mapInArrow(search, RESULT)


def searcher(als_path: Path, index_path: Path, k: int):
    """A function for ``mapInArrow``: sequences in, nearest items out, own items left out."""

    def search(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        index = Index.load(index_path)
        ids, factors, fit_params = als.load(als_path)
        for batch in batches:
            if len(ids) and batch.num_rows:
                yield _search(batch, index, ids, factors, fit_params, k)

    return search


def _search(
    batch: pa.RecordBatch, index: Index, ids: np.ndarray, factors: np.ndarray, fit_params: als.Params, k: int
) -> pa.RecordBatch:
    items = [np.asarray(row, dtype=np.int64) for row in batch["items"].to_pylist()]
    strengths = [np.asarray(row, dtype=np.float32) for row in batch["strengths"].to_pylist()]
    at = [np.searchsorted(ids, row).clip(max=len(ids) - 1) for row in items]
    known = [ids[a] == row for a, row in zip(at, items, strict=True)]
    vectors = als.fold_in(
        factors,
        [a[m] for a, m in zip(at, known, strict=True)],
        [s[m] for s, m in zip(strengths, known, strict=True)],
        fit_params,
    )
    found, scores = index.search(vectors, min(k + 50, len(ids)))
    user_at, column = np.nonzero(
        np.array([~np.isin(row, own) & bool(m.any()) for row, own, m in zip(found, items, known, strict=True)])
        & np.isfinite(scores)
    )
    picked = found[user_at, column]
    return pa.RecordBatch.from_arrays(
        [
            batch["ds"].take(pa.array(user_at)),
            batch["user_id"].take(pa.array(user_at)),
            pa.array(picked),
            pa.array(np.round(scores[user_at, column].astype(np.float64), 5)),
            pa.nulls(len(picked), pa.int64()),
        ],
        names=["ds", "user_id", "item_id", "score", "seed_item_id"],
    )
