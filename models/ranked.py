"""The fused candidates with the pinned ranker's scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, ModelInput, Table, TableInput, between
from jobs.errors import ContractError
from jobs.settings import Market
from models.objectives import geometric, weights_of_types
from models.rankers.ranker import SEQUENCE, Ranker, describe, load
from models.ranking_features import FEATURES, Known, assemble
from models.ranking_features import inputs as feature_inputs
from models.scored_features import TYPE, given, is_sampled
from models.variants import ORDERS, RANKERS, by_pipeline, pipelines


@dataclass(frozen=True)
class Params:
    """How lists are ordered, and how much is kept of what was scored.

    Parameters
    ----------
    order_by
        The head that orders a list: rank (LambdaMART; pctr where a ranker has none), pctr, or fusion, which is all
        objectives as one score (models.objectives). On the small world LambdaMART's order reaches NDCG@10 0.186 on
        the next day's actions, pCTR's 0.155.
    ctr, cvr, dwell
        First weights of the objectives in fusion; from there the nightly law moves them (models.objective_weights).
    sample
        Share of the users whose features are kept as they were scored.
    """

    order_by: str = "rank"
    ctr: float = 0.6
    cvr: float = 0.3
    dwell: float = 0.1
    sample: float = 0.02

    def __post_init__(self) -> None:
        if self.order_by not in ORDERS:
            raise ContractError(f"candidates.ranked: order_by is {self.order_by!r}, but must be rank, pctr or fusion.")


CONTRACT = Table(
    name="candidates.ranked",
    group="serving",
    owner="ranking",
    description="Every fused candidate with the calibrated heads of the model pinned for the day; before the "
    "first model, ordered by the fused score.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("item_id", "bigint", "Surrogate item key."),
        Column("rank", "int", "Place by score, from 1."),
        Column("score", "double", "What orders the list: the configured head, or the fused score.", digits=9),
        Column("pctr", "double", "Calibrated probability of a target action when shown first.", digits=6),
        Column("pcvr", "double", "Calibrated probability of a purchase; null where no head was fitted.", digits=6),
        Column("dwell", "double", "Expected time once clicked; null where no head was fitted.", "s", digits=6),
        Column("relevance", "double", "LambdaMART's score; null for a ranker without that head.", digits=6),
        Column("model_version", "string", "Model and version; popularity before the first model."),
        Column("channel", "string", "The channel that contributed most."),
        Column("channels", "array<string>", "All channels that found it."),
        Column("seed_item_id", "bigint", "The user's item that led to it."),
        Column("scored_features", TYPE, "What the model was given, for a sample of users (audit.skew); else null."),
    ],
    keys=["user_id", "item_id"],
    grain="day",
    workers=True,
    inputs=[
        TableInput("candidates.fused"),
        ModelInput("ranker"),
        ModelInput("challenger"),
        TableInput("features.user_sequence", optional=True),
        TableInput("silver.items"),
        TableInput("ops.objective_weights", optional=True),
        *feature_inputs(),
    ],
    checks=[between("pctr", 0, 1), between("pcvr", 0, 1)],
)
NO_MODEL = "popularity"
UNKNOWN = "unknown"
"""The content type of items that do not tell theirs, as in silver.content_daily."""
HEADS = {"pctr": "pctr", "pcvr": "pcvr", "dwell": "dwell", "rank": "relevance"}
"""Heads of a ranker, and the columns that they become."""
SCORED = ", ".join(f"{column} double" for column in HEADS.values()) + f", scored_features {TYPE}"


def build(
    fused: DataFrame,
    ranker: Path | None,
    challenger: Path | None,
    user_sequence: DataFrame,
    items: DataFrame,
    objective_weights: DataFrame,
    *,
    days: DayRange,
    params: Params,
    market: Market,
    **known: DataFrame,
) -> DataFrame:
    kept = ["ds", "user_id", "item_id", "channel", "channels", "seed_item_id", "fused_score"]
    candidates = fused.withColumnRenamed("score", "fused_score").select(*kept)
    if ranker is None:
        nothing = {name: F.lit(None).cast("double") for name in HEADS.values()}
        nothing["scored_features"] = F.lit(None).cast(TYPE)
        scored = candidates.withColumns(nothing).withColumn("score", F.col("fused_score"))
        scored = scored.withColumn("model_version", F.lit(NO_MODEL))
    else:
        heads = _scored_by_variants(candidates, ranker, challenger, user_sequence, days, params, market, Known(known))
        scored = _ordered(heads, items, objective_weights, days, params, market)
    # calibration has plateaus: within one LambdaMART decides, then the fused order, then the key
    best = Window.partitionBy("ds", "user_id").orderBy(
        F.round("score", 9).desc(),
        F.round("relevance", 6).desc_nulls_last(),
        F.round("fused_score", 9).desc(),
        "item_id",
    )
    return scored.withColumn("rank", F.row_number().over(best))


def _scored_by_variants(
    candidates: DataFrame,
    ranker: Path,
    challenger: Path | None,
    user_sequence: DataFrame,
    days: DayRange,
    params: Params,
    market: Market,
    known: Known,
) -> DataFrame:
    """The heads of every candidate, by the model of its user's pipeline; where there is no challenger, the champion."""
    model = by_pipeline(market, days.last, F.col("user_id"), lambda pipeline: F.lit(pipeline.ranker))
    champion, other = RANKERS
    of = {ranker: champion} if challenger is None else {ranker: champion, challenger: other}
    parts = []
    for folder, name in of.items():
        theirs = candidates if len(of) == 1 else candidates.where(model == name)
        if describe(folder)["sequences"]:
            past = user_sequence.select("ds", "user_id", F.col("items").alias(SEQUENCE))
            theirs = theirs.join(past, ["ds", "user_id"], "left")
        parts.append(_with_heads(theirs, folder, days, params, known).drop(SEQUENCE))
    return reduce(DataFrame.unionByName, parts)


