"""The columns of a delivery held against the deliveries before it: what is new, gone, or of another type.

A new column passes and is named. One that is gone, renamed or retyped stops the day before anything is published.
How many values a column has is in the footers of the staged files, so no row is read a second time.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.contract import DayRange, Table
from jobs.errors import LandingError
from jobs.lake import Lake
from jobs.landing import Feed, day_folder, feed, landed_files
from jobs.landing_reader import columns_of

DELIVERIES = 7
"""Earlier days with rows that say how often a column is usually given."""
EXPECTED = 20
"""Values that a day should have had before having none means that the column is gone."""
MOST = 0.95
"""Share of a column's values that cannot be read from which it has another type than declared."""


@dataclass(frozen=True)
class Delivery:
    """The files of a day, their rows, and the values that each column has."""

    files: Sequence[Path]
    rows: int
    given: Counter[str]

    def share(self, column: str) -> float:
        return self.given[column] / self.rows


def hold_columns(
    lake: Lake, contract: Table, feed_name: str, stage: Path, days: DayRange, without: Sequence[str] = ()
) -> dict[str, str]:
    """Hold every staged day of a feed against the deliveries before it.

    Parameters
    ----------
    stage
        Folder of the staged rows, which have ``unreadable`` and ``extra`` beside the feed's columns.
    without
        Columns that the source has stopped to deliver, and that are not missed.

    Returns
    -------
    dict
        By day (as text) a sentence on columns that the feed does not declare; days without any are left out.

    Raises
    ------
    LandingError
        A column is gone that earlier deliveries or every row must have, or its values are of another type.
    """
    declared = feed(feed_name)
    if unknown := set(without) - set(declared.names):
        raise LandingError(f"Feed {feed_name} has no column {sorted(unknown)}: mend the option without.")
    staged: dict[dt.date, list[Path]] = {}
    for file in lake.staged_files(contract, stage):
        day = dt.date.fromisoformat(file.partition["ds"])
        staged.setdefault(day, []).append(lake.path(contract.name) / file.path)
    before = [_delivery(files) for files in _published(lake, contract, days.first)]
    said = {}
    for day in sorted(staged):
        today = _delivery(staged[day])
        folder = day_folder(lake.settings.landing, lake.settings.market.name, feed_name, day)
        wrong = [
            *_gone(declared, today, before[-DELIVERIES:], _headers(folder), without),
            *_retyped(declared, today, without),
        ]
        new = ", ".join(_undeclared(today))
        if wrong:
            raise LandingError(
                f"{feed_name} of {day}: {'; '.join(wrong)}. {f'New: {new}. ' if new else ''}Nothing was published: "
                "deliver the day again with its declared columns, or name those that the source has dropped for good "
                f"in the market's file, params: {contract.name}: without."
            )
        if new:
            said[str(day)] = f"Undeclared columns, kept in extra: {new}."
        before.append(today)
    return said


def _gone(
    declared: Feed, today: Delivery, before: Sequence[Delivery], header: set[str] | None, without: Sequence[str]
) -> list[str]:
    """Columns without a value that should have had some: by a header that lacks them, else by what is usual."""
    found = []
    for field in declared.fields:
        if today.given[field.name] or field.name in without:
            continue
        shares = [delivery.share(field.name) for delivery in before]
        usual = 1.0 if field.required else min(shares, default=0.0)
        dropped = header is not None and field.name not in header and any(shares)
        if dropped or today.rows * usual >= EXPECTED:
            found.append(f"column {field.name!r} has no value in {today.rows} rows, usual is {usual:.0%}")
    return found


def _retyped(declared: Feed, today: Delivery, without: Sequence[str]) -> list[str]:
    unreadable = Counter[str]()
    for value in pc.value_counts(_column(today, "unreadable")).to_pylist():
        unreadable.update(dict.fromkeys((value["values"] or "").split(","), value["counts"]))
    found = []
    for field in declared.fields:
        given, bad = today.given[field.name], unreadable[field.name]
        if field.name not in without and bad >= max(EXPECTED, MOST * given):
            found.append(f"column {field.name!r} is no {field.type} in {bad} of {given} values")
    return found


def _headers(folder: Path) -> set[str] | None:
    """Columns that the files of a day spell; None where one has no header, so that a column may lack by chance."""
    found: set[str] = set()
    for file in landed_files(folder):
        if file.rows:
            columns = columns_of(file.path)
            if columns is None:
                return None
            found |= set(columns)
    return found


def _published(lake: Lake, contract: Table, until: dt.date) -> list[list[Path]]:
    """Files of the last deliveries before a day, oldest first."""
    days = [day for day in lake.days(contract.name) if day < until][-DELIVERIES:]
    files: dict[dt.date, list[Path]] = {day: [] for day in days}
    hidden: set[dt.date] = set()
    for each in (lake, lake.behind):
        version = None if each is None else each.version(contract.name)
        if version is not None:
            for file in each.files_at(contract, version, set(days) - hidden):
                files[dt.date.fromisoformat(file.partition["ds"])].append(each.path(contract.name) / file.path)
        if each is not None and each.behind is not None:
            hidden = set(each.built(contract.name))
    return [files[day] for day in days]


def _delivery(files: Sequence[Path]) -> Delivery:
    rows, given = 0, Counter[str]()
    for path in files:
        footer = pq.read_metadata(path)
        rows += footer.num_rows
        for at in range(footer.num_row_groups):
            group = footer.row_group(at)
            for number in range(group.num_columns):
                column = group.column(number)
                given[column.path_in_schema] += column.num_values - _nulls(path, at, column)
    return Delivery(files, rows, given)


def _nulls(path: Path, group: int, column: pq.ColumnChunkMetaData) -> int:
    """Nulls of a column in a row group; read where the footer, for very long values, does not say."""
    if column.is_stats_set and column.statistics.has_null_count:
        return column.statistics.null_count
    name = column.path_in_schema
    return pq.ParquetFile(path).read_row_group(group, columns=[name])[name].null_count


def _undeclared(today: Delivery) -> list[str]:
    """Names of the delivered columns that the feed does not declare."""
    extra = pc.unique(_column(today, "extra")).to_pylist()
    return sorted({key for text in extra if text is not None for key in json.loads(text)})


def _column(delivery: Delivery, name: str) -> pa.ChunkedArray:
    """A column of all rows; without any row where none has a value, which most often is so."""
    if not delivery.given[name]:
        return pa.chunked_array([], pa.string())
    return pa.concat_tables([pq.ParquetFile(path).read(columns=[name]) for path in delivery.files])[name]
