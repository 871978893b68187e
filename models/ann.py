"""Nearest-neighbour indexes: chosen by size, measured against exact search, extended, refused on mismatch.

One interface over four kinds of FAISS index. *flat* is exact. *hnsw* is a graph: no training, fast to search, dear to
build. *ivf* looks into the lists nearest to a query. *ivfpq* does that over codes of four bits a component and orders
the best by codes of eight bits: some 1.5 bytes a component instead of four, for millions of vectors.

How far a search looks is not guessed: it is doubled until the index finds the asked share of the exact neighbours.
An index that does not get there is not kept.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jobs.errors import ContractError

METRICS = ("cosine", "inner_product")
KINDS = ("flat", "hnsw", "ivf", "ivfpq")
HNSW_LINKS, HNSW_BUILD = 32, 80
MAX_LISTS = 16_384
TRAINED_ON = 64
"""Vectors a list that the lists are trained on at most; more do not move them."""
BLOCK = 65_536
"""Rows that exact search and hashing hold at once."""
QUERIES_AT_ONCE = 1024


@dataclass(frozen=True)
class IndexParams:
    """How an index is chosen, and how good it must be.

    Parameters
    ----------
    metric
        ``cosine`` compares directions, as of texts; ``inner_product`` keeps lengths, which in a factor model say
        how much an item is liked by all: without them the nearest items are the rarest.
    kind
        ``auto`` chooses by size; or one of ``flat``, ``hnsw``, ``ivf``, ``ivfpq``.
    exact_limit, hnsw_limit, ivf_limit
        Up to so many vectors ``auto`` takes flat, hnsw, ivf; above, ivfpq. Inner products get no hnsw: its graph links
        what is alike, and leads to few of the long vectors that score most.
    min_recall
        Share of the exact 100 nearest that must be found.
    max_effort
        Most lists (ivf), candidates (hnsw) that one search may look at to get there.
    """

    metric: str = "cosine"
    kind: str = "auto"
    exact_limit: int = 25_000
    hnsw_limit: int = 100_000
    ivf_limit: int = 1_000_000
    min_recall: float = 0.95
    max_effort: int = 1024
    seed: int = 7

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ContractError(f"An index knows no metric {self.metric!r}; it has {METRICS}.")
        if self.kind not in ("auto", *KINDS):
            raise ContractError(f"There is no index of kind {self.kind!r}; there are {KINDS}, and auto.")

    def kind_of(self, count: int) -> str:
        """The kind for so many vectors."""
        if self.kind != "auto":
            return self.kind
        hnsw_limit = self.hnsw_limit if self.metric == "cosine" else 0
        limits = zip(KINDS, (self.exact_limit, hnsw_limit, self.ivf_limit))
        return next((kind for kind, limit in limits if count <= limit), KINDS[-1])


def build_index(
    ids: np.ndarray, vectors: np.ndarray, out: Path, params: IndexParams, queries: np.ndarray | None = None
) -> dict[str, Any]:
    """Build an index and save it with its id map and its description, ``index.json``.

    Parameters
    ----------
    ids
        int64, shape ``(n,)``, each once.
    vectors
        float32, shape ``(n, d)``; normalised here for ``cosine``.
    queries
        A sample of what is searched for, which recall is measured with; by default some of the vectors themselves.

    Returns
    -------
    dict
        Kind, count, dimension, metric, reached parameters, measured recall@100, checksums, build seconds.

    Raises
    ------
    ContractError
        Ids and vectors do not fit, or recall stays below ``params.min_recall``.
    """
    _check_ids(ids, vectors)
    started = time.monotonic()
    points = measured(vectors, params.metric)
    kind = params.kind_of(len(points))
    index = _filled(_new(kind, points, params), points)
    return _keep(kind, index, ids, points, vectors, out, params, started, queries)


def extend_index(source: Path, ids: np.ndarray, vectors: np.ndarray, out: Path, params: IndexParams) -> dict[str, Any]:
    """Add the vectors whose ids an index does not hold yet, without building it again; measured like a new one.

    Parameters
    ----------
    source
        Folder of the index; it stays as it is.
    ids, vectors
        All vectors, those that the index holds among them and unchanged.

    Returns
    -------
    dict
        As of ``build_index``, with the number ``added``.

    Raises
    ------
    ContractError
        The index was built from other vectors or by another metric, or its recall falls below
        ``params.min_recall``: build it again.
    """
    _check_ids(ids, vectors)
    started = time.monotonic()
    before = Index.load(source)
    if before.metric != params.metric:
        raise ContractError(f"{source} measures by {before.metric}, not {params.metric}: build the index again.")
    order = np.argsort(ids, kind="stable")
    at = order[np.searchsorted(ids, before.ids, sorter=order).clip(max=max(0, len(ids) - 1))] if len(ids) else order
    if len(before.ids) and (not len(ids) or not np.array_equal(ids[at], before.ids)):
        raise ContractError(f"{source} holds items that are no longer there: build the index again.")
    before.require(before.ids, vectors[at])
    new = np.setdiff1d(np.arange(len(ids)), at)
    rows = np.concatenate([at, new]).astype(np.int64)
    points = measured(vectors[rows], params.metric)
    if not len(new):
        shutil.copytree(source, out, dirs_exist_ok=True)
        return {**before.facts, "added": 0, "build_seconds": round(time.monotonic() - started, 3)}
    before.index.add(points[len(at) :])
    facts = _keep(before.facts["kind"], before.index, ids[rows], points, vectors[rows], out, params, started)
    return {**facts, "added": len(new)}


def _check_ids(ids: np.ndarray, vectors: np.ndarray) -> None:
    if len(ids) != len(vectors):
        raise ContractError(f"There are {len(ids)} ids and {len(vectors)} vectors: each vector needs its id.")
    if len(np.unique(ids)) != len(ids):
        raise ContractError("An id stands for more than one vector: an index holds each id once.")


def _new(kind: str, points: np.ndarray, params: IndexParams) -> Any:
    """An empty, trained index."""
    import faiss

    faiss.omp_set_num_threads(1)
    dimension = max(1, points.shape[1])
    lists = int(np.clip(4 * np.sqrt(len(points)), 1, min(MAX_LISTS, max(1, len(points) // 4))))
    recipe = {
        "flat": "Flat",
        "hnsw": f"HNSW{HNSW_LINKS}",
        "ivf": f"IVF{lists},Flat",
        "ivfpq": f"IVF{lists},PQ{dimension}x4fs,Refine(SQ8)",
    }[kind]
    index = faiss.index_factory(dimension, recipe, faiss.METRIC_INNER_PRODUCT)
    if kind == "hnsw":
        index.hnsw.efConstruction = HNSW_BUILD
    if kind in ("ivf", "ivfpq"):
        faiss.extract_index_ivf(index).cp.seed = params.seed
        faiss.extract_index_ivf(index).cp.max_points_per_centroid = TRAINED_ON
    if len(points):
        drawn = np.random.default_rng(params.seed).permutation(len(points))[: max(TRAINED_ON * lists, BLOCK)]
        index.train(points[np.sort(drawn)])
    return index


def _filled(index: Any, points: np.ndarray) -> Any:
    for block in _blocks(len(points)):
        index.add(points[block])
    return index


def _keep(
    kind: str,
    index: Any,
    ids: np.ndarray,
    points: np.ndarray,
    vectors: np.ndarray,
    out: Path,
    params: IndexParams,
    started: float,
    queries: np.ndarray | None = None,
) -> dict[str, Any]:
    """Tune, measure and save an index, or refuse it."""
    import faiss

    sample = None if queries is None or not len(queries) else measured(queries, params.metric)
    parameters, recall = _tuned(kind, index, points, params, sample)
    seconds = round(time.monotonic() - started, 3)
    if recall is not None and recall < params.min_recall:
        raise ContractError(
            f"The {kind} index of {len(points):,} vectors finds {recall:.3f} of the 100 nearest with {parameters}, "
            f"below {params.min_recall}: raise max_effort, or choose another kind."
        )
    faiss.write_index(index, str(out / "index.faiss"))
    np.save(out / "ids.npy", ids.astype(np.int64), allow_pickle=False)
    facts = {
        "kind": kind,
        "count": len(points),
        "dimension": int(points.shape[1]),
        "metric": params.metric,
        "parameters": parameters,
        "recall_at_100": recall,
        "measured_with": "its own vectors" if sample is None else "queries",
        "index_sha256": _sha(out / "index.faiss"),
        "ids_sha256": _sha(out / "ids.npy"),
        "vectors_sha256": fingerprint(ids, vectors),
    }
    (out / "index.json").write_text(json.dumps(facts, sort_keys=True))
    return {**facts, "build_seconds": seconds}


def _efforts(kind: str, index: Any, params: IndexParams) -> Iterator[dict[str, int]]:
    """Search parameters of a kind, each twice as dear as the one before."""
    if kind == "flat":
        yield {}
        return
    lists = 0 if kind == "hnsw" else _ivf(index).nlist
    most = params.max_effort if kind == "hnsw" else min(params.max_effort, lists)
    effort = min(64 if kind == "hnsw" else 8, most)
    while True:
        if kind == "hnsw":
            yield {"links": HNSW_LINKS, "candidates": effort}
        elif kind == "ivf":
            yield {"lists": lists, "probes": effort}
        else:
            yield from ({"lists": lists, "probes": effort, "reordered": times} for times in (2, 8))
        if effort >= most:
            return
        effort = min(2 * effort, most)


def _tuned(
    kind: str, index: Any, points: np.ndarray, params: IndexParams, queries: np.ndarray | None
) -> tuple[dict[str, int], float | None]:
    """The cheapest parameters that reach the asked recall (else the dearest), set on the index; and the recall."""
    parameters, recall = {}, None
    exact = Exact.of(points, queries) if len(points) else None
    for parameters in _efforts(kind, index, params):
        _set(index, kind, parameters)
        recall = exact.recall(index) if exact else None
        if recall is None or recall >= params.min_recall:
            break
    return parameters, recall


def _set(index: Any, kind: str, parameters: dict[str, int]) -> None:
    if kind == "hnsw":
        index.hnsw.efSearch = parameters["candidates"]
    elif kind != "flat":
        _ivf(index).nprobe = parameters["probes"]
    if kind == "ivfpq":
        index.k_factor = parameters["reordered"]


def _ivf(index: Any) -> Any:
    import faiss

    return faiss.extract_index_ivf(index)


@dataclass(frozen=True)
class Exact:
    """The exact neighbours of a sample of queries, to hold an index against.

    ``worst`` is each query's ``k``-th best score: by score and not by id, because equal vectors may come in any order.
    """

    points: np.ndarray
    sample: np.ndarray
    worst: np.ndarray
    k: int

    @classmethod
    def of(cls, points: np.ndarray, queries: np.ndarray | None = None, k: int = 100, most: int = 200) -> Exact:
        """Of up to ``most`` evenly spaced queries, or else vectors, by blocked matrix multiplication."""
        k, asked = min(k, len(points)), points if queries is None else queries
        sample = asked[np.linspace(0, len(asked) - 1, min(most, len(asked))).astype(int)]
        best = np.full((len(sample), k), -np.inf, np.float32)
        for block in _blocks(len(points)):
            scores = np.concatenate([best, sample @ points[block].T], axis=1)
            best = -np.partition(-scores, k - 1, axis=1)[:, :k]
        return cls(points, sample, best.min(axis=1), k)

    def recall(self, index: Any) -> float:
        """Share of the exact nearest that an index finds."""
        _, found = index.search(self.sample, self.k)
        scores = np.einsum("qd,qkd->qk", self.sample, self.points[np.maximum(found, 0)])
        return round(float(np.mean((scores >= self.worst[:, None] - 1e-5) & (found >= 0))), 4)


def measured(vectors: np.ndarray, metric: str) -> np.ndarray:
    """Vectors whose inner products are the metric."""
    return normalised(vectors) if metric == "cosine" else np.ascontiguousarray(vectors, dtype=np.float32)


def normalised(vectors: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a zero row stays zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.where(length == 0, 1, length), dtype=np.float32)


def fingerprint(ids: np.ndarray, vectors: np.ndarray) -> str:
    """SHA-256 of vectors with their ids, in ascending order of id."""
    found = hashlib.sha256()
    order = np.argsort(ids, kind="stable")
    for block in _blocks(len(ids)):
        found.update(np.ascontiguousarray(ids[order[block]], dtype=np.int64).tobytes())
        found.update(np.ascontiguousarray(vectors[order[block]], dtype=np.float32).tobytes())
    return found.hexdigest()


def _blocks(rows: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, rows, BLOCK))


def _sha(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


@dataclass(frozen=True)
class Index:
    """A loaded index with its id map and description."""

    ids: np.ndarray
    index: Any
    metric: str = "cosine"
    facts: dict[str, Any] = field(default_factory=dict)

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
        _set(index, facts["kind"], facts["parameters"])
        return cls(ids, index, facts["metric"], facts)

    def was_built_from(self, ids: np.ndarray, vectors: np.ndarray) -> bool:
        """True where these are the vectors of the index, in any order."""
        return fingerprint(ids, vectors) == self.facts["vectors_sha256"]

    def require(self, ids: np.ndarray, vectors: np.ndarray) -> Index:
        """The index itself, if it was built from these vectors.

        Raises
        ------
        ContractError
            It was built from others: distances between the two would mean nothing.
        """
        if not self.was_built_from(ids, vectors):
            raise ContractError(
                f"The index holds {self.facts['count']} vectors, but not the {len(ids)} that it is to be searched "
                "with: build it again from them."
            )
        return self

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` nearest of each query, in batches, so that memory does not grow with the number of queries.

        Returns
        -------
        ids, scores
            Shape ``(n, k)``, best first; where there are fewer the score is -inf.
        """
        if queries.shape[1] != self.index.d:
            raise ContractError(f"Queries have {queries.shape[1]} dimensions, the index {self.index.d}.")
        k = min(k, len(self.ids))
        found = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        for start in range(0, len(queries) if k else 0, QUERIES_AT_ONCE):
            rows = slice(start, start + QUERIES_AT_ONCE)
            near, at = self.index.search(measured(queries[rows], self.metric), k)
            found[rows] = self.ids[np.maximum(at, 0)]
            scores[rows] = np.where(at >= 0, near, -np.inf)
        return found, scores