def _with_heads(candidates: DataFrame, ranker: Path, days: DayRange, params: Params, known: Known) -> DataFrame:
    # every candidate is scored as if it stood first: position explains clicks, it is no merit of the item
    pairs = candidates.withColumn("position", F.lit(1)).withColumn("_sampled", is_sampled(params.sample))
    rows = assemble(pairs, days, known)
    version = (ranker / "VERSION").read_text()
    passed = [c for c in rows.columns if c not in FEATURES]
    schema = ", ".join(f"{f.name} {f.dataType.simpleString()}" for f in rows.select(*passed).schema.fields)
    scored = rows.mapInArrow(scorer(ranker, passed), f"{schema}, {SCORED}")
    return scored.withColumn("model_version", F.lit(version))


def _ordered(
    heads: DataFrame,
    items: DataFrame,
    objective_weights: DataFrame,
    days: DayRange,
    params: Params,
    market: Market,
) -> DataFrame:
    """Add ``score``, by which lists are ordered."""
    orders = {pipeline.order_by or params.order_by for pipeline in pipelines(market, days.last)}
    by = {"rank": F.coalesce("relevance", "pctr"), "pctr": F.col("pctr")}
    if "fusion" in orders:
        kinds = items.select("item_id", F.coalesce("content_type", F.lit(UNKNOWN)).alias("content_type"))
        typed = kinds.join(F.broadcast(weights_of_types(objective_weights)), "content_type")
        heads = heads.join(typed, "item_id", "left")
        first = {"ctr": params.ctr, "cvr": params.cvr, "seconds": params.dwell}
        weights = [F.coalesce(name, F.lit(value)) for name, value in first.items()]
        fused = geometric(F.col("pctr"), F.col("pcvr"), F.col("dwell"), *weights)
        by["fusion"] = fused * F.coalesce("level", F.lit(1.0))
    score = by_pipeline(market, days.last, F.col("user_id"), lambda pipeline: by[pipeline.order_by or params.order_by])
    return heads.withColumn("score", score)


@lru_cache(maxsize=2)
def _loaded(folder: Path) -> Ranker:
    """A model, read once by each of Spark's Python workers: they are used again. Its folder's content never changes."""
    return load(folder)


def scorer(folder: Path, passed: list[str]):
    """A function for ``mapInArrow``: features in, scores beside the passed columns out."""

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        loaded = _loaded(folder)
        for batch in batches:
            made = loaded.score(batch) if batch.num_rows else {}
            columns = [batch.column(name) for name in passed]
            for head in HEADS:
                columns.append(pa.array(made[head]) if head in made else pa.nulls(batch.num_rows, pa.float64()))
            columns.append(given(batch, batch.column("_sampled")))
            yield pa.RecordBatch.from_arrays(columns, names=[*passed, *HEADS.values(), "scored_features"])

    return score
