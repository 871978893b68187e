"""The lists of the detail page: what goes with each item, or resembles it where nobody has touched it yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import (
    ArtifactInput,
    Column,
    DayRange,
    Table,
    TableInput,
    between,
    in_set,
    known_in,
    no_rows_where,
    rows_between,
)
from models import eligibility
from models.ann import Index
from models.content_index import vectors_of
from models.rules.quality_floor import QualityFloor
from quality.badcases import stop_loss

FOUND = "ds date, item_id bigint, similar_item_id bigint, score double"


@dataclass(frozen=True)
class Params:
    """``length`` of an item's list; ``quality_floor``: nothing below this quality stands on a page."""

    length: int = 20
    quality_floor: float = QualityFloor.floor


CONTRACT = Table(
    name="serving.similar_items",
    group="serving",
    owner="serving",
    description="Up to 20 eligible items per eligible item: neighbours by co-occurrence, then by content; an item "
    "for some regions or ages only stands on pages of items with the same restriction.",
    columns=[
        Column("release_id", "string", "Release."),
        Column("item_id", "bigint", "The item whose page it is."),
        Column("rank", "int", "Place, from 1."),
        Column("similar_item_id", "bigint", "The item shown."),
        Column("score", "double", "Similarity by its source.", digits=6),
        Column("source", "string", "together (users had both) or content (texts are alike)."),
    ],
    keys=["item_id", "rank"],
    replace_by="release_id",
    append=True,
    workers=True,
    grain="day",
    inputs=[
        TableInput("candidates.item_neighbours"),
        TableInput("features.item_stats"),
        TableInput("features.item_content"),
        TableInput("silver.items"),
        stop_loss.INPUT,
        # of the same day: vectors of another fit mean nothing to it
        ArtifactInput("models.content_index", max_age=0),
    ],
    checks=[
        between("rank", 1, 20),
        in_set("source", ("together", "content")),
        rows_between(1),
        known_in("similar_item_id", "features.item_stats", other="item_id", where="is_eligible"),
        no_rows_where("item_id = similar_item_id", "an item is similar to itself"),
        no_rows_where("count(1) OVER (PARTITION BY ds, item_id, similar_item_id) > 1", "an item is twice in a list"),
    ],
)


def build(
    item_neighbours: DataFrame,
    item_stats: DataFrame,
    item_content: DataFrame,
    items: DataFrame,
    badcases: DataFrame,
    content_index: Path,
    *,
    days: DayRange,
    params: Params,
) -> DataFrame:
    vectors = item_content.select("ds", "item_id", "vector")
    # content that was built again after the index was fitted would find wrong neighbours and no error
    Index.load(content_index).require(*vectors_of(vectors.toArrow()))
    eligible = item_stats.where("is_eligible").select("ds", "item_id", "quality")
    together = item_neighbours.select(
        "ds",
        "item_id",
        F.col("neighbour_id").alias("similar_item_id"),
        F.col("similarity").alias("score"),
        F.lit("together").alias("source"),
    )
    alike = vectors.mapInArrow(searcher(content_index, 2 * params.length), FOUND).withColumn("source", F.lit("content"))
    order = [F.col("source").desc(), F.round("score", 6).desc(), F.col("similar_item_id")]
    once = Window.partitionBy("ds", "item_id", "similar_item_id").orderBy(*order)
    best = Window.partitionBy("ds", "item_id").orderBy(*order)
    good = eligible.where(~eligibility.too_bad(params.quality_floor))
    shown = stop_loss.without_stopped(good.withColumnRenamed("item_id", "similar_item_id"), badcases, "similar_item_id")
    limits = eligibility.restrictions(items).withColumn("_limits", F.struct("regions", "age_limit"))
    page = F.broadcast(limits.select("ds", "item_id", F.col("_limits").alias("_page")))
    other = F.broadcast(
        limits.select("ds", F.col("item_id").alias("similar_item_id"), F.col("_limits").alias("_other"))
    )
    return (
        together.unionByName(alike)
        .where("item_id <> similar_item_id")
        .join(eligible, ["ds", "item_id"], "left_semi")
        .join(shown, ["ds", "similar_item_id"], "left_semi")
        .join(page, ["ds", "item_id"], "left")
        .join(other, ["ds", "similar_item_id"], "left")
        .where(F.col("_other").isNull() | F.col("_other").eqNullSafe(F.col("_page")))
        .withColumn("_nth", F.row_number().over(once))
        .where("_nth = 1")
        .withColumn("rank", F.row_number().over(best))
        .where(F.col("rank") <= params.length)
    )


def searcher(index_path: Path, k: int):
    """A function for ``mapInArrow``: content vectors in, nearest items by content out."""

    def search(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        index = Index.load(index_path)
        for batch in batches:
            if not batch.num_rows:
                continue
            vectors = np.asarray(batch.column("vector").to_pylist(), dtype=np.float32)
            found, scores = index.search(vectors, k + 1)
            rows, columns = np.nonzero(np.isfinite(scores))
            at = pa.array(rows)
            yield pa.RecordBatch.from_arrays(
                [
                    batch.column("ds").take(at),
                    batch.column("item_id").take(at),
                    pa.array(found[rows, columns]),
                    pa.array(np.round(scores[rows, columns].astype(np.float64), 5)),
                ],
                names=["ds", "item_id", "similar_item_id", "score"],
            )

    return search
