"""``audit.feature_histograms``: the distribution of every feature, day by day.

The compact base of drift: a month of it is a few hundred thousand rows, where the features themselves are
many times that. Which features there are is read from the contracts of the package ``features``: a new table
or column is watched from its first day on, without a line here.

A number falls into a logarithmic bucket (DDSketch: Masson, Rim and Lee, PVLDB 12(12), 2019), so that days can
be added up and any quantile read off with a relative error of ``ACCURACY``; small whole numbers have a bucket
of their own. A text or boolean is its own bucket.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

import features
from jobs.contract import Column, DayRange, Table, TableInput, in_set

ENTITIES = ("user_id", "item_id", "creator_id", "id")
OF_GROUPS = ("features.audience_affinity", "features.half_life")
"""Figures of groups and of the system's own choice: a handful of rows, without a distribution."""
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
    """Contracts of the tables ``features.*`` with a column to watch, by name."""
    return {c.name: c for c in features.contracts() if c.name not in OF_GROUPS and watched(c)}


def of_events(contract: Table) -> bool:
    """True where a row is something that happened, such as a request, and no user, item or creator with a past."""
    return not set(contract.keys) & set(ENTITIES)


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
    return histograms([(CONTRACTS[i.table], tables[i.argument]) for i in CONTRACT.inputs], params.categories)


def histograms(tables: Sequence[tuple[Table, DataFrame]], categories: int) -> DataFrame:
    """Histograms of all tables' features, in one aggregation."""
    names = [(table.name, column.name) for table, _ in tables for column in watched(table)]
    values = reduce(DataFrame.unionByName, [values_of(frame, table, names) for table, frame in tables])
    counted = (
        values.withColumn("bucket", bucket_of(F.col("number")))
        .groupBy("ds", "of", "at", "bucket", "text")
        .agg(F.count(F.lit(1)).alias("n"), F.min("number").alias("low"), F.max("number").alias("high"))
    )
    return named(without_rare(counted, categories), names)


def values_of(frame: DataFrame, table: Table, names: Sequence[tuple[str, str]]) -> DataFrame:
    """A row a value: ``ds``, the kind of row (``of``), the feature's place in ``names``, the number or text."""
    split = F.col(SPLIT) if SPLIT in table.keys else F.lit(None).cast("string")
    values = [
        F.struct(
            F.lit(names.index((table.name, c.name))).alias("at"),
            (measured(c) if c.type in NUMBERS else F.lit(None).cast("double")).alias("number"),
            (F.col(c.name) if c.type in CATEGORIES else F.lit(None)).cast("string").alias("text"),
        )
        for c in watched(table)
    ]
    return frame.select("ds", split.alias("of"), F.inline(F.array(*values)))


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
    index = F.ceil(F.log(F.abs(value)) / F.lit(growth)).cast("int") + offset
    return F.when(F.abs(value) < SMALLEST, F.lit(0)).otherwise(F.signum(value).cast("int") * index)


def without_rare(counted: DataFrame, categories: int) -> DataFrame:
    """The most frequent categories of each day and feature; the others added up as ``REST``."""
    is_text = F.col("text").isNotNull()
    common = Window.partitionBy("ds", "of", "at", is_text).orderBy(F.col("n").desc(), "text")
    rare = is_text & (F.row_number().over(common) > categories)
    return (
        counted.withColumn("text", F.when(rare, F.lit(REST)).otherwise(F.col("text")))
        .groupBy("ds", "of", "at", "bucket", "text")
        .agg(F.sum("n").alias("n"), F.min("low").alias("low"), F.max("high").alias("high"))
    )


def named(counted: DataFrame, names: Sequence[tuple[str, str]]) -> DataFrame:
    table, column = (F.element_at(F.array(*[F.lit(n[part]) for n in names]), F.col("at") + 1) for part in (0, 1))
    kinds = F.when(F.col("text").isNotNull(), CATEGORY).when(F.col("bucket").isNotNull(), NUMBER).otherwise(MISSING)
    return counted.select(
        "ds",
        table.alias("table"),
        F.concat(column, F.coalesce(F.concat(F.lit("["), "of", F.lit("]")), F.lit(""))).alias("feature"),
        kinds.alias("kind"),
        F.coalesce("text", F.col("bucket").cast("string"), F.lit("")).alias("bucket"),
        "n",
        "low",
        "high",
    )
