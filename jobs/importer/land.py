"""Feeds into the landing zone: one Parquet file and one manifest for each feed and day.

All rows of a feed are written by one Spark job into a staging folder, then compared with what is
landed already, then moved. The manifest comes last, so that an import that stops half-way is
taken up by the next one: days without a manifest are landed again.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.importer.feeds import FeedFrame
from jobs.importer.mapping import DataMapping
from jobs.landing import Feed, day_folder, landed_files, sha256, write_manifest

FILE = "import.parquet"
_TASKS = 16
# The staging folder is thrown away when a write fails: no second round of renames is needed to commit it.
_WRITER = {"compression": "zstd", "mapreduce.fileoutputcommitter.algorithm.version": "2"}
_ARROW = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True)
class DayFile:
    """A staged file and the folder that it is for."""

    feed: Feed
    ds: dt.date
    path: Path
    rows: int
    folder: Path


def days(first: dt.date, last: dt.date) -> Iterator[dt.date]:
    """Every day from first to last."""
    return (first + dt.timedelta(days=n) for n in range((last - first).days + 1))


def stage(feed: FeedFrame, rows: DataFrame, folder: Path, count: int) -> None:
    """Write the usable rows in one job, one file a day, in an order that does not depend on the run."""
    names = feed.mapped.feed.names
    keys = list(feed.mapped.feed.key)
    order = [F.col(c) for c in ("ds", *keys, *(n for n in names if n not in keys))]
    (
        rows.where("_reason is null")
        .select(*names, F.date_format("_day", "yyyy-MM-dd").alias("ds"))
        .repartition(min(count, _TASKS), "ds")
        .sortWithinPartitions(*order)
        .write.partitionBy("ds")
        .mode("overwrite")
        .options(**_WRITER)
        .parquet(str(folder))
    )


def day_files(
    mapping: DataMapping, feed: Feed, staged: Path, landing: Path, first: dt.date, last: dt.date
) -> list[DayFile]:
    """The staged file of every day; a day without rows gets a file without rows."""
    empty = _write_empty(feed, staged)
    found: list[DayFile] = []
    for ds in days(first, last):
        folder = staged / f"ds={ds:%Y-%m-%d}"
        parts = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
        if len(parts) > 1:
            raise mapping.error(f"feeds.{feed.name}", f"{folder} was written in {len(parts)} parts; one was asked for.")
        path = parts[0] if parts else empty
        rows = pq.read_metadata(path).num_rows
        found.append(DayFile(feed, ds, path, rows, day_folder(landing, mapping.market.name, feed.name, ds)))
    return found


def _write_empty(feed: Feed, staged: Path) -> Path:
    target = staged / "_empty.parquet"
    schema = pa.schema([pa.field(f.name, _ARROW[f.type]) for f in feed.fields])
    pq.write_table(schema.empty_table(), target, compression="zstd")
    return target


def is_landed(mapping: DataMapping, file: DayFile) -> bool:
    """Whether the day is landed already, with the same content.

    Raises
    ------
    ImportMappingError
        It is landed with other content.
    """
    if not any(file.folder.glob("_manifest*.json")):
        return False
    before = {f.path.name: f.sha256 for f in landed_files(file.folder)}
    if before.get(FILE) == sha256(file.path):
        return True
    raise mapping.error(
        f"feeds.{file.feed.name}",
        f"{file.folder} is landed already with other content, and landed files are immutable. The source or the "
        f"mapping has changed: import it under another market name, or remove {file.folder.parent.parent} with what "
        f"was built from it.",
    )


def move(file: DayFile) -> None:
    """Put a staged file into its day and complete the day with a manifest."""
    file.folder.mkdir(parents=True, exist_ok=True)
    partial = file.folder / f"{FILE}.partial"
    # Copied, not renamed: the staging folder may be on another file system, and empty days share one file.
    shutil.copyfile(file.path, partial)
    os.replace(partial, file.folder / FILE)
    write_manifest(file.folder, file.feed.name, file.ds, {FILE: file.rows})


def land(mapping: DataMapping, files: Mapping[str, list[DayFile]]) -> dict[str, int]:
    """Move what is not landed yet; returns how many days of each feed were.

    All days of all feeds are compared before the first one is moved, so that a conflict lands nothing.
    """
    todo = {name: [f for f in found if not is_landed(mapping, f)] for name, found in files.items()}
    for found in todo.values():
        for file in found:
            move(file)
    return {name: len(found) for name, found in todo.items()}
