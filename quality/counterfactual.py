"""``audit.counterfactual``: would people have got the same lists, had only a sensitive attribute been different?

A sample of the night's people, each allotted to one of the attributes that is known of them, goes through candidates'
fusion, ranking and reranking twice more: as they are, and with their attribute changed, and with it the columns that
say the same (an age and its band). Two replays serve all
attributes, and only people who were changed are compared. The two are compared with each other and not with the night's
lists, because some of what is decided depends on who else is there (caps of curated entries). Items that law keeps to
regions or ages are left out of both: what remains may follow neither. It runs before the publish, and lists that follow
an attribute stop it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql.connect.session import SparkSession

from features.user_profile import SAME
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
from models.eligibility import restrictions
from quality.intervals import bootstrap
from quality.lists import frame_of, on

OK, DIFFERENT, TOO_SMALL, NOT_KNOWN = "ok", "different", "too small", "not known"


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
CANDIDATES, LISTS, ITEMS, PEOPLE = "candidates.recall", "serving.decision_log", "silver.items", "features.user_profile"


@dataclass(frozen=True)
class Params:
    """Who is tested, and how far lists may differ.

    Parameters
    ----------
    attributes
        Columns of features.user_profile, each changed by itself to the next of its values; the market's groups where
        none are named.
    pairs
        People of each attribute, drawn by hash.
    overlap
        Lists share at least this part of their items on average.
    displacement
        An item moves by at most so many places on average; one that is gone moves behind the end.
    min_pairs
        Changed people below which nothing is said.
    """

    attributes: tuple[str, ...] = ()
    pairs: int = 50
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
        Column("surface", "string", "The surface whose lists are compared; empty where nobody could be changed."),
        Column("pairs", "bigint", "People who were changed, and whose two lists are compared.", unit="users"),
        Column("overlap", "double", "Mean part of the items that both lists hold.", digits=6),
        Column("overlap_lo", "double", "Lower end of its 95 % interval.", digits=6),
        Column("overlap_hi", "double", "Upper end of it.", digits=6),
        Column("displacement", "double", "Mean places by which an item moves.", digits=6),
        Column("displacement_lo", "double", "Lower end of its 95 % interval.", digits=6),
        Column("displacement_hi", "double", "Upper end of it.", digits=6),
        Column("identical", "double", "Part of the pairs whose lists are the same.", digits=6),
        Column("overlap_limit", "double", "An overlap below it is different.", digits=6),
        Column("displacement_limit", "double", "A displacement above it is different.", digits=6),
        Column(
            "verdict",
            "string",
            "ok, different, too small, or not known (of nobody with a list, or with one value alone).",
        ),
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
    decided, people = (inputs[argument(name)].where(on(days.last)) for name in (LISTS, PEOPLE))
    attributes = known_columns(params.attributes or market.groups, people.columns)
    drawn = sample(decided, people, attributes, params.pairs) if attributes else []
    found = compared(inputs, drawn, days, market) if drawn else []
    rows = [{"ds": days.last, **row} for row in figures(attributes, found, params)]
    return frame_of(decided.sparkSession, CONTRACT, rows)


def known_columns(attributes: Sequence[str], columns: Sequence[str]) -> Sequence[str]:
    """The attributes, all of which are known columns.

    Raises
    ------
    ContractError
        One is not: changing it would change nothing, and prove nothing.
    """
    if unknown := sorted(set(attributes) - set(columns)):
        raise ContractError(
            f"audit.counterfactual: {PEOPLE} has no columns {unknown}; name some of {sorted(columns)} as its option "
            "attributes, or as the market's groups."
        )
    return attributes


def sample(decided: DataFrame, people: DataFrame, attributes: Sequence[str], n: int) -> list[dict[str, Any]]:
    """``user_id, attribute, becomes, also``: up to ``n`` people with a list for each attribute, drawn by hash.

    Everybody has one attribute at most, among those that are known of them, and becomes the next value that somebody
    with a list has, the first after the last. An attribute with fewer than two values has nobody. ``also`` has the
    columns that say the same, each with the least that somebody of the new value has.
    """
    alike = sorted({name for attribute in attributes for name in saying_the_same(attribute)} & set(people.columns))
    values = F.array(
        *[F.struct(F.lit(a).alias("attribute"), F.col(a).cast("string").alias("value")) for a in attributes]
    )
    known = F.filter(values, lambda each: each["value"].isNotNull())
    chosen = F.try_element_at(known, F.pmod(F.xxhash64("user_id"), F.greatest(F.size(known), F.lit(1))).cast("int") + 1)
    of = (
        decided.select("user_id")
        .distinct()
        .join(people, "user_id")
        .select("user_id", chosen.alias("of"), *alike)
        .where("of IS NOT NULL")
        .select("user_id", "of.*", *alike)
    )
    least = F.array(*[F.min(name).cast("string") for name in alike]).cast("array<string>").alias("least")
    by_hash = Window.partitionBy("attribute").orderBy(F.xxhash64("user_id", F.lit("counterfactual")), "user_id")
    following = F.col("at") % F.size("all") + 1
    drawn = (
        of.withColumn("_nth", F.row_number().over(by_hash))
        .where(F.col("_nth") <= n)
        .join(of.groupBy("attribute").agg(F.sort_array(F.collect_set("value")).alias("all")), "attribute")
        .where(F.size("all") > 1)
        .withColumn("at", F.array_position("all", F.col("value")))
        .select("user_id", "attribute", F.element_at("all", following.cast("int")).alias("becomes"))
        .join(of.groupBy("attribute", F.col("value").alias("becomes")).agg(least), ["attribute", "becomes"])
    )
    rows = sorted(drawn.toArrow().to_pylist(), key=lambda row: row["user_id"])
    for row in rows:
        named = zip(alike, row.pop("least"), strict=True)
        row["also"] = {name: value for name, value in named if name in saying_the_same(row["attribute"])}
    return rows


def saying_the_same(attribute: str) -> set[str]:
    """The other columns of people that say the same as an attribute."""
    return {name for same in SAME if attribute in same for name in same} - {attribute}


def compared(
    inputs: Mapping[str, Any], drawn: Sequence[Mapping[str, Any]], days: DayRange, market: Market
) -> list[dict[str, Any]]:
    """Each drawn person's lists as they are against those with their attribute changed; see `pairs`."""
    people = [row["user_id"] for row in drawn]
    theirs = {name: value if name in OF_ALL else narrowed(value, people) for name, value in inputs.items()}
    limited = restrictions(inputs[argument(ITEMS)].where(on(days.last)))
    free = theirs[argument(CANDIDATES)].join(F.broadcast(limited), "item_id", "left_anti")
    theirs[argument(CANDIDATES)] = free
    twins = {name: changed(value, drawn) for name, value in theirs.items()}
    factual, others = (ordered(replay(STAGES, given, days, market)) for given in (theirs, twins))
    return attributed(pairs(factual, others).toArrow().to_pylist(), drawn)


