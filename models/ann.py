"""Nearest-neighbour indexes: built, measured against exact search, saved with an id map, refused on mismatch."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jobs.errors import ContractError

EXACT_LIMIT = 20_000
METRICS = ("cosine", "inner_product")


@dataclass(frozen=True)
class IndexParams:
    """``exact_limit``: up to so many vectors the index is exact; above, IVF with ``nprobe`` lists searched.

    ``metric``: ``cosine`` compares directions, as of texts; ``inner_product`` keeps lengths, which in a
    factor model say how much an item is liked by all: without them the nearest items are the rarest.
    """

    metric: str = "cosine"
    exact_limit: int = EXACT_LIMIT
    nprobe: int = 32
    min_recall: float = 0.95
    seed: int = 7


def build_index(ids: np.ndarray, vectors: np.ndarray, out: Path, params: IndexParams) -> dict[str, Any]:
    """Build an index and save it with its description.

    Parameters
    ----------
    ids
        int64, shape ``(n,)``.
    vectors
        float32, shape ``(n, d)``; normalised here for ``cosine``.

    Returns
    -------
    dict
        Kind, count, dimension, metric, parameters, build seconds, measured recall@100.

    Raises
    ------
    ContractError
        The metric is not known, or recall against exact search is below ``params.min_recall``.
    """
    import faiss

    if params.metric not in METRICS:
        raise ContractError(f"An index knows no metric {params.metric!r}; it has {METRICS}.")

    faiss.omp_set_num_threads(1)
    points = measured(vectors, params.metric)
    started = time.monotonic()
    kind, index = _make(faiss, points, params)
    seconds = round(time.monotonic() - started, 3)
    recall = measure_recall(index, points) if len(points) else None
    if recall is not None and recall < params.min_recall:
        raise ContractError(
            f"The {kind} index finds {recall:.3f} of the 100 nearest, below {params.min_recall}: "
            "raise nprobe or exact_limit."
        )
    faiss.write_index(index, str(out / "index.faiss"))
    np.save(out / "ids.npy", ids.astype(np.int64), allow_pickle=False)
    facts = {
        "kind": kind,
        "count": len(points),
        "dimension": int(points.shape[1]),
        "metric": params.metric,
        "nprobe": params.nprobe if kind == "ivf" else None,
        "recall_at_100": recall,
        "index_sha256": _sha(out / "index.faiss"),
        "ids_sha256": _sha(out / "ids.npy"),
    }
    (out / "index.json").write_text(json.dumps(facts, sort_keys=True))
    return {**facts, "build_seconds": seconds}


def _make(faiss: Any, points: np.ndarray, params: IndexParams) -> tuple[str, Any]:
    dimension = max(1, points.shape[1])
    flat = faiss.IndexFlatIP(dimension)
    if len(points) <= params.exact_limit:
        if len(points):
            flat.add(points)
        return "flat", flat
    index = faiss.IndexIVFFlat(flat, dimension, int(4 * np.sqrt(len(points))), faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = params.seed
    index.train(points)
    index.add(points)
    index.nprobe = params.nprobe
    index.own_fields = True
    flat.this.disown()
    return "ivf", index


def measure_recall(index: Any, points: np.ndarray, k: int = 100, queries: int = 200) -> float:
    """Share of the exact ``k`` nearest of up to ``queries`` evenly spaced vectors that the index finds."""
    k = min(k, len(points))
    sample = points[np.linspace(0, len(points) - 1, min(queries, len(points))).astype(int)]
    _, found = index.search(sample, k)
    scores = sample @ points.T
    worst = -np.sort(-scores, axis=1)[:, k - 1]
    # by score, not by id: equal vectors may come in any order
    reached = np.take_along_axis(scores, np.maximum(found, 0), axis=1) >= worst[:, None] - 1e-5
    return round(float(np.mean(reached & (found >= 0))), 4)


def measured(vectors: np.ndarray, metric: str) -> np.ndarray:
    """Vectors whose inner products are the metric."""
    return normalised(vectors) if metric == "cosine" else np.ascontiguousarray(vectors, dtype=np.float32)


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a zero row stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.where(length == 0, 1, length), dtype=np.float32)


def _sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Index:
    """A loaded index with its id map."""

    ids: np.ndarray
    index: Any
    metric: str = "cosine"

    @classmethod
    def load(cls, path: Path) -> Index:
        """Load and verify.

        Raises
        ------
        ContractError
            Index, id map and description do not belong together.
        """
        import faiss

        facts = json.loads((path / "index.json").read_text())
        for name, key in (("index.faiss", "index_sha256"), ("ids.npy", "ids_sha256")):
            if _sha(path / name) != facts[key]:
                raise ContractError(f"{path / name} is not the file that index.json describes: rebuild the index.")
        faiss.omp_set_num_threads(1)
        index = faiss.read_index(str(path / "index.faiss"))
        ids = np.load(path / "ids.npy", allow_pickle=False)
        if not index.ntotal == len(ids) == facts["count"]:
            raise ContractError(f"{path}: the index holds {index.ntotal} vectors, its id map {len(ids)}.")
        return cls(ids, index, facts["metric"])

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and scores of the ``k`` nearest, shape ``(n, k)``; where there are fewer the score is -inf."""
        if queries.shape[1] != self.index.d:
            raise ContractError(f"Queries have {queries.shape[1]} dimensions, the index {self.index.d}.")
        k = min(k, len(self.ids))
        if k == 0:
            return np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        scores, at = self.index.search(measured(queries, self.metric), k)
        return self.ids[np.maximum(at, 0)], np.where(at >= 0, scores, -np.inf)
