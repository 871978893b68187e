"""Patches: the lists of a release without what must not be shown any longer.

A patch builds the served tables of the release's day again, by their own builds, with the exclusions in force: so
whatever replaces a removed row is the next best candidate, keeps every rule of the lists and has its own reasons.
Of what is built only the lists that hold something excluded are taken; all others are carried over as they are.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import DayRange, Node, Table
from jobs.lake import Lake
from jobs.releases import publish_patch, rollback
from jobs.runner import Runner, conform
from jobs.scan import published
from jobs.stages import Staged, stage_schema

CANDIDATES = "candidates.ranked"
"""What lists are chosen from: it is read as the night left it, without the excluded pairs."""
USERS, PAIRS = "user_id bigint", "user_id bigint, item_id bigint"


@dataclass(frozen=True)
class Exclusions:
    """What must leave the lists: pairs ``user_id, item_id``, users without consent, items that were taken down."""

    blocked: pa.Table
    withdrawn: pa.Table
    taken_down: tuple[int, ...]


def nobody() -> pa.Table:
    return pa.table({"user_id": pa.array([], pa.int64())})


def no_pairs() -> pa.Table:
    return pa.table({"user_id": pa.array([], pa.int64()), "item_id": pa.array([], pa.int64())})


def serves(lake: Lake, tables: list[Table], release: dict[str, Any], items: tuple[int, ...]) -> list[str]:
    """Names of the served tables in which a release shows one of the items."""
    return [
        table.name
        for table in tables
        if items
        and any(
            lake.rows(table.name, [c], ds=release["ds"], release_id=release["release_id"], **{c: items}).num_rows
            for c in item_columns(table)
        )
    ]


def item_columns(table: Table) -> list[str]:
    """Columns of a served table that say what is shown; the seed of a recommendation is only its reason."""
    return [c.name for c in table.schema if c.name.endswith("item_id") and not c.name.startswith("seed_")]


def served_tables(runner: Runner, release: dict[str, Any]) -> list[Table]:
    """The append-only tables that a release holds."""
    contracts = [node.contract for node in runner.catalog.group("serving")]
    named = json.loads(release["tables"])
    return [c for c in contracts if isinstance(c, Table) and c.append and c.name in named]


def patch(
    runner: Runner, release: dict[str, Any], out: Exclusions, reason: str, kind: str = "patch"
) -> tuple[dict[str, Any], int]:
    """Publish a release's lists without what is excluded, after the checks of every publish.

    Returns
    -------
    dict, int
        The release that is served since (the same one where nothing had to go), and the number of users whose
        lists changed.
    """
    from quality.gate import run_gate

    patcher = Patcher(runner, release, out)
    users, shared = patcher.changed_users(), serves(runner.lake, patcher.shared, release, out.taken_down)
    if not users.num_rows and not shared:
        return (release if kind == "patch" else rollback(runner.settings, release, reason)), 0
    made = patcher.stage(users, shared)
    served = {table.name for table in patcher.tables}
    lists = [staged for staged in made if staged.table in served]
    try:
        run_gate(runner, lists, "serving", release["ds"])
        return publish_patch(runner, lists, release, reason, kind), users.num_rows
    finally:
        # what only led to the lists is the night's, and stays as the night published it
        for staged in made:
            if runner.staged.pop(staged.table, None) is not None:
                runner.lake.sweep(runner.catalog.table(staged.table), staged.attempt)


class Patcher:
    """Stages the served tables of one release under exclusions."""

    def __init__(self, runner: Runner, release: dict[str, Any], out: Exclusions) -> None:
        self.runner, self.out = runner, out
        self.ds: dt.date = release["ds"]
        self.tables = served_tables(runner, release)
        self.personal = [t for t in self.tables if any(c.name == "user_id" for c in t.columns)]
        self.shared = [t for t in self.tables if t not in self.personal]
        self.rows = {
            t.name: published(runner.spark, runner.lake, t, [self.ds], versions=[release["release_id"]])
            for t in self.tables
        }
        self.blocked = runner.spark.createDataFrame(out.blocked, PAIRS)
        self.withdrawn = runner.spark.createDataFrame(out.withdrawn, USERS)

    def changed_users(self) -> pa.Table:
        """Users (``user_id``) whose lists hold what must go."""
        found = []
        for table in self.personal:
            rows = self.rows[table.name]
            found.append(rows.join(F.broadcast(self.withdrawn), "user_id", "left_semi").select("user_id"))
            if "item_id" in rows.columns:
                shown = rows.select("user_id", "item_id")
                pairs = shown.join(F.broadcast(self.blocked), ["user_id", "item_id"], "left_semi")
                down = shown.where(F.col("item_id").isin(*self.out.taken_down))
                found += [pairs.select("user_id"), down.select("user_id")]
        return reduce(DataFrame.unionByName, found).distinct().orderBy("user_id").toArrow()

    def stage(self, users: pa.Table, shared: list[str]) -> list[Staged]:
        """Stage every served table: the lists of ``users`` and the ``shared`` tables built again, the rest carried."""
        changed = F.broadcast(self.runner.spark.createDataFrame(users, USERS))
        self.runner.views = self._views()
        nodes = []
        for node in self.runner.catalog.group("serving"):
            table = node.contract
            if table in self.personal:
                nodes.append(self._patched(node, changed))
            elif table in self.shared:
                nodes.append(node if table.name in shared else self._carried(node))
            elif node.name != CANDIDATES and CANDIDATES in self._made_from(node):
                nodes.append(node)
        return self.runner.build_group(nodes, DayRange.day(self.ds), publish=False)

    def _made_from(self, node: Node) -> set[str]:
        above = set(node.upstream)
        return above.union(*[self._made_from(self.runner.catalog.node(name)) for name in above])

    def _views(self) -> dict[str, Callable[[DataFrame], DataFrame]]:
        down = F.col("item_id").isin(*self.out.taken_down)

        def candidates(rows: DataFrame) -> DataFrame:
            return rows.where(~down).join(F.broadcast(self.blocked), ["user_id", "item_id"], "left_anti")

        def item_stats(rows: DataFrame) -> DataFrame:
            return rows.withColumn("is_eligible", F.col("is_eligible") & ~down)

        def profiles(rows: DataFrame) -> DataFrame:
            refused = F.broadcast(self.withdrawn.withColumn("_withdrawn", F.lit(True)))
            agreed = F.col("consent_personalisation") & F.col("_withdrawn").isNull()
            joined = rows.join(refused, "user_id", "left").withColumn("consent_personalisation", agreed)
            return joined.select(*rows.columns)

        return {CANDIDATES: candidates, "features.item_stats": item_stats, "features.user_profile": profiles}

    def _patched(self, node: Node, changed: DataFrame) -> Node:
        """The node with the lists of changed users built, those of all others carried over."""
        contract = node.contract
        others = self.rows[contract.name].join(changed, "user_id", "left_anti")

        @functools.wraps(node.build)
        def build(**arguments: Any) -> DataFrame:
            made = conform(contract, node.build(**arguments)).join(changed, "user_id", "left_semi")
            return made.unionByName(others.select(*[c.name for c in stage_schema(contract)]))

        return replace(node, build=build)

    def _carried(self, node: Node) -> Node:
        def build(**_: Any) -> DataFrame:
            return self.rows[node.name]

        return replace(node, contract=replace(node.contract, inputs=()), build=build)
