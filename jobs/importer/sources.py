"""Source files as Spark frames: clean rows for the feeds, the others with their reasons."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from jobs.importer import sql
from jobs.importer.files import SourceFiles, line_numbers
from jobs.importer.mapping import DataMapping, Source

CORRUPT = "the line does not have the columns of its header"
KEPT = 100_000


@dataclass(frozen=True)
class SourceResult:
    """What was read from a source's files, and what could not be used."""

    name: str
    files: tuple[str, ...]
    rows: int
    rejected: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SourceFrame:
    """A source as read: every row, with ``_file`` and, where it cannot be used, ``_reason``."""

    source: Source
    files: SourceFiles
    frame: DataFrame

    @property
    def clean(self) -> DataFrame:
        """The usable rows under their declared types, with ``_file``."""
        good = self.frame.where("_reason is null").drop("_reason", "_corrupt")
        types = self.source.types
        columns = (F.col(quoted(name)) for name in good.columns)
        return good.select(
            *(
                column.cast(types[name]).alias(name) if name in types else column
                for name, column in zip(good.columns, columns, strict=True)
            )
        )

    def result(self, mapping: DataMapping) -> SourceResult:
        """Count the rows by reason; this reads the files."""
        try:
            counts = {r[0]: r[1] for r in self.frame.groupBy("_reason").count().collect()}
        except PySparkException as error:
            raise sql.run_error(mapping, f"sources.{self.source.name}", error) from None
        rejected = {reason: counts[reason] for reason in sorted(r for r in counts if r)}
        return SourceResult(self.source.name, tuple(p.name for p in self.files.paths), sum(counts.values()), rejected)

    def rejects(self) -> list[dict[str, Any]]:
        """Rejected rows, at most ``KEPT``, with file and line number."""
        bad = self.frame.where("_reason is not null").limit(KEPT)
        content = F.to_json(F.struct(*(c for c in bad.columns if c not in ("_file", "_reason", "_corrupt"))))
        rows = bad.select("_reason", "_file", "_corrupt", content.alias("_row")).collect()
        lines = self._lines({(r["_file"], r["_corrupt"]) for r in rows if r["_corrupt"] is not None})
        return [
            {
                "reason": r["_reason"],
                "file": r["_file"],
                "line": lines.get((r["_file"], r["_corrupt"])),
                "row": r["_corrupt"] or json.loads(r["_row"]),
            }
            for r in rows
        ]

    def _lines(self, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for path in self.files.paths:
            texts = {text for name, text in wanted if name == path.name}
            if texts and not self.source.multiline:
                for text, number in line_numbers(path, self.source.encoding, texts):
                    found.setdefault((path.name, text), number)
        return found


def read_sources(spark: SparkSession, mapping: DataMapping, files: Mapping[str, SourceFiles]) -> dict[str, SourceFrame]:
    """Open every source. Its clean rows become a temporary view of its name, for the mapping's views."""
    frames = {name: _read(spark, mapping, source, files[name]) for name, source in mapping.sources.items()}
    for name, frame in frames.items():
        frame.clean.drop("_file").createOrReplaceTempView(name)
    return frames


def read_views(spark: SparkSession, mapping: DataMapping) -> dict[str, DataFrame]:
    """Open every view, in the file's order: a view may use those before it.

    Raises
    ------
    ImportMappingError
        A view's SQL is wrong, or is something other than a query.
    """
    frames: dict[str, DataFrame] = {}
    for name, text in mapping.views.items():
        try:
            # In parentheses nothing but a query parses; the line feed ends a closing comment.
            frames[name] = spark.sql(f"select * from (\n{text}\n)")
            frames[name].schema  # noqa: B018 - asks the server to analyse it
        except PySparkException as error:
            raise mapping.error(f"views.{name}", f"Spark refuses the query: {sql.short(error)}") from None
        frames[name].createOrReplaceTempView(name)
    return frames


def _read(spark: SparkSession, mapping: DataMapping, source: Source, files: SourceFiles) -> SourceFrame:
    paths = [_escape(path) for path in files.paths]
    try:
        if source.format == "csv":
            raw = _csv(spark, source, files, paths)
        elif source.format == "jsonl":
            raw = _jsonl(spark, source, paths)
        else:
            raw = spark.read.parquet(*paths).withColumn("_corrupt", F.lit(None).cast("string"))
        names = [c for c in raw.columns if c != "_corrupt"]
    except PySparkException as error:
        raise mapping.error(f"sources.{source.name}", sql.short(error)) from None
    if unknown := sorted(set(source.types) - set(names)):
        raise mapping.error(f"sources.{source.name}.types", f"there is no column {unknown}; there are {names}.")
    typed = _typed(mapping, source, raw.withColumn("_file", F.col("_metadata.file_name")), names)
    return SourceFrame(source, files, typed.persist())


def _escape(path: Path) -> str:
    """A path that Spark reads literally, though it takes paths for globs."""
    return "".join(f"\\{c}" if c in "{}[]*?\\" else c for c in str(path))


def _csv(spark: SparkSession, source: Source, files: SourceFiles, paths: list[str]) -> DataFrame:
    schema = StructType([StructField(n, StringType()) for n in (*files.columns, "_corrupt")])
    return spark.read.csv(
        paths,
        schema=schema,
        sep=source.separator,
        header=source.header,
        nullValue=source.null,
        encoding=source.encoding,
        quote=source.quote,
        escape=source.escape,
        multiLine=source.multiline,
        mode="PERMISSIVE",
        columnNameOfCorruptRecord="_corrupt",
    )


def _jsonl(spark: SparkSession, source: Source, paths: list[str]) -> DataFrame:
    options: dict[str, Any] = {
        "primitivesAsString": True,
        "columnNameOfCorruptRecord": "_corrupt",
        "encoding": source.encoding,
        "lineSep": "\n",
    }
    found = spark.read.json(paths, **options).schema
    schema = StructType([*(f for f in found if f.name != "_corrupt"), StructField("_corrupt", StringType())])
    return spark.read.json(paths, schema=schema, mode="PERMISSIVE", **options)


def _typed(mapping: DataMapping, source: Source, raw: DataFrame, names: list[str]) -> DataFrame:
    """The rows as delivered, with a reason where a line did not parse or a value is not of its declared type."""
    reasons: list[Column] = [F.when(F.col("_corrupt").isNotNull(), F.lit(CORRUPT))]
    for name, kind in source.types.items():
        _check_type(mapping, source, raw, name, kind)
        column = F.col(quoted(name))
        reasons.append(F.when(column.isNotNull() & column.try_cast(kind).isNull(), f"{name}: is no {kind}"))
    return raw.select(*map(quoted, names), "_file", "_corrupt", F.coalesce(*reasons).alias("_reason"))


def _check_type(mapping: DataMapping, source: Source, raw: DataFrame, name: str, kind: str) -> None:
    try:
        raw.select(F.col(quoted(name)).try_cast(kind)).schema  # noqa: B018 - asks the server to analyse it
    except PySparkException as error:
        raise mapping.error(
            f"sources.{source.name}.types.{name}", f"{kind!r} is no type for it: {sql.short(error)}"
        ) from None


def quoted(name: str) -> str:
    """A column name as Spark SQL takes it, whatever it holds."""
    return "`" + name.replace("`", "``") + "`"
