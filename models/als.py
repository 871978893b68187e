"""Item factors by implicit-feedback ALS (Hu, Koren, Volinsky, 2008); users are folded in at night."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from jobs.contract import Artifact, DayRange, TableInput
from jobs.errors import ContractError
from models.preferences import HORIZON, Preferences, collect, summed

RECENT, QUERIES = 50, 200
ENGINES = ("implicit", "spark")
BUCKETS = 1024


@dataclass(frozen=True)
class Params:
    """Rank, regularisation, confidence ``1 + alpha * strength``, sweeps and seed of ALS.

    ``engine``: ``implicit`` fits in this process; ``spark`` on the cluster, for data that does not fit here. Spark
    ML's regularisation grows with the number of a user's items (Zhou et al., 2008): tune it anew.
    """

    factors: int = 32
    regularization: float = 0.05
    alpha: float = 1.0
    iterations: int = 12
    seed: int = 7
    min_items: int = 20
    engine: str = "implicit"

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ContractError(f"models.als: engine is {self.engine!r}, but must be one of {ENGINES}.")


CONTRACT = Artifact(
    name="models.als",
    group="fit",
    owner="candidates",
    description="ALS item factors from 90 days of preference strengths. Users are folded in from their "
    "sequence, so a user of yesterday needs no refit.",
    inputs=[TableInput("silver.user_item_daily", days=HORIZON)],
    every_days=7,
    fill_gap=True,
)


def build(user_item_daily: DataFrame, *, days: DayRange, params: Params, out: Path) -> dict[str, Any]:
    """Fit and save ``item_ids.npy`` (int64, sorted), ``item_factors.npy`` and ``queries.npy`` (float32)."""
    asked = np.zeros((0, params.factors), dtype=np.float32)
    if params.engine == "spark":
        items, factors = fit_with_spark(user_item_daily, params)
        facts = {"engine": params.engine}
    else:
        taken = collect(user_item_daily)
        items, factors = taken.items, np.zeros((0, params.factors), dtype=np.float32)
        if len(items) >= params.min_items:
            factors = fit(taken.user_at, taken.item_at, taken.strength, taken.shape, params)
            asked = some_users(taken, factors, params)
        facts = {"engine": params.engine, "users": len(taken.users), "interactions": len(taken)}
    kept = items if len(factors) else items[:0]
    np.save(out / "item_ids.npy", kept, allow_pickle=False)
    np.save(out / "item_factors.npy", factors, allow_pickle=False)
    np.save(out / "queries.npy", asked, allow_pickle=False)
    (out / "params.json").write_text(json.dumps(asdict(params), sort_keys=True))
    return {**facts, "items": len(kept)}


def fit_with_spark(user_item_daily: DataFrame, params: Params) -> tuple[np.ndarray, np.ndarray]:
    """Sorted item ids and their factors, float32, shape ``(items, factors)``; of too few items none.

    Only ids and factors of items come here. Spark ML wants keys that fit an INT: pairs get numbers.
    """
    from pyspark.ml.recommendation import ALS

    pairs = summed(user_item_daily)
    users, items = (_numbered(pairs, key) for key in ("user_id", "item_id"))
    known = items.orderBy("item_id").toArrow()
    ids = known["item_id"].to_numpy()
    if len(ids) < params.min_items:
        return ids, np.zeros((0, params.factors), dtype=np.float32)
    model = ALS(
        rank=params.factors,
        maxIter=params.iterations,
        regParam=params.regularization,
        alpha=params.alpha,
        implicitPrefs=True,
        userCol="user_id_at",
        itemCol="item_id_at",
        ratingCol="strength",
        seed=params.seed,
    ).fit(pairs.join(users, "user_id").join(items, "item_id"))
    found = model.itemFactors.orderBy("id").toArrow()
    factors = found["features"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    place = np.searchsorted(found["id"].to_numpy(), known["item_id_at"].to_numpy())
    return ids, factors.reshape(-1, params.factors)[place].astype(np.float32)


def _numbered(pairs: DataFrame, key: str) -> DataFrame:
    """``key`` and ``<key>_at``, an INT of its own for each: numbered by bucket, not all in one place."""
    bucket = F.pmod(F.xxhash64(key), F.lit(BUCKETS)).cast("int")
    nth = F.row_number().over(Window.partitionBy(bucket).orderBy(key))
    return pairs.select(key).distinct().select(key, (nth * BUCKETS + bucket).alias(f"{key}_at"))


def fit(
    user_at: np.ndarray, item_at: np.ndarray, strength: np.ndarray, shape: tuple[int, int], params: Params
) -> np.ndarray:
    """Item factors, shape ``(items, factors)``; reproducible: one thread, seeded start."""
    import scipy.sparse as sp
    from implicit.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    # implicit takes a cell as the whole confidence: with its own alpha it would fit alpha * strength, without the 1
    confidence = (1 + params.alpha * strength).astype(np.float32)
    matrix = sp.csr_matrix((confidence, (user_at, item_at)), shape=shape)
    model = AlternatingLeastSquares(
        factors=params.factors,
        regularization=params.regularization,
        alpha=1.0,
        iterations=params.iterations,
        random_state=params.seed,
        num_threads=1,
        use_gpu=False,
    )
    with threadpool_limits(1, "blas"):
        model.fit(matrix, show_progress=False)
    return np.asarray(model.item_factors, dtype=np.float32)


def fold_in(factors: np.ndarray, rows: list[np.ndarray], strengths: list[np.ndarray], params: Params) -> np.ndarray:
    """User vectors from each user's items: the ALS half-step ``(F'F + F'(C-I)F + rI)^-1 F'C p``.

    Parameters
    ----------
    factors
        Item factors, shape ``(items, k)``.
    rows, strengths
        Per user, positions in ``factors`` and strengths of the same length.

    Returns
    -------
    ndarray
        float32, shape ``(users, k)``; a user without items gets zeros.
    """
    gram = factors.T @ factors + params.regularization * np.eye(factors.shape[1], dtype=np.float32)
    made = np.zeros((len(rows), factors.shape[1]), dtype=np.float32)
    for at, (mine, weight) in enumerate(zip(rows, strengths, strict=True)):
        if len(mine):
            seen = factors[mine]
            confidence = params.alpha * weight.astype(np.float32)
            made[at] = np.linalg.solve(gram + (seen.T * confidence) @ seen, seen.T @ (1 + confidence))
    return made


def some_users(taken: Preferences, factors: np.ndarray, params: Params) -> np.ndarray:
    """Vectors of evenly spaced users, folded in from their last items as at night, to measure an index with."""
    recent = taken.latest(RECENT)
    some = np.unique(np.linspace(0, len(taken.users) - 1, QUERIES).astype(int))
    first, end = (np.searchsorted(recent.user_at, some, side) for side in ("left", "right"))
    cuts = [slice(*cut) for cut in zip(first, end, strict=True)]
    return fold_in(factors, [recent.item_at[cut] for cut in cuts], [recent.strength[cut] for cut in cuts], params)


def queries(path: Path) -> np.ndarray | None:
    """Vectors of some users of a saved artifact; none where Spark fitted it, or before they were kept."""
    kept = path / "queries.npy"
    return np.load(kept, allow_pickle=False) if kept.exists() else None


@lru_cache(maxsize=2)
def load(path: Path) -> tuple[np.ndarray, np.ndarray, Params]:
    """Item ids, item factors and params of a saved artifact; kept, because a worker is asked batch by batch."""
    params = Params(**json.loads((path / "params.json").read_text()))
    ids = np.load(path / "item_ids.npy", allow_pickle=False)
    return ids, np.load(path / "item_factors.npy", allow_pickle=False), params
