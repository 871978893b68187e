"""``features.badcases``: the day's bad cases of every detector, from what happened alone.

It is built before candidates, so that tonight's lists obey tonight's stop-loss; why each case came about is
``audit.badcase``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, in_set, make_params
from jobs.settings import Market
from quality.badcases.detector import Declared, discover_detectors

DETECTORS = discover_detectors()


@dataclass(frozen=True)
class Params:
    """``off`` detectors are left out; ``options`` per detector; ``weight`` of a severe case as a training sample is
    3 times that of a mild one.
    """

    off: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    weight: float = 2.0


def _inputs() -> list[TableInput]:
    """Each table once, with the longest look-back that a detector asks for."""
    longest: dict[str, TableInput] = {}
    for each in DETECTORS.values():
        for wanted in each.detector.inputs:
            known = longest.setdefault(wanted.table, wanted)
            if wanted.days > known.days:
                longest[wanted.table] = wanted
    return list(longest.values())


CONTRACT = Table(
    name="features.badcases",
    group="features",
    owner="quality",
    description="Bad cases of the day: "
    + " ".join(f"{name}: {each.detector.description}" for name, each in DETECTORS.items()),
    columns=[
        Column("case_id", "bigint", "Hash of day, type, user, item and category."),
        Column("type", "string", "The detector that found it."),
        Column("user_id", "bigint", "Whom it happened to; null where it is an item's fault.", subject=True),
        Column("item_id", "bigint", "The item; null where none is meant."),
        Column("category", "string", "The category, where one is meant."),
        Column("severity", "int", "1 the limit is passed, 2 by half, 3 twice or more."),
        Column("evidence", "string", "Figures as JSON."),
        Column("stops", "boolean", "Tonight's lists and those of the next days leave the item out."),
        Column("label", "int", "What a ranker should learn: 0 shown wrongly, 1 missed; null for nothing."),
        Column("weight", "double", "Weight of the case as a training sample.", digits=3),
    ],
    keys=["case_id"],
    inputs=_inputs(),
    checks=[between("severity", 1, 3), in_set("type", tuple(DETECTORS)), between("weight", 0, None)],
)


def build(*, days: DayRange, params: Params, market: Market, **inputs: DataFrame) -> DataFrame:
    found = [
        _cases(name, each, days, params, market, inputs) for name, each in DETECTORS.items() if name not in params.off
    ]
    severity = 1 + (F.col("excess") >= 1.5).cast("int") + (F.col("excess") >= 2).cast("int")
    return (
        reduce(DataFrame.unionByName, found)
        .withColumn("case_id", F.xxhash64("ds", "type", "user_id", "item_id", "category"))
        .withColumn("severity", severity)
        .withColumn("weight", params.weight * F.col("severity"))
    )


def _cases(
    name: str, each: Declared, days: DayRange, params: Params, market: Market, inputs: Mapping[str, DataFrame]
) -> DataFrame:
    options = make_params(each.params, dict(params.options.get(name, {})), f"features.badcases, detector {name}")
    arguments = {wanted.argument: inputs[wanted.argument] for wanted in each.detector.inputs}
    return each.detect(**arguments, days=days, params=options, market=market).select(
        "ds",
        F.lit(name).alias("type"),
        "user_id",
        "item_id",
        "category",
        F.round("excess", 6).alias("excess"),
        "evidence",
        F.lit(each.detector.stops).alias("stops"),
        F.lit(each.detector.label).cast("int").alias("label"),
    )
