"""The items of a day as the reranking reads them: one small file of attributes and one of content vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Artifact, DayRange, NoParams, TableInput
from models.pool import SCALE

CONTRACT = Artifact(
    name="models.shelf",
    group="fit",
    owner="serving",
    description="Every known item by position: category, creator, topic, quality, effort, age, restrictions, and "
    "its content vector as whole numbers.",
    inputs=[
        TableInput("silver.items"),
        TableInput("features.item_stats"),
        TableInput("features.item_content"),
        TableInput("features.creator_stats", optional=True),
    ],
)


def build(
    items: DataFrame,
    item_stats: DataFrame,
    item_content: DataFrame,
    creator_stats: DataFrame,
    *,
    days: DayRange,
    params: NoParams,
    out: Path,
) -> dict[str, Any]:
    stats = item_stats.select("ds", "item_id", "quality", "age_days", "is_long_tail", "is_eligible")
    stage = creator_stats.select("ds", "creator_id", "stage")
    rows = (
        items.select("ds", "item_id", "category", "creator_id", "subcategory", "regions", "age_limit", "duration_ms")
        .join(stats, ["ds", "item_id"], "left")
        .join(stage, ["ds", "creator_id"], "left")
        .join(item_content.select("ds", "item_id", "vector"), ["ds", "item_id"], "left")
        .select(
            "item_id",
            "category",
            F.col("creator_id").alias("creator"),
            F.col("subcategory").alias("topic"),
            "regions",
            F.coalesce("age_limit", F.lit(0)).alias("age_limit"),
            F.col("quality").cast("double").alias("quality"),
            F.col("age_days").cast("double").alias("age_days"),
            _effort().alias("effort"),
            F.coalesce("is_eligible", F.lit(False)).alias("on_offer"),
            F.coalesce("is_long_tail", F.lit(False)).alias("long_tail"),
            F.coalesce(F.col("stage") == "novice", F.lit(False)).alias("novice"),
            "vector",
        )
        .orderBy("item_id")
        .toArrow()
    )
    return save(rows, out)


def _effort():
    """Place of the item among those with a length, 0 the shortest; 0.5 for one without."""
    timed = Window.partitionBy("ds", F.col("duration_ms").isNotNull()).orderBy("duration_ms")
    return F.when(F.col("duration_ms").isNull(), 0.5).otherwise(F.round(F.percent_rank().over(timed), 6))


def save(rows: pa.Table, out: Path) -> dict[str, Any]:
    """Write the rows (item_id ascending, ``vector`` a list or null) where `models.pool.Shelf` reads them."""
    lists = rows["vector"].to_pylist()
    dimension = max((len(vector) for vector in lists if vector), default=1)
    vectors = np.array([vector or [0.0] * dimension for vector in lists], np.float64).reshape(-1, dimension)
    np.save(out / "vectors.npy", np.rint(vectors * SCALE).astype(np.int8), allow_pickle=False)
    pq.write_table(rows.drop(["vector"]), out / "items.parquet")
    return {"items": rows.num_rows, "dimension": dimension, "with_vector": sum(v is not None for v in lists)}
