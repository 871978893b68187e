"""The index over item content vectors: neighbours of items that nobody has touched yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import DataFrame

from jobs.contract import Artifact, DayRange, TableInput
from models.ann import IndexParams, build_index

CONTRACT = Artifact(
    name="models.content_index",
    group="fit",
    owner="candidates",
    description="FAISS index over item content vectors with id map and measured recall.",
    inputs=[TableInput("features.item_content")],
)
Params = IndexParams


def build(item_content: DataFrame, *, days: DayRange, params: IndexParams, out: Path) -> dict[str, Any]:
    rows = item_content.select("item_id", "vector").orderBy("item_id").toArrow()
    values = rows["vector"].combine_chunks().flatten().to_numpy()
    vectors = values.reshape(rows.num_rows, len(values) // max(1, rows.num_rows)).astype(np.float32)
    return build_index(rows["item_id"].to_numpy(), vectors, out, params)
