"""Reads landed files as delivered: every declared column a string, the rest kept aside, no line lost."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import defaultdict
from pathlib import Path
from typing import IO

import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from jobs.contract import DayRange
from jobs.errors import LandingError
from jobs.landing import Feed, LandedFile, day_folder, feed, landed_files, sha256
from jobs.settings import Settings

MARKS = ("extra", "raw", "file")
RAW, FILE = "_nightjar_raw", "_nightjar_file"
"""The marks while files are read: a delivered column may be called ``raw`` or ``file``."""
NESTED = ("struct<", "list<", "large_list<", "fixed_size_list<", "map<")
"""How Arrow spells the types that have no text of their own."""


def read_landing(spark: SparkSession, settings: Settings, name: str, days: DayRange) -> DataFrame:
    """All files that landed for a feed on ``days``.

    Returns
    -------
    DataFrame
        ``ds`` (day of arrival), the feed's columns as strings, ``extra``, ``raw``, ``file``.

    Raises
    ------
    LandingError
        A file is damaged or lacks a required column; the message names file and column.
    """
    declared = feed(name)
    files = [f for ds in days for f in landed_files(day_folder(settings.landing, settings.market.name, name, ds))]
    groups: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    for file in files:
        verify(file)
        # what a manifest calls empty is read all the same where it holds rows: counting them shows who is right
        if file.rows or _kind(file.path) == "parquet" or _has_rows(file.path):
            groups[_layout(declared, file.path)].append(str(file.path))
    frames = [_read(spark, declared, kind, header, paths) for (kind, header, _), paths in sorted(groups.items())]
    if not frames:
        columns = ["ds date", *[f"{c} string" for c in (*declared.names, *MARKS)]]
        return spark.createDataFrame([], ", ".join(columns))
    whole = frames[0]
    for frame in frames[1:]:
        whole = whole.unionByName(frame)
    return whole


def verify(file: LandedFile) -> None:
    """Hold a file against its manifest, and a compressed one against its own end mark."""
    if sha256(file.path) != file.sha256:
        raise LandingError(f"{file.path} is not the file that its manifest describes (SHA-256): deliver it again.")
    if file.path.suffix == ".gz":
        try:
            with gzip.open(file.path, "rb") as handle:
                while handle.read(1 << 20):
                    pass
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise LandingError(f"{file.path} is a damaged gzip file ({error}): deliver it again.") from error


def _kind(path: Path) -> str:
    return path.name.removesuffix(".gz").rsplit(".", 1)[1]


def columns_of(path: Path) -> tuple[str, ...] | None:
    """The columns that a file's header or schema spells; None for JSON lines, which have neither."""
    kind = _kind(path)
    if kind == "jsonl":
        return None
    return _parquet_columns(path)[0] if kind == "parquet" else _csv_header(path)


def _layout(declared: Feed, path: Path) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Kind, columns and (of Parquet) types of a file; files of one layout are read together."""
    kind = _kind(path)
    if kind == "jsonl":
        return kind, (), ()
    header, types = _parquet_columns(path) if kind == "parquet" else (_csv_header(path), ())
    for name, given in dict(zip(header, types, strict=kind == "parquet")).items():
        if given.startswith(NESTED) and name in declared.names:
            raise LandingError(
                f"{path}: column {name!r} of feed {declared.name} is {given}, declared {declared.field(name).type}. "
                "Nothing was read: deliver it again with the declared type."
            )
    missing = [f.name for f in declared.fields if f.required and f.name not in header]
    if missing:
        raise LandingError(
            f"{path} lacks the column {missing[0]!r} of feed {declared.name}; it has {list(header)}. "
            "Nothing was read: deliver it again with the declared header."
        )
    return kind, header, types


def _parquet_columns(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        schema = pq.read_schema(path)
        return tuple(schema.names), tuple(map(str, schema.types))
    except (OSError, ValueError) as error:
        raise LandingError(f"{path} is not a Parquet file ({error}): deliver it again.") from error


def _opened(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _has_rows(path: Path) -> bool:
    """True where a text file has a line that is not blank, besides the header of CSV."""
    with _opened(path) as handle:
        if _kind(path) == "csv":
            handle.readline()
        return any(line.strip() for line in handle)


def _csv_header(path: Path) -> tuple[str, ...]:
    with _opened(path) as handle:
        first = handle.readline()
    header = next(csv.reader(io.StringIO(first.decode("utf-8-sig", errors="replace"))), [])
    if len(set(header)) != len(header) or not header:
        raise LandingError(f"{path} has no usable header line: {header}.")
    return tuple(header)


def _read(spark: SparkSession, declared: Feed, kind: str, header: tuple[str, ...], paths: list[str]) -> DataFrame:
    if kind == "csv":
        frame = _read_csv(spark, header, paths)
    elif kind == "jsonl":
        frame = _read_jsonl(spark, declared, paths)
    else:
        frame = spark.read.parquet(*paths).select(
            *[F.col(f"`{c}`").cast("string").alias(c) for c in header],
            F.lit(None).cast("string").alias(RAW),
            F.col("_metadata.file_path").alias(FILE),
        )
    present = set(frame.columns)
    day = F.regexp_extract(FILE, r"/ds=(\d{4}-\d{2}-\d{2})/", 1).cast("date")
    given = [F.col(c) if c in present else F.lit(None).cast("string").alias(c) for c in declared.names]
    extra = F.col("extra") if kind == "jsonl" else _extra(declared, header)
    return frame.select(
        day.alias("ds"),
        *given,
        extra.alias("extra"),
        F.col(RAW).alias("raw"),
        F.regexp_extract(FILE, r"/(ds=[^/]+/[^/]+)$", 1).alias("file"),
    )


def _extra(declared: Feed, header: tuple[str, ...]) -> Column:
    unknown = [c for c in header if c not in declared.names]
    return F.to_json(F.struct(*[F.col(f"`{c}`") for c in unknown])) if unknown else F.lit(None).cast("string")


def _read_csv(spark: SparkSession, header: tuple[str, ...], paths: list[str]) -> DataFrame:
    schema = ", ".join(f"`{c}` string" for c in (*header, RAW))
    return (
        spark.read.schema(schema)
        .options(header=True, mode="PERMISSIVE", columnNameOfCorruptRecord=RAW, escape='"', encoding="UTF-8")
        .csv(paths)
        .select(*[F.col(f"`{c}`") for c in header], RAW, F.col("_metadata.file_path").alias(FILE))
    )


def _read_jsonl(spark: SparkSession, declared: Feed, paths: list[str]) -> DataFrame:
    fields = F.from_json("value", ", ".join(f"`{c}` string" for c in declared.names))
    unknown = F.array_except(F.json_object_keys("value"), F.array(*[F.lit(c) for c in declared.names]))
    # functions over maps are interpreted: only lines that hold an unknown key pay for one
    rest = F.map_filter(F.from_json("value", "map<string,string>"), lambda key, _: F.array_contains("unknown", key))
    return (
        spark.read.text(paths)
        .select("value", fields.alias("fields"), unknown.alias("unknown"), F.col("_metadata.file_path").alias(FILE))
        .select(
            "fields.*",
            F.when(F.size("unknown") > 0, F.to_json(rest)).alias("extra"),
            F.when(F.col("unknown").isNull(), F.col("value")).alias(RAW),
            FILE,
        )
    )
