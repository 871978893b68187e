"""Candidates of every channel: one table, partitioned by day and channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, between, make_params
from jobs.settings import Market
from models.channels import inverted, sequences
from models.channels.channel import AUDITED_DEPTH, Call, discover_channels

CHANNELS = discover_channels()


@dataclass(frozen=True)
class Params:
    """``off`` channels are left out; ``options`` per channel.

    ``audited``: share of the users of whom 200 candidates of every channel are kept instead of the channel's depth,
    so that channels can be compared with the fused list at one budget (``audit.recall``).
    """

    audited: float = 0.1
    off: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def _inputs() -> list[Any]:
    """The inputs of all channels, each once: of several windows of a table the widest."""
    common = [TableInput(f"features.{name}") for name in ("item_stats", "user_activity", "user_sequence")]
    found: dict[str, Any] = {}
    for each in [*common, *[i for c in CHANNELS.values() for i in c.channel.inputs]]:
        known = found.setdefault(each.argument, each)
        if isinstance(each, TableInput):
            found[each.argument] = replace(
                known, days=max(known.days, each.days), optional=known.optional and each.optional
            )
    return list(found.values())


CONTRACT = Table(
    name="candidates.recall",
    group="candidates",
    owner="candidates",
    description="Eligible candidates of each channel for every user active in 28 days: "
    + "; ".join(f"{c.channel.name}: {c.channel.description}" for c in CHANNELS.values()),
    columns=[
        Column("channel", "string", "The channel that found it."),
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("item_id", "bigint", "Surrogate item key."),
        Column("rank", "int", "Place within user and channel, from 1."),
        Column("score", "double", "The channel's own score; not comparable between channels.", digits=6),
        Column("seed_item_id", "bigint", "The user's item that led to it, where one did."),
        Column("audited", "boolean", "All of the best 200 were kept, not only those that fusion reads."),
    ],
    keys=["user_id", "item_id"],
    replace_by="channel",
    inputs=_inputs(),
    workers=True,
    checks=[between("rank", 1, 1000)],
)


def build(*, days: DayRange, params: Params, market: Market, **inputs: Any) -> DataFrame:
    sequence = inputs["user_sequence"].withColumn("audited", is_audited(params.audited))
    given, calls = {**inputs, "user_sequence": sequence}, []
    for name, each in CHANNELS.items():
        if name not in params.off:
            options = make_params(each.params, dict(params.options.get(name, {})), f"candidates.recall, channel {name}")
            calls.append(Call(each, given, days, options, market))
    eligible = inputs["item_stats"].where("is_eligible").select("ds", "item_id")
    active = inputs["user_activity"].select("ds", "user_id", is_audited(params.audited).alias("audited"))
    best = Window.partitionBy("ds", "channel", "user_id").orderBy(F.col("score").desc(), "item_id")
    return (
        recalled(calls)
        .withColumn("score", F.round("score", 6))
        .join(F.broadcast(eligible), ["ds", "item_id"], "left_semi")
        .join(F.broadcast(active), ["ds", "user_id"])
        .withColumn("rank", F.row_number().over(best))
        .where(F.col("rank") <= F.when(F.col("audited"), AUDITED_DEPTH).otherwise(depth_of(F.col("channel"))))
    )


def is_audited(share: float) -> SparkColumn:
    """True for a share of the users, always the same ones."""
    return F.pmod(F.xxhash64("user_id", F.lit("recall audit")), F.lit(10_000)) < share * 10_000


def depth_of(channel: SparkColumn) -> SparkColumn:
    """Candidates of a channel per user that fusion reads."""
    depths = [F.lit(x) for name, each in CHANNELS.items() for x in (name, each.channel.depth)]
    return F.try_element_at(F.create_map(*depths), channel)


def recalled(calls: Sequence[Call]) -> DataFrame:
    """What the channels find, as ``inverted.FOUND``: one pass for each kind of channel."""
    passes = {"recall": _one_by_one, "keys": inverted.recall, "search": sequences.recall}
    frames = []
    for kind, run in passes.items():
        if of_kind := [call for call in calls if call.declared.kind == kind]:
            frames.append(run(of_kind).select(*inverted.FOUND))
    return reduce(DataFrame.unionByName, frames)


def _one_by_one(calls: Sequence[Call]) -> DataFrame:
    return reduce(
        DataFrame.unionByName, [call("recall").withColumn("channel", F.lit(call.channel.name)) for call in calls]
    )
