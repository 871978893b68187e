"""``audit.counterfactual``: would people have got the same lists, had only a sensitive attribute been different?

A sample of the night's people goes through candidates' fusion, ranking and reranking twice more: as they are, and with
the attribute changed. The two are compared with each other and not with the night's lists, because some of what is
decided depends on who else is there (caps of curated entries). It runs before the publish, and lists that follow the
attribute stop it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import (
    ArtifactInput,
    Column,
    DayRange,
    ModelInput,
    Node,
    NoParams,
    Table,
    TableInput,
    between,
    make_params,
    no_rows_where,
)
from jobs.errors import ContractError
from jobs.settings import Market
from quality.intervals import bootstrap
from quality.lists import frame_of, on

OK, DIFFERENT, TOO_SMALL = "ok", "different", "too small"


def stages_of(modules: Sequence[str]) -> list[Node]:
    """The nodes of modules, each of which reads the one before.

    Raises
    ------
    ContractError
        One does not.
    """
    nodes = []
    for name in modules:
        module = importlib.import_module(name)
        node = Node(module.CONTRACT, module.build, getattr(module, "Params", NoParams), name)
        if nodes and nodes[-1].name not in node.upstream:
            raise ContractError(
                f"{node.name} does not read {nodes[-1].name}: mend the stages of quality.counterfactual."
            )
        nodes.append(node)
    return nodes


STAGES = stages_of(["models.fused", "models.ranked", "models.decisions"])
CANDIDATES, LISTS = "candidates.recall", "serving.decision_log"


@dataclass(frozen=True)
class Params:
    """Who is tested, and how far lists may differ.

    Parameters
    ----------
    attributes
        Columns, each changed by itself to the next of its values. Age is none of them: it decides what may be shown
        to whom by law.
    pairs
        People, drawn by hash.
    overlap
        Lists share at least this part of their items on average.
    displacement
        An item moves by at most so many places on average; one that is gone moves behind the end.
    min_pairs
        People below which nothing is said.
    """

    attributes: tuple[str, ...] = ("gender",)
    pairs: int = 100
    overlap: float = 0.95
    displacement: float = 1.0
    min_pairs: int = 20


def external(stages: Sequence[Node]) -> list[TableInput | ArtifactInput | ModelInput]:
    """What the stages read and do not make: each table once, in a window that holds all of theirs."""
    made = {stage.name for stage in stages}
    tables: dict[str, TableInput] = {LISTS: TableInput(LISTS, alias=argument(LISTS))}
    others: dict[str, ArtifactInput | ModelInput] = {}
    for each in (each for stage in stages for each in stage.contract.inputs):
        if not isinstance(each, TableInput):
            others[each.argument] = each
        elif each.table not in made or each.lag:
            known = tables.get(each.table)
            tables[each.table] = TableInput(
                each.table,
                days=max(each.days + each.lag, known.days if known else 1),
                ahead=max(each.ahead - each.lag, known.ahead if known else 0, 0),
                optional=each.optional and (known is None or known.optional),
                alias=argument(each.table),
            )
    return [*tables.values(), *others.values()]


def argument(table: str) -> str:
    return table.replace(".", "_")


OF_ALL = {argument(LISTS), argument("silver.user_item_daily")}
"""Inputs that are given of everybody: what explores learns from all showings and reactions."""

CONTRACT = Table(
    name="audit.counterfactual",
    group="serving",
    owner="quality",
    description="Lists of the same people as they are and with one sensitive attribute changed, both fused, ranked and "
    "reranked anew from the night's candidates.",
    columns=[
        Column("attribute", "string", "The attribute that was changed."),
        Column("surface", "string", "The surface whose lists are compared."),
        Column("pairs", "bigint", "People whose two lists are compared.", unit="users"),
        Column("overlap", "double", "Mean part of the items that both lists hold.", digits=6),
        Column("overlap_lo", "double", "Lower end of its 95 % interval.", digits=6),
        Column("overlap_hi", "double", "Upper end of it.", digits=6),
        Column("displacement", "double", "Mean places by which an item moves.", digits=6),
        Column("displacement_lo", "double", "Lower end of its 95 % interval.", digits=6),
        Column("displacement_hi", "double", "Upper end of it.", digits=6),
        Column("identical", "double", "Part of the pairs whose lists are the same.", digits=6),
        Column("overlap_limit", "double", "An overlap below it is different.", digits=6),
        Column("displacement_limit", "double", "A displacement above it is different.", digits=6),
        Column("verdict", "string", "ok, different, or too small."),
    ],
    keys=["attribute", "surface"],
    inputs=external(STAGES),
    checks=[
        between("overlap", 0, 1),
        no_rows_where("verdict = 'different'", "lists follow a sensitive attribute"),
    ],
    grain="day",
    workers=True,
)


def build(*, days: DayRange, params: Params, market: Market, **inputs: Any) -> DataFrame:
    decided = inputs[argument(LISTS)].where(on(days.last))
    drawn = sample(decided, params.pairs)
    theirs = {name: value if name in OF_ALL else narrowed(value, drawn) for name, value in inputs.items()}
    factual = ordered(replay(STAGES, theirs, days, market))
    compared = []
    for attribute in params.attributes:
        given = {name: changed(value, attribute, inputs[name]) for name, value in theirs.items()}
        lists = ordered(replay(STAGES, given, days, market))
        compared.append(pairs(factual, lists).withColumn("attribute", F.lit(attribute)))
    found = reduce(DataFrame.unionByName, compared).toArrow().to_pylist() if compared else []
    return frame_of(decided.sparkSession, CONTRACT, [{"ds": days.last, **row} for row in figures(found, params)])


def sample(decided: DataFrame, n: int) -> list[int]:
    """``n`` people with a list, drawn by hash."""
    people = decided.select("user_id").distinct()
    drawn = people.orderBy(F.xxhash64("user_id", F.lit("counterfactual")), "user_id").limit(n)
    return drawn.toArrow()["user_id"].to_pylist()


def narrowed(value: Any, drawn: list[int]) -> Any:
    """An input's rows of the drawn people; inputs that are not about people are returned as they are."""
    if not isinstance(value, DataFrame) or "user_id" not in value.columns:
        return value
    return value.where(F.col("user_id").isin(drawn))


