"""Item-to-item similarity by co-occurrence in users' sequences."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, no_rows_where

DAY_MS = 86_400_000.0


@dataclass(frozen=True)
class Params:
    """``shrinkage`` pulls rare pairs to 0; ``neighbours`` are kept per item; ``recent`` items count per user, and a
    pair half as much for each ``half_life_days`` of its age and for each that lies between its two actions.
    """

    shrinkage: float = 5.0
    neighbours: int = 50
    recent: int = 50
    half_life_days: float = 30.0


CONTRACT = Table(
    name="candidates.item_neighbours",
    group="candidates",
    owner="candidates",
    description="Cosine similarity of items over users' sequences, decayed by age and by the time between the two "
    "actions (Ding and Li, 2005), shrunk by n / (n + shrinkage) (Sarwar et al., 2001; Bell and Koren, 2007). Heavy "
    "users count their last 50 items only.",
    columns=[
        Column("item_id", "bigint", "Surrogate item key."),
        Column("neighbour_id", "bigint", "The similar item."),
        Column("similarity", "double", "Shrunk cosine, in (0, 1].", digits=6),
        Column("common_users", "int", "Users with both.", "people"),
        Column("rank", "int", "1 is the most similar."),
    ],
    keys=["item_id", "neighbour_id"],
    inputs=[TableInput("features.user_sequence")],
    checks=[
        between("similarity", 0, 1.000001),
        no_rows_where("item_id = neighbour_id", "an item is its own neighbour"),
    ],
)


def build(user_sequence: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    steps = user_sequence.select(
        "ds", "user_id", F.explode(F.slice(F.arrays_zip("items", "last_ms"), 1, params.recent)).alias("step")
    ).select("ds", "user_id", F.col("step.items").alias("item_id"), F.col("step.last_ms").alias("at_ms"))
    # binary preference, each user weighing 1 / sqrt(items): a long list says less of each pair
    size = F.count(F.lit(1)).over(Window.partitionBy("ds", "user_id"))
    age_ms = F.greatest(F.unix_date(F.date_add("ds", 1)) * DAY_MS - F.col("at_ms"), F.lit(0.0))
    # the root on each side: the product of a pair is halved once in a half-life
    weighted = steps.withColumn("weight", F.pow(size, F.lit(-0.25)) * F.sqrt(_halved(age_ms, params)))
    norms = weighted.groupBy("ds", "item_id").agg(F.sum(F.round(F.col("weight") ** 2, 9)).alias("norm"))
    other = weighted.select(
        "ds",
        "user_id",
        F.col("item_id").alias("neighbour_id"),
        F.col("weight").alias("_weight"),
        F.col("at_ms").alias("_at_ms"),
    )
    together = _halved(F.abs(F.col("at_ms") - F.col("_at_ms")), params)
    pairs = (
        weighted.join(other, ["ds", "user_id"])
        .where("item_id <> neighbour_id")
        .groupBy("ds", "item_id", "neighbour_id")
        .agg(
            F.sum(F.round(F.col("weight") * F.col("_weight") * together, 9)).alias("dot"),
            F.count(F.lit(1)).cast("int").alias("common_users"),
        )
    )
    neighbour_norms = norms.select("ds", F.col("item_id").alias("neighbour_id"), F.col("norm").alias("_norm"))
    cosine = F.col("dot") / F.sqrt(F.col("norm") * F.col("_norm"))
    shrunk = cosine * F.col("common_users") / (F.col("common_users") + params.shrinkage)
    best = Window.partitionBy("ds", "item_id").orderBy(F.col("similarity").desc(), "neighbour_id")
    return (
        pairs.join(norms, ["ds", "item_id"])
        .join(neighbour_norms, ["ds", "neighbour_id"])
        .withColumn("similarity", F.round(shrunk, 6))
        .where("similarity > 0")
        .withColumn("rank", F.row_number().over(best))
        .where(F.col("rank") <= params.neighbours)
    )


def _halved(ms: SparkColumn, params: Params) -> SparkColumn:
    """1 for no time, a half for each half-life."""
    return F.pow(F.lit(0.5), ms / (params.half_life_days * DAY_MS))
