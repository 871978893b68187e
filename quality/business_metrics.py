"""``audit.metrics``: every version of every metric of ``metrics/*.yaml``, in one Spark job.

Definitions that read the same rows (source, window and grain) share one aggregation: a scope becomes the
filter of its aggregates, breakdowns are grouping sets. The few figures that come out are then divided, where
a metric is the ratio of two others.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.windows import spread
from jobs.contract import Column, DayRange, NoParams, Table, TableInput, no_rows_where
from quality.lists import frame_of
from quality.metric_definitions import Definition, check_columns, read_definitions

ALL, UNKNOWN = "all", "unknown"
DEFINITIONS = read_definitions()


def source_inputs(definitions: Iterable[Definition]) -> list[TableInput]:
    """Every source once, with the longest window that is read of it."""
    days: dict[str, int] = {}
    for each in definitions:
        if each.source:
            days[each.source] = max(days.get(each.source, 1), each.days)
    return [TableInput(name, days=n, optional=True, alias=name.replace(".", "_")) for name, n in sorted(days.items())]


CONTRACT = Table(
    name="audit.metrics",
    group="audit",
    owner="quality",
    description="Business figures of the day by their definitions (docs/metrics.md), all versions side by side. "
    "A day on which the source has no row has no figure, not a zero.",
    columns=[
        Column("metric", "string", "Name of the definition."),
        Column("version", "int", "Version of the definition."),
        Column("dimension", "string", "What the figure is broken down by; all for the total."),
        Column("value_group", "string", "Value of the dimension; unknown where the source has none."),
        Column("in_force", "boolean", "The newest version that is valid on ds.", nullable=False),
        Column("value", "double", "The figure, in the definition's unit; null where it divides by 0.", digits=9),
        Column("numerator", "double", "What is counted; money in minor units is exact to 2^53.", digits=6),
        Column("denominator", "double", "What it is divided by, where it is a ratio.", digits=6),
        Column("n", "bigint", "Rows (or people, by the definition's grain) in scope; of a ratio of metrics, below it."),
    ],
    keys=["metric", "version", "dimension", "value_group"],
    inputs=source_inputs(DEFINITIONS.values()),
    checks=[no_rows_where("n < 0", "a figure is taken over fewer rows than none")],
)


@dataclass(frozen=True)
class Rows:
    """The rows that definitions aggregate: those with equal values share one aggregation."""

    source: str
    days: int
    grain: tuple[str, ...] = ()
    scope: str | None = None
    measures: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, definition: Definition) -> Rows:
        if not definition.grain:
            return cls(definition.source, definition.days)
        # the grain's rows depend on the scope too; without a grain the scope is a filter of the aggregate
        measures = tuple(sorted(definition.measures.items()))
        return cls(definition.source, definition.days, definition.grain, definition.scope, measures)

    def frame(self, source: DataFrame, days: DayRange) -> DataFrame:
        windowed = spread(source, days, self.days)
        if not self.grain:
            return windowed
        kept = windowed.where(self.scope) if self.scope else windowed
        return kept.groupBy("ds", *self.grain).agg(*[F.expr(sql).alias(name) for name, sql in self.measures])


def build(*, days: DayRange, params: NoParams, **sources: DataFrame) -> DataFrame:
    frames = {i.table: sources[i.argument] for i in CONTRACT.inputs}
    session = next(iter(frames.values())).sparkSession
    return frame_of(session, CONTRACT, list(computed(DEFINITIONS, frames, days)))


def validate(tables: Mapping[str, Table]) -> None:
    """Hold the definitions against the catalogue.

    Raises
    ------
    ContractError
        A definition names a table or column that does not exist.
    """
    check_columns(DEFINITIONS.values(), {name: [c.name for c in table.schema] for name, table in tables.items()})


def computed(
    definitions: Mapping[str, Definition], frames: Mapping[str, DataFrame], days: DayRange
) -> Iterator[dict[str, Any]]:
    """Rows of ``audit.metrics`` for chosen definitions.

    Parameters
    ----------
    definitions
        By ``name@version``; what a ratio refers to must be among them.
    frames
        Each source with its rows of ``days`` and the windows before.
    """
    found = counted([d for d in definitions.values() if d.source], frames, days)
    figures = {**found, **dict(ratios(definitions.values(), found))}
    for (ds, key, dimension, group), (numerator, denominator, n) in sorted(figures.items()):
        definition = definitions[key]
        yield {
            "ds": ds,
            "metric": definition.name,
            "version": definition.version,
            "dimension": dimension,
            "value_group": group,
            "in_force": in_force(definition, definitions.values(), ds),
            "value": divided(numerator, denominator) if definition.denominator else numerator,
            "numerator": numerator,
            "denominator": denominator,
            "n": n,
        }


Place = tuple[dt.date, str, str, str]
Figure = tuple[float, float | None, int]


def counted(definitions: Sequence[Definition], frames: Mapping[str, DataFrame], days: DayRange) -> dict[Place, Figure]:
    """Numerator, denominator and rows of every definition with a source, by day, key, dimension and group."""
    check_columns(definitions, {name: frame.columns for name, frame in frames.items()})
    shared: dict[Rows, list[Definition]] = {}
    for each in definitions:
        shared.setdefault(Rows.of(each), []).append(each)
    parts = [aggregated(rows.frame(frames[rows.source], days), of) for rows, of in shared.items()]
    found = reduce(DataFrame.unionByName, parts).toArrow().to_pylist() if parts else []
    return {
        (r["ds"], r["metric"], r["dimension"], r["value_group"]): (r["numerator"], r["denominator"], r["n"])
        for r in found
    }


def aggregated(rows: DataFrame, definitions: Sequence[Definition]) -> DataFrame:
    """One aggregation for definitions of the same rows.

    Returns
    -------
    DataFrame
        ``ds, dimension, value_group, metric, numerator, denominator, n``; a group that no row in scope is of
        has no row, the total always has one.
    """
    dimensions = sorted({d for each in definitions for d in each.dimensions})
    grouped = {d: f"_by_{d}" for d in dimensions}
    # a null that grouping makes must not be taken for one that the source has
    values = [F.coalesce(F.col(d).cast("string"), F.lit(UNKNOWN)).alias(name) for d, name in grouped.items()]
    named = rows.select("*", *values)
    sets = [["ds"], *[["ds", name] for name in grouped.values()]]
    aggregates = [
        F.struct(
            F.lit(each.key).alias("metric"),
            F.array(*[F.lit(d) for d in (ALL, *each.dimensions)]).alias("dimensions"),
            total(each, each.numerator).alias("numerator"),
            (total(each, each.denominator) if each.denominator else F.lit(None).cast("double")).alias("denominator"),
            total(each, "count(1)").cast("bigint").alias("n"),
        )
        for each in definitions
    ]
    total_of = F.lit(ALL)
    dimension, group = total_of, total_of
    for d, name in grouped.items():
        dimension = F.when(F.grouping(name) == 0, F.lit(d)).otherwise(dimension)
        group = F.when(F.grouping(name) == 0, F.col(name)).otherwise(group)
    made = named.groupingSets(sets, "ds", *grouped.values()).agg(
        dimension.alias("dimension"), group.alias("value_group"), F.array(*aggregates).alias("figures")
    )
    return (
        made.select("ds", "dimension", "value_group", F.explode("figures").alias("figure"))
        .where("array_contains(figure.dimensions, dimension) AND (figure.n > 0 OR dimension = 'all')")
        .select("ds", "dimension", "value_group", "figure.metric", "figure.numerator", "figure.denominator", "figure.n")
    )


def total(definition: Definition, aggregate: str) -> Any:
    """An aggregate over the rows in scope, 0 over none."""
    kept = f" FILTER (WHERE {definition.scope})" if definition.scope and not definition.grain else ""
    return F.coalesce(F.expr(f"{aggregate}{kept}").cast("double"), F.lit(0.0))


def ratios(definitions: Iterable[Definition], found: Mapping[Place, Figure]) -> Iterator[tuple[Place, Figure]]:
    """The ratios of two metrics, wherever both have been counted on the day.

    A group that the numerator lacks has none of it: its numerator is 0.
    """
    for each in definitions:
        if each.source:
            continue
        over, under = each.references
        for (ds, key, dimension, group), (denominator, _, n) in found.items():
            wanted = dimension == ALL or dimension in each.dimensions
            if key == under and wanted and (ds, over, ALL, ALL) in found:
                numerator = found.get((ds, over, dimension, group), (0.0, None, 0))[0]
                yield (ds, each.key, dimension, group), (numerator, denominator, n)


def divided(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None


def in_force(definition: Definition, definitions: Iterable[Definition], ds: dt.date) -> bool:
    """Whether it is the newest version of its metric that is valid on a day."""
    valid = [d.version for d in definitions if d.name == definition.name and d.valid_from <= ds]
    return definition.version == max(valid, default=None)