def attributed(found: list[dict[str, Any]], drawn: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pairs with the attribute in which their person was changed."""
    of = {row["user_id"]: row["attribute"] for row in drawn}
    return [row | {"attribute": of[row["user_id"]]} for row in found]


def narrowed(value: Any, people: list[int]) -> Any:
    """An input's rows of the drawn people; inputs that are not about people are returned as they are."""
    if not isinstance(value, DataFrame) or "user_id" not in value.columns:
        return value
    return value.where(F.col("user_id").isin(people))


def changed(value: Any, drawn: Sequence[Mapping[str, Any]]) -> Any:
    """An input in which the drawn people have what their attribute becomes, in all columns that say it.

    What is not known stays so; inputs without any of the columns are returned as they are.
    """
    if not isinstance(value, DataFrame) or "user_id" not in value.columns:
        return value
    become = {row["user_id"]: {row["attribute"]: row["becomes"], **row["also"]} for row in drawn}
    held = sorted({name for of in become.values() for name in of} & set(value.columns))
    if not held:
        return value
    plain = {f"_{name}": pa.array([of.get(name) for of in become.values()], pa.string()) for name in held}
    twins = value.sparkSession.createDataFrame(pa.table(plain | {"user_id": pa.array(list(become), pa.int64())}))
    of_whom = {name: F.col("user_id").isin([user for user, of in become.items() if name in of]) for name in held}
    twin = {
        name: F.when(
            of_whom[name] & F.col(name).isNotNull(), F.col(f"_{name}").cast(value.schema[name].dataType)
        ).otherwise(F.col(name))
        for name in held
    }
    return value.join(F.broadcast(twins), "user_id", "left").withColumns(twin).select(*value.columns)


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
        frame = shaped(stage.contract, stage.build(**arguments, days=days, params=options))
        # the last is read once
        made[stage.name] = frame if stage is stages[-1] else held(frame)
    return made[stages[-1].name]


def held(frame: DataFrame) -> DataFrame:
    """A frame's rows, kept as the night keeps a table: whatever reads it twice would else make it twice.

    Spark Connect gives what it kept to the session of the thread: a pool's has none, and would get the process's first.
    """
    SparkSession._active_session.session = frame.sparkSession
    return frame.localCheckpoint()


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


def figures(attributes: Sequence[str], found: list[dict[str, Any]], params: Params) -> list[dict[str, Any]]:
    """A row for each attribute and surface; one without a surface where nobody could be changed."""
    limits = {"overlap_limit": params.overlap, "displacement_limit": params.displacement}
    nobody = sorted(set(attributes) - {r["attribute"] for r in found})
    rows = [{"attribute": name, "surface": "", "pairs": 0, "verdict": NOT_KNOWN} | limits for name in nobody]
    for attribute, surface in sorted({(r["attribute"], r["surface"]) for r in found}):
        of = [r for r in found if (r["attribute"], r["surface"]) == (attribute, surface)]
        row: dict[str, Any] = {"attribute": attribute, "surface": surface, "pairs": len(of), "verdict": TOO_SMALL}
        row |= limits
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
