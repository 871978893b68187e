"""What a ranker was really given: kept from the very batches that it scored, for a sample of users.

Training rows are joined days later. Where the two disagree for the same user, item and day, the model is asked
about something that it was not taught; ``audit.skew`` holds them against each other.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from pyspark.sql import Column
from pyspark.sql import functions as F

from models.ranking_features import FEATURES

TYPE = "array<struct<name:string,value:float>>"


def is_sampled(share: float) -> Column:
    """Whether a user belongs to the sample: a hash, so always the same users."""
    return F.pmod(F.xxhash64("user_id", F.lit("scored features")), F.lit(10_000)) < int(share * 10_000)


def given(batch: pa.RecordBatch, sampled: pa.BooleanArray) -> pa.ListArray:
    """The features of the sampled rows with their names, null for the other rows.

    Examples
    --------
    >>> columns = [pa.array([float(n), n + 0.5], pa.float32()) for n in range(len(FEATURES))]
    >>> kept = given(pa.RecordBatch.from_arrays(columns, names=list(FEATURES)), pa.array([False, True])).to_pylist()
    >>> kept[0] is None, kept[1][2] == {"name": FEATURES[2], "value": 2.5}
    (True, True)
    """
    keep = np.asarray(sampled.to_numpy(zero_copy_only=False), dtype=bool)
    rows, width = int(keep.sum()), len(FEATURES)
    by_feature = pa.concat_arrays([batch.column(name).filter(sampled).cast(pa.float32()) for name in FEATURES])
    by_row = (np.arange(rows)[:, None] + np.arange(width) * rows).ravel()
    names = pa.array(FEATURES, pa.string()).take(pa.array(np.tile(np.arange(width), rows), pa.int64()))
    pairs = pa.StructArray.from_arrays([names, by_feature.take(pa.array(by_row, pa.int64()))], names=["name", "value"])
    ends = np.append(0, np.cumsum(np.where(keep, width, 0))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pairs, mask=pa.array(~keep))
