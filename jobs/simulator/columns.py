"""Arrow columns of landing feeds, made from numpy arrays in bulk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.landing import BY_NAME

_TYPES = {
    "string": pa.string(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.string(),
}


def schema(feed: str) -> pa.Schema:
    """A feed's columns; timestamps are text, ISO 8601 in UTC with milliseconds."""
    return pa.schema([(f.name, _TYPES[f.type]) for f in BY_NAME[feed].fields])


def numbered(prefix: str, numbers: np.ndarray, width: int) -> pa.Array:
    """Ids such as ``u0000042``; null where the number is negative."""
    numbers = np.asarray(numbers, dtype=np.int64)
    digits = pc.ascii_lpad(pa.array(numbers, mask=numbers < 0).cast(pa.string()), width, "0")
    return pc.binary_join_element_wise(prefix, digits, "")


def user_ids(index: np.ndarray) -> pa.Array:
    return numbered("u", index, 7)


def item_ids(index: np.ndarray) -> pa.Array:
    return numbered("p", index, 7)


def creator_ids(index: np.ndarray) -> pa.Array:
    return numbered("c", index, 6)


def instants(ms: np.ndarray) -> pa.Array:
    """ISO 8601 in UTC, to the millisecond, of UTC ms since 1970."""
    text = pa.array(np.asarray(ms, dtype=np.int64)).cast(pa.timestamp("ms")).cast(pa.string())
    return pc.binary_join_element_wise(pc.utf8_replace_slice(text, 10, 11, "T"), "Z", "")


def named(names: Sequence[str], codes: np.ndarray) -> pa.Array:
    """Names by their codes; null where the code is negative."""
    codes = np.asarray(codes, dtype=np.int32)
    return pa.array(names, pa.string()).take(pa.array(codes, mask=codes < 0))


def whole(values: np.ndarray) -> pa.Array:
    """Whole numbers; null where negative."""
    values = np.asarray(values, dtype=np.int64)
    return pa.array(values, mask=values < 0)


def real(values: np.ndarray, digits: int) -> pa.Array:
    """Real numbers, rounded; null where not a number."""
    values = np.round(np.asarray(values, dtype=np.float64), digits)
    return pa.array(values, mask=np.isnan(values))


def table(feed: str, columns: Mapping[str, Any]) -> pa.Table:
    """A table with exactly the feed's columns; those not given are null."""
    wanted = schema(feed)
    count = len(next(iter(columns.values())))
    arrays = []
    for column in wanted:
        values = columns.get(column.name)
        if values is None:
            arrays.append(pa.nulls(count, column.type))
            continue
        array = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values)
        arrays.append(array.cast(column.type))
    return pa.table(arrays, schema=wanted)
