"""``audit.feature_histograms``: the distribution of every feature of users, items and creators, day by day.

The compact base of drift: a month of it is a few hundred thousand rows, where the features themselves are
many times that. Which features there are is read from the contracts of the package ``features``: a new table
or column is watched from its first day on, without a line here.

A number falls into a logarithmic bucket (DDSketch: Masson, Rim and Lee, PVLDB 12(12), 2019), so that days can
be added up and any quantile read off with a relative error of ``ACCURACY``; small whole numbers have a bucket
of their own. A text or boolean is its own bucket.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

import features
from jobs.contract import Column, DayRange, Table, TableInput, in_set

ENTITIES = ("user_id", "item_id", "creator_id", "id")
SPLIT = "kind"
"""A key of that name says what a row is about: its values are features of their own, as ``share[brand]``."""
NUMBERS = ("int", "bigint", "float", "double")
CATEGORIES = ("string", "boolean")
ACCURACY = 0.05
SMALLEST = 1e-6
"""What is nearer to 0 is 0."""
NUMBER, CATEGORY, MISSING = "number", "category", "missing"
REST = "(rest)"
_INSTANT_MS = 10**11
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class Params:
    """``categories``: so many values of a text are kept a day, most frequent first; the others are one bucket."""

    categories: int = 500


def feature_contracts() -> dict[str, Table]:
    """Contracts of the tables ``features.*`` with a row a user, item or creator, or several, by name."""
    found: list[Table] = []
    for info in pkgutil.walk_packages(features.__path__, prefix="features."):
        module = importlib.import_module(info.name)
        nodes = [node.contract for node in getattr(module, "NODES", ())]
        found += [*nodes, *([module.CONTRACT] if hasattr(module, "CONTRACT") else [])]
    tables = [c for c in found if isinstance(c, Table) and c.name.startswith("features.")]
    return {c.name: c for c in sorted(tables, key=lambda c: c.name) if set(c.keys) & set(ENTITIES) and watched(c)}


def column_of(feature: str) -> str:
    """The column of a feature: ``share`` of ``share[brand]``."""
    return feature.partition("[")[0]


def watched(contract: Table) -> list[Column]:
    """The columns whose distribution says something: numbers and categories, no keys and no ids."""
    return [
        c
        for c in contract.columns
        if c.type in (*NUMBERS, *CATEGORIES) and c.name not in contract.keys and not c.name.endswith("_id")
    ]


CONTRACTS = feature_contracts()
CONTRACT = Table(
    name="audit.feature_histograms",
    group="examples",
    owner="quality",
    description="How often each value, or range of values, of every feature occurs in the day; a missing value too.",
    columns=[
        Column("table", "string", "Table of the feature."),
        Column("feature", "string", "Its column; with the kind of row in brackets, where a table has several."),
        Column("kind", "string", "number, category or missing."),
        Column("bucket", "string", "Number of the logarithmic bucket, or the category; empty for missing values."),
        Column("n", "bigint", "Rows.", nullable=False),
        Column("low", "double", "Least number in the bucket.", digits=6),
        Column("high", "double", "Greatest number in the bucket.", digits=6),
    ],
    keys=["table", "feature", "kind", "bucket"],
    inputs=[TableInput(name, optional=True) for name in CONTRACTS],
    checks=[in_set("kind", (NUMBER, CATEGORY, MISSING))],
)


def build(*, days: DayRange, params: Params, **tables: DataFrame) -> DataFrame:
    parts = [
        part
        for each in CONTRACT.inputs
        for part in histograms(tables[each.argument], CONTRACTS[each.table], params.categories)
    ]
    return reduce(DataFrame.unionByName, parts)


def histograms(frame: DataFrame, contract: Table, categories: int) -> Iterator[DataFrame]:
    """Histograms of a table's numbers and of its categories, each in one aggregation."""
    numbers = [c for c in watched(contract) if c.type in NUMBERS]
    texts = [c for c in watched(contract) if c.type in CATEGORIES]
    if numbers:
        values = {c.name: measured(c) for c in numbers}
        made = counted(frame, contract, values, bucket_of(F.col("value")))
        yield named(made, contract, list(values), NUMBER)
    if texts:
        values = {c.name: F.col(c.name).cast("string") for c in texts}
        made = counted(frame, contract, values, F.col("value"))
        yield named(without_rare(made, categories), contract, list(values), CATEGORY)


def measured(column: Column) -> SparkColumn:
    """The value as a number. A moment is taken as its age at the end of ds: time moves by itself."""
    value = F.col(column.name).cast("double")
    if column.unit != "ms":
        return value
    ended = F.datediff("ds", F.lit("1970-01-01")).cast("double") * _DAY_MS + _DAY_MS
    return F.when(value > _INSTANT_MS, ended - value).otherwise(value)


def bucket_of(value: SparkColumn) -> SparkColumn:
    """Index of the logarithmic bucket: 0 holds zero, the sign is the value's, larger is further from zero."""
    growth = math.log((1 + ACCURACY) / (1 - ACCURACY))
    offset = 1 - math.ceil(math.log(SMALLEST) / growth)
    index = F.ceil(F.round(F.log(F.abs(value)) / F.lit(growth), 9)).cast("int") + offset
    return F.when(F.abs(value) < SMALLEST, F.lit(0)).otherwise(F.signum(value).cast("int") * index)


def counted(frame: DataFrame, contract: Table, values: dict[str, SparkColumn], bucket: SparkColumn) -> DataFrame:
    """Rows of each day, column (by its number), kind of row and bucket; the bucket of missing values is null."""
    split = F.col(SPLIT) if SPLIT in contract.keys else F.lit(None).cast("string")
    pairs = [F.struct(F.lit(at).alias("at"), value.alias("value")) for at, value in enumerate(values.values())]
    return (
        frame.select("ds", split.alias("of"), F.explode(F.array(*pairs)).alias("pair"))
        .select("ds", "of", "pair.*")
        .withColumn("bucket", bucket)
        .groupBy("ds", "of", "at", "bucket")
        .agg(F.count(F.lit(1)).alias("n"), F.min("value").alias("low"), F.max("value").alias("high"))
    )


def without_rare(made: DataFrame, categories: int) -> DataFrame:
    """The most frequent categories of each day and column; the others added up as ``REST``."""
    common = Window.partitionBy("ds", "of", "at").orderBy(F.col("bucket").isNull().desc(), F.col("n").desc(), "bucket")
    kept = (F.row_number().over(common) <= categories) | F.col("bucket").isNull()
    return (
        made.withColumn("bucket", F.when(kept, F.col("bucket")).otherwise(F.lit(REST)))
        .groupBy("ds", "of", "at", "bucket")
        .agg(F.sum("n").alias("n"))
        .withColumns({name: F.lit(None).cast("double") for name in ("low", "high")})
    )


def named(made: DataFrame, contract: Table, columns: Sequence[str], kind: str) -> DataFrame:
    column = F.element_at(F.array(*[F.lit(c) for c in columns]), F.col("at") + 1)
    return made.select(
        "ds",
        F.lit(contract.name).alias("table"),
        F.concat(column, F.coalesce(F.concat(F.lit("["), "of", F.lit("]")), F.lit(""))).alias("feature"),
        F.when(F.col("bucket").isNull(), MISSING).otherwise(kind).alias("kind"),
        F.coalesce(F.col("bucket").cast("string"), F.lit("")).alias("bucket"),
        "n",
        "low",
        "high",
    )
