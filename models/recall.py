"""Candidates of every channel: one table, partitioned by day and channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, make_params
from jobs.settings import Market
from models.channels.channel import discover_channels

CHANNELS = discover_channels()


@dataclass(frozen=True)
class Params:
    """``limit`` candidates of a channel are kept per user; ``off`` channels are left out; ``options`` per channel."""

    limit: int = 100
    off: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def _inputs() -> list[Any]:
    declared = [TableInput("features.item_stats"), TableInput("features.user_activity")]
    for each in CHANNELS.values():
        declared += [i for i in each.channel.inputs if i not in declared]
    return declared


CONTRACT = Table(
    name="candidates.recall",
    group="candidates",
    owner="candidates",
    description="At most 100 eligible candidates of each channel for every user active in 28 days: "
    + "; ".join(f"{c.channel.name}: {c.channel.description}" for c in CHANNELS.values()),
    columns=[
        Column("channel", "string", "The channel that found it."),
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("item_id", "bigint", "Surrogate item key."),
        Column("rank", "int", "Place within user and channel, from 1."),
        Column("score", "double", "The channel's own score; not comparable between channels.", digits=6),
        Column("seed_item_id", "bigint", "The user's item that led to it, where one did."),
    ],
    keys=["user_id", "item_id"],
    replace_by="channel",
    inputs=_inputs(),
    workers=True,
    checks=[between("rank", 1, 1000)],
)


def build(*, days: DayRange, params: Params, market: Market, **inputs: Any) -> DataFrame:
    eligible = inputs["item_stats"].where("is_eligible").select("ds", "item_id")
    active = inputs["user_activity"].select("ds", "user_id")
    found = []
    for name, each in CHANNELS.items():
        if name in params.off:
            continue
        options = make_params(each.params, dict(params.options.get(name, {})), f"candidates.recall, channel {name}")
        arguments = {i.argument: inputs[i.argument] for i in each.channel.inputs}
        recalled = each.recall(**arguments, days=days, params=options, market=market)
        found.append(
            recalled.select(
                "ds",
                F.lit(name).alias("channel"),
                "user_id",
                "item_id",
                F.round("score", 6).alias("score"),
                "seed_item_id",
            )
        )
    best = Window.partitionBy("ds", "channel", "user_id").orderBy(F.col("score").desc(), "item_id")
    return (
        reduce(DataFrame.unionByName, found)
        .join(F.broadcast(eligible), ["ds", "item_id"], "left_semi")
        .join(active, ["ds", "user_id"], "left_semi")
        .withColumn("rank", F.row_number().over(best))
        .where(F.col("rank") <= params.limit)
    )
