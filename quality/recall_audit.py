"""``audit.recall``: what each channel and the fused list held of what users then took, at the same budget."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, no_rows_where
from quality.intervals import bootstrap
from quality.lists import days_before, frame_of, on, positives

LONGEST = 7
FUSED = "fused"


@dataclass(frozen=True)
class Params:
    """``horizons``: days after the lists in which an action counts, none above 7; ``budget``: places of a list."""

    horizons: tuple[int, ...] = (1, 7)
    budget: int = 200


CONTRACT = Table(
    name="audit.recall",
    group="audit",
    owner="quality",
    description="Recall of every channel and of the fused list at the same budget, of the users of whom all 200 "
    "candidates are kept: against what they took in the horizon's days after list_ds, which end on ds.",
    columns=[
        Column("list_ds", "date", "Day of the judged candidates."),
        Column("horizon_days", "int", "Days after list_ds in which an action counts.", unit="days"),
        Column("subject", "string", "fused, or the channel's name."),
        Column("k", "int", "Budget: places that count."),
        Column("recall", "double", "Mean over users of the part of what they took that is in the list.", digits=6),
        Column("lo", "double", "Lower end of the 95 % interval over users.", digits=6),
        Column("hi", "double", "Upper end of the 95 % interval over users.", digits=6),
        Column("candidates", "double", "Mean length of the list over users.", digits=2),
        Column("hits", "bigint", "Pairs of user and item taken that are in the list."),
        Column("unique_hits", "bigint", "Those of them that no other channel found; 0 for the fused list."),
        Column("n", "bigint", "Users judged: with a fused list and at least one such action.", unit="users"),
    ],
    keys=["list_ds", "horizon_days", "subject", "k"],
    inputs=[
        TableInput("candidates.recall", days=LONGEST + 1, optional=True),
        TableInput("candidates.fused", days=LONGEST + 1, optional=True),
        TableInput("silver.user_item_daily", days=LONGEST + 1),
    ],
    checks=[
        between("recall", 0, 1),
        between("n", 1, None),
        no_rows_where("unique_hits > hits", "more was found alone than was found"),
    ],
    grain="day",
)


def build(
    recall: DataFrame, fused: DataFrame, user_item_daily: DataFrame, *, days: DayRange, params: Params
) -> DataFrame:
    rows: list[dict[str, Any]] = []
    for horizon in params.horizons:
        list_ds = days_before(days.last, horizon)
        listed = lists_of(recall, fused, list_ds, params.budget)
        wanted = positives(user_item_daily, list_ds, horizon, listed.where(F.col("subject") == FUSED)).persist()
        try:
            # most first nights end here, without planning the rest
            if not wanted.isEmpty():
                found, everyone = counted(listed, wanted), wanted.select("user_id").distinct().count()
                key = {"ds": days.last, "list_ds": list_ds, "horizon_days": horizon, "k": params.budget}
                rows += [{**key, **figures} for figures in measured(found, everyone)]
        finally:
            wanted.unpersist()
    return frame_of(user_item_daily.sparkSession, CONTRACT, rows)


def lists_of(recall: DataFrame, fused: DataFrame, list_ds: dt.date, budget: int) -> DataFrame:
    """``subject, user_id, item_id``: the candidates of a day, of the users of whom all are kept."""
    channels = recall.where(on(list_ds) & F.col("audited") & (F.col("rank") <= budget))
    users = channels.select("user_id").distinct()
    kept = fused.where(on(list_ds) & (F.col("rank") <= budget)).join(users, "user_id", "left_semi")
    return channels.select(F.col("channel").alias("subject"), "user_id", "item_id").unionByName(
        kept.select(F.lit(FUSED).alias("subject"), "user_id", "item_id")
    )


def counted(listed: DataFrame, wanted: DataFrame) -> pa.Table:
    """Per subject and judged user: ``length`` of the list, ``hits``, ``alone`` (found by no other channel) and
    ``relevant``, the number of items taken.
    """
    judged = wanted.select("user_id", "relevant").distinct()
    taken = wanted.select("user_id", "item_id", F.lit(True).alias("hit"))
    rows = (
        listed.join(F.broadcast(judged), "user_id")
        .join(F.broadcast(taken), ["user_id", "item_id"], "left")
        .withColumn("hit", F.coalesce("hit", F.lit(False)))
    )
    hits = rows.where("hit").groupBy("user_id", "item_id").agg(F.collect_set("subject").alias("by"))
    channels = F.array_remove("by", FUSED)
    alone = hits.where(F.size(channels) == 1).select("user_id", "item_id", F.element_at(channels, 1).alias("subject"))
    return (
        rows.join(alone.withColumn("only", F.lit(1)), ["user_id", "item_id", "subject"], "left")
        .groupBy("subject", "user_id", "relevant")
        .agg(F.count(F.lit(1)).alias("length"), F.count_if("hit").alias("hits"), F.count("only").alias("alone"))
        .toArrow()
    )


def measured(found: pa.Table, everyone: int) -> Iterator[dict[str, Any]]:
    """The figures of each subject; a judged user without a row has an empty list."""
    for subject in sorted(pc.unique(found["subject"]).to_pylist()):
        rows = found.filter(pc.equal(found["subject"], subject))
        hits, relevant = rows["hits"].to_numpy(), rows["relevant"].to_numpy()
        # summed in an order that no partitioning changes
        values = np.sort(np.r_[hits / relevant, np.zeros(everyone - len(hits))])
        distinct, users = np.unique(values, return_counts=True)
        low, high = bootstrap(distinct, users)
        yield {
            "subject": subject,
            "recall": float(values.mean()),
            "lo": low,
            "hi": high,
            "candidates": float(rows["length"].to_numpy().sum() / everyone),
            "hits": int(hits.sum()),
            "unique_hits": int(rows["alone"].to_numpy().sum()),
            "n": everyone,
        }