def changed(value: Any, attribute: str, of_all: Any) -> Any:
    """An input in which people have the attribute's next value, the first after the last.

    Values are those of all people's rows. What is not known stays so; inputs without the attribute are returned as
    they are.
    """
    if not isinstance(value, DataFrame) or not {"user_id", attribute} <= set(value.columns):
        return value
    values = of_all.agg(F.sort_array(F.collect_set(attribute)).alias("_values"))
    place = F.array_position("_values", F.col(attribute))
    following = F.try_element_at("_values", (place % F.size("_values") + 1).cast("int"))
    return (
        value.crossJoin(F.broadcast(values))
        .withColumn(attribute, F.when(place > 0, following).otherwise(F.col(attribute)))
        .select(*value.columns)
    )


def replay(stages: Sequence[Node], given: Mapping[str, Any], days: DayRange, market: Market) -> DataFrame:
    """What the last stage makes of the given inputs."""
    made: dict[str, DataFrame] = {}
    for stage in stages:
        arguments = {}
        for each in stage.contract.inputs:
            if not isinstance(each, TableInput):
                arguments[each.argument] = given[each.argument]
            elif each.table in made and not each.lag:
                arguments[each.argument] = made[each.table]
            else:
                arguments[each.argument] = given[argument(each.table)].where(each.window(days).where())
        if "market" in inspect.signature(stage.build).parameters:
            arguments["market"] = market
        options = make_params(stage.params, dict(market.params.get(stage.name, {})), f"params of {stage.name}")
        # kept, as the night keeps a table: what reads it twice would else make it twice, and what that reads
        made[stage.name] = shaped(stage.contract, stage.build(**arguments, days=days, params=options)).localCheckpoint()
    return made[stages[-1].name]


def shaped(contract: Table, frame: DataFrame) -> DataFrame:
    """The contract's columns as they would be written: cast, and rounded to their digits."""

    def written(column: Column) -> SparkColumn:
        value = F.col(column.name).cast(column.type)
        return (value if column.digits is None else F.round(value, column.digits)).alias(column.name)

    kept = [c for c in contract.schema if c.name in frame.columns]
    return frame.select(*[written(c) for c in kept])


def ordered(decided: DataFrame) -> DataFrame:
    """``surface, user_id, items``: each list's items by rank."""
    by_rank = F.sort_array(
        F.transform("placed", lambda p: F.struct(p["rank"].alias("rank"), p["item_id"].alias("item")))
    )
    return decided.select("surface", "user_id", F.transform(by_rank, lambda p: p["item"]).alias("items"))


def pairs(factual: DataFrame, other: DataFrame) -> DataFrame:
    """``surface, user_id, overlap, displacement``; who lost the list has overlap 0.

    Displacement is the mean over the factual list's items of how far each moved (Spearman's footrule by item); an
    item that is gone counts as behind the end of the other list.
    """
    there = F.coalesce("others", F.array().cast("array<bigint>"))
    longest = F.greatest(F.size("items"), F.size(there))
    moved = F.transform(
        "items",
        lambda item, at: F.abs(
            F.coalesce(F.nullif(F.array_position(there, item), F.lit(0)), F.size(there).cast("bigint") + 1) - (at + 1)
        ),
    )
    total = F.aggregate(moved, F.lit(0).cast("bigint"), lambda sum_, step: sum_ + step)
    return factual.join(other.withColumnRenamed("items", "others"), ["surface", "user_id"], "left").select(
        "surface",
        "user_id",
        F.coalesce(F.try_divide(F.size(F.array_intersect("items", there)), longest), F.lit(1.0)).alias("overlap"),
        F.coalesce(F.try_divide(total, F.size("items")), F.lit(0.0)).alias("displacement"),
        (F.col("items") == there).alias("identical"),
    )


def figures(found: list[dict[str, Any]], params: Params) -> list[dict[str, Any]]:
    """A row for each attribute and surface."""
    rows = []
    for attribute, surface in sorted({(r["attribute"], r["surface"]) for r in found}):
        of = [r for r in found if (r["attribute"], r["surface"]) == (attribute, surface)]
        row: dict[str, Any] = {"attribute": attribute, "surface": surface, "pairs": len(of), "verdict": TOO_SMALL}
        row |= {"overlap_limit": params.overlap, "displacement_limit": params.displacement}
        for name in ("overlap", "displacement"):
            values = np.round([r[name] for r in of], 9)
            low, high = bootstrap(values)
            row |= {name: float(values.mean()), f"{name}_lo": low, f"{name}_hi": high}
        row["identical"] = float(np.mean([r["identical"] for r in of]))
        if len(of) >= params.min_pairs:
            alike = row["overlap"] >= params.overlap and row["displacement"] <= params.displacement
            row["verdict"] = OK if alike else DIFFERENT
        rows.append(row)
    return rows
