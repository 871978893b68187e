"""Rows as rankers read them: Arrow columns to NumPy arrays, queries, and batches of a bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from jobs.errors import ContractError

Columns = Mapping[str, np.ndarray] | pa.RecordBatch | pa.Table


class Stream(Protocol):
    """Rows that can be read again and again in batches: an Arrow table, or a ``pyarrow.dataset`` on disk."""

    def to_batches(self) -> Iterable[pa.RecordBatch]: ...


def column(columns: Columns, name: str) -> Any:
    """One column.

    Raises
    ------
    ContractError
        It is missing.
    """
    names = columns.schema.names if hasattr(columns, "schema") else list(columns)
    if name not in names:
        raise ContractError(f"The rows lack the column {name!r} that the ranker reads; they have {sorted(names)}.")
    values = columns[name] if isinstance(columns, Mapping) else columns.column(name)
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def feature_matrix(columns: Columns, features: tuple[str, ...]) -> np.ndarray:
    """float32, shape ``(rows, features)``; null is NaN.

    Raises
    ------
    ContractError
        A feature is missing.
    """
    names = columns.schema.names if hasattr(columns, "schema") else list(columns)
    if missing := [f for f in features if f not in names]:
        raise ContractError(f"Scoring lacks the features {missing} that the ranker was trained on.")
    return np.column_stack([_as_float(column(columns, f)) for f in features])


def _as_float(values: Any) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values.astype(np.float32)
    return values.cast(pa.float32()).to_numpy(zero_copy_only=False).astype(np.float32)


def numbers(columns: Columns, name: str, kind: type = np.float64) -> np.ndarray:
    """A column of numbers without nulls."""
    values = column(columns, name)
    return np.asarray(values if isinstance(values, np.ndarray) else values.to_numpy(zero_copy_only=False), dtype=kind)


def row_weights(columns: Columns) -> np.ndarray:
    """How much each row counts in a fit: its ``weight``, and 1 where a day was built before rows had one."""
    return np.nan_to_num(numbers(columns, "weight"), nan=1.0)


def hashed(ids: np.ndarray, buckets: int, field: int) -> np.ndarray:
    """Bucket of each id, 1 to ``buckets``; a new id has one too, so no retraining from zero is needed.

    Parameters
    ----------
    ids
        int64, any shape.
    field
        Salt, so that equal ids of different fields do not share a bucket.

    Notes
    -----
    The finaliser of SplitMix64 (Steele, Lea and Flood, 2014), the same on every machine.
    """
    with np.errstate(over="ignore"):
        mixed = ids.astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15) * np.uint64(field + 1)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(buckets)).astype(np.int32) + 1


def sequences(columns: Columns, name: str, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The first ``length`` entries of an array column.

    Returns
    -------
    ids, present
        int64 and bool, shape ``(rows, length)``; what is not present is 0.
    """
    lists = column(columns, name)
    if isinstance(lists, np.ndarray):
        lists = pa.array(list(lists), pa.list_(pa.int64()))
    sizes = lists.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    flat = lists.flatten().to_numpy(zero_copy_only=False).astype(np.int64)
    row = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(flat)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    keep = place < length
    ids, present = np.zeros((len(sizes), length), np.int64), np.zeros((len(sizes), length), bool)
    ids[row[keep], place[keep]] = flat[keep]
    present[row[keep], place[keep]] = True
    return ids, present


def query_ids(table: pa.Table | pa.RecordBatch) -> np.ndarray:
    """A number per (day, user) run of rows that are sorted by them."""
    days = column(table, "shown_ds").cast(pa.int32()).to_numpy(zero_copy_only=False)
    users = numbers(table, "user_id", np.int64)
    new = np.r_[True, (np.diff(days) != 0) | (np.diff(users) != 0)]
    return np.cumsum(new) - 1


def batches(source: Stream, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
    """The rows in order, in batches of ``rows`` (the last is shorter), however the source cuts them."""
    held: list[pa.RecordBatch] = []
    for batch in source.to_batches():
        held.append(batch)
        while sum(b.num_rows for b in held) >= rows:
            table = pa.Table.from_batches(held)
            yield _one(table.slice(0, rows))
            held = table.slice(rows).to_batches()
    if sum(b.num_rows for b in held):
        yield _one(pa.Table.from_batches(held))


def whole_queries(source: Stream) -> Iterator[pa.RecordBatch]:
    """As `batches`, but that no (day, user) is cut: its last rows wait for the rest of it."""
    held: list[pa.RecordBatch] = []
    for batch in batches(source):
        table = pa.Table.from_batches([*held, batch])
        query = query_ids(table)
        begun = int(np.searchsorted(query, query[-1]))
        if begun:
            yield _one(table.slice(0, begun))
        held = table.slice(begun).to_batches()
    if held:
        yield _one(pa.Table.from_batches(held))


def _one(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


def shuffled(source: Stream, window: int, rng: np.random.Generator) -> Iterator[pa.Table]:
    """The rows in windows of ``window``, each in random order.

    At most two windows are held at a time.
    """
    for batch in batches(source, window):
        yield pa.Table.from_batches([batch]).take(pa.array(rng.permutation(batch.num_rows)))
