"""The fused candidates with the pinned ranker's scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, ModelInput, Table, TableInput, between
from models.ranking_features import FEATURES, Known, assemble
from models.ranking_features import inputs as feature_inputs
from models.scored_features import TYPE, given, is_sampled


@dataclass(frozen=True)
class Params:
    """How lists are ordered, and how much is kept of what was scored.

    Parameters
    ----------
    order_by
        The head that orders a list: rank (LambdaMART) or pctr. On the small world LambdaMART's order reaches
        NDCG@10 0.186 on the next day's actions, pCTR's 0.155.
    sample
        Share of the users whose features are kept as they were scored.
    """

    order_by: str = "rank"
    sample: float = 0.02


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
        Column("relevance", "double", "LambdaMART's score.", digits=6),
        Column("model_version", "string", "Model and version; popularity before the first model."),
        Column("channel", "string", "The channel that contributed most."),
        Column("channels", "array<string>", "All channels that found it."),
        Column("seed_item_id", "bigint", "The user's item that led to it."),
        Column("scored_features", TYPE, "What the model was given, for a sample of users (audit.skew); else null."),
    ],
    keys=["user_id", "item_id"],
    grain="day",
    workers=True,
    inputs=[TableInput("candidates.fused"), ModelInput("ranker"), *feature_inputs()],
    checks=[between("pctr", 0, 1), between("pcvr", 0, 1)],
)
NO_MODEL = "popularity"
SCORED = f"pctr double, pcvr double, relevance double, scored_features {TYPE}"


def build(
    fused: DataFrame,
    ranker: Path | None,
    *,
    days: DayRange,
    params: Params,
    **known: DataFrame,
) -> DataFrame:
    kept = ["ds", "user_id", "item_id", "channel", "channels", "seed_item_id", "fused_score"]
    candidates = fused.withColumnRenamed("score", "fused_score").select(*kept)
    if ranker is None:
        nothing = {name: F.lit(None).cast("double") for name in ("pctr", "pcvr", "relevance")}
        nothing["scored_features"] = F.lit(None).cast(TYPE)
        scored = candidates.withColumns(nothing).withColumn("score", F.col("fused_score"))
        scored = scored.withColumn("model_version", F.lit(NO_MODEL))
    else:
        scored = _with_scores(candidates, ranker, days, params, Known(known))
    # calibration has plateaus: within one LambdaMART decides, then the fused order, then the key
    best = Window.partitionBy("ds", "user_id").orderBy(
        F.round("score", 9).desc(),
        F.round("relevance", 6).desc_nulls_last(),
        F.round("fused_score", 9).desc(),
        "item_id",
    )
    return scored.withColumn("rank", F.row_number().over(best))


def _with_scores(candidates: DataFrame, ranker: Path, days: DayRange, params: Params, known: Known) -> DataFrame:
    # every candidate is scored as if it stood first: position explains clicks, it is no merit of the item
    pairs = candidates.withColumn("position", F.lit(1)).withColumn("_sampled", is_sampled(params.sample))
    rows = assemble(pairs, days, known)
    version = (ranker / "VERSION").read_text()
    passed = [c for c in rows.columns if c not in FEATURES]
    schema = ", ".join(f"{f.name} {f.dataType.simpleString()}" for f in rows.select(*passed).schema.fields)
    scored = rows.mapInArrow(scorer(ranker, passed), f"{schema}, {SCORED}")
    head = {"rank": "relevance"}.get(params.order_by, params.order_by)
    return scored.withColumn("score", F.col(head)).withColumn("model_version", F.lit(version))


def scorer(folder: Path, passed: list[str]):
    """A function for ``mapInArrow``: features in, scores beside the passed columns out; one load a worker."""

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from models.rankers.xgb import XgbRanker

        loaded = XgbRanker.load(folder)
        for batch in batches:
            made = loaded.score(batch) if batch.num_rows else {}
            columns = [batch.column(name) for name in passed]
            for name in ("pctr", "pcvr", "rank"):
                columns.append(pa.array(made[name]) if name in made else pa.nulls(batch.num_rows, pa.float64()))
            columns.append(given(batch, batch.column("_sampled")))
            yield pa.RecordBatch.from_arrays(columns, names=[*passed, "pctr", "pcvr", "relevance", "scored_features"])

    return score
