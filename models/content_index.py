"""The index over item content vectors: neighbours of items that nobody has touched yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame

from jobs.contract import Artifact, ArtifactInput, DayRange, TableInput
from models.ann import Index, IndexParams, build_index, extend_index

CONTRACT = Artifact(
    name="models.content_index",
    group="fit",
    owner="candidates",
    description="FAISS index over item content vectors with id map and measured recall. A large one is extended by "
    "the new items of the night, and built again when vectors changed.",
    log="ops.index",
    inputs=[
        TableInput("features.item_content"),
        ArtifactInput("models.content_index", max_age=7, optional=True, alias="previous"),
    ],
)
Params = IndexParams


def build(
    item_content: DataFrame, previous: Path | None, *, days: DayRange, params: IndexParams, out: Path
) -> dict[str, Any]:
    ids, vectors = vectors_of(item_content.select("item_id", "vector").orderBy("item_id").toArrow())
    if previous is not None and params.kind_of(len(ids)) != "flat" and _has_grown(previous, ids, vectors, params):
        return extend_index(previous, ids, vectors, out, params)
    return build_index(ids, vectors, out, params)


def vectors_of(rows: pa.Table) -> tuple[np.ndarray, np.ndarray]:
    """``item_id`` and ``vector`` of rows as arrays."""
    values = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors = values.reshape(rows.num_rows, len(values) // max(1, rows.num_rows)).astype(np.float32)
    return rows["item_id"].to_numpy(), vectors


def _has_grown(previous: Path, ids: np.ndarray, vectors: np.ndarray, params: IndexParams) -> bool:
    """True where the previous index holds a part of these vectors and is of the kind that they ask for."""
    index = Index.load(previous)
    known = np.isin(ids, index.ids)
    same_kind = (index.facts["kind"], index.metric) == (params.kind_of(len(ids)), params.metric)
    return same_kind and known.sum() == len(index.ids) and index.was_built_from(ids[known], vectors[known])
