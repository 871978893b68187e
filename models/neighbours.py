"""What goes with each item, as sparse matrices for the channels that start from users' last items."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Artifact, ArtifactInput, DayRange, TableInput
from models.ann import Index
from models.content_index import vectors_of

KINDS = ("together", "content", "new")


@dataclass(frozen=True)
class Params:
    """``content`` items are alike to an item; an item is new for ``new_days``, and is led to by the ``new`` items
    that it resembles most.
    """

    content: int = 20
    new: int = 100
    new_days: int = 3


CONTRACT = Artifact(
    name="models.neighbours",
    group="candidates",
    owner="candidates",
    description="Neighbours of each item by kind: together (users had both), content (texts are alike), new (items of "
    "the last 3 days whose texts are like the item's).",
    inputs=[
        TableInput("candidates.item_neighbours"),
        TableInput("features.item_content"),
        TableInput("features.item_stats"),
        # of the same day: vectors of another day are not those that it is searched with
        ArtifactInput("models.content_index", max_age=0),
    ],
)
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]


def build(
    item_neighbours: DataFrame,
    item_content: DataFrame,
    item_stats: DataFrame,
    content_index: Path,
    *,
    days: DayRange,
    params: Params,
    out: Path,
) -> dict[str, Any]:
    """Write ``ids.npy`` and, for each of ``KINDS``, a matrix from item to neighbour."""
    described = item_content.join(item_stats.select("ds", "item_id", "age_days"), ["ds", "item_id"], "left")
    rows = described.select("item_id", "vector", "age_days").orderBy("item_id").toArrow()
    items, vectors = vectors_of(rows)
    index = Index.load(content_index).require(items, vectors)
    age = rows["age_days"].to_numpy(zero_copy_only=False)
    is_new = np.nan_to_num(age.astype(np.float64), nan=params.new_days) < params.new_days
    led = alike(index, items[is_new], vectors[is_new], params.new)
    pairs = {
        "together": _collected(item_neighbours),
        "content": alike(index, items, vectors, params.content),
        # asked from the side of the new, which are few: each of them is led to by something
        "new": (led[1], led[0], led[2]),
    }
    ids = np.unique(np.concatenate([each for of in pairs.values() for each in of[:2]]))
    np.save(out / "ids.npy", ids, allow_pickle=False)
    for kind, (item, other, score) in pairs.items():
        cells = (score.astype(np.float32), (np.searchsorted(ids, item), np.searchsorted(ids, other)))
        sp.save_npz(out / f"{kind}.npz", sp.csr_array(cells, shape=(len(ids), len(ids))))
    return {"items": len(ids), **{kind: len(of[0]) for kind, of in pairs.items()}}


def _collected(item_neighbours: DataFrame) -> Pairs:
    columns = ["item_id", "neighbour_id", F.col("similarity").cast("float").alias("score")]
    rows = item_neighbours.select(*columns).orderBy("item_id", "neighbour_id").toArrow()
    return tuple(column.to_numpy() for column in rows.columns)


def alike(index: Index, items: np.ndarray, vectors: np.ndarray, k: int) -> Pairs:
    """Items, the ``k`` others that are nearest to each, and their cosines, which are above 0."""
    if not len(items):
        return items, items, np.zeros(0, np.float32)
    found, scores = index.search(vectors, k + 1)
    row, column = np.nonzero((scores > 0) & (found != items[:, None]))
    return items[row], found[row, column], scores[row, column]


@dataclass(frozen=True)
class Neighbours:
    """Sorted item ids, and by kind the matrix from item to neighbour."""

    ids: np.ndarray
    by_kind: dict[str, sp.csr_array]


@lru_cache(maxsize=2)
def load(path: Path) -> Neighbours:
    """A saved artifact; kept, because a worker is asked batch by batch."""
    ids = np.load(path / "ids.npy", allow_pickle=False)
    return Neighbours(ids, {kind: sp.csr_array(sp.load_npz(path / f"{kind}.npz")) for kind in KINDS})
