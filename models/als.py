"""Item factors by implicit-feedback ALS (Hu, Koren, Volinsky, 2008); users are folded in at night."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Artifact, DayRange, TableInput

HORIZON = 90


@dataclass(frozen=True)
class Params:
    """Rank, regularisation, confidence ``1 + alpha * strength``, sweeps and seed of ALS."""

    factors: int = 32
    regularization: float = 0.05
    alpha: float = 1.0
    iterations: int = 12
    seed: int = 7
    min_items: int = 20


CONTRACT = Artifact(
    name="models.als",
    group="fit",
    owner="candidates",
    description="ALS item factors from 90 days of preference strengths. Users are folded in from their "
    "sequence, so a user of yesterday needs no refit.",
    inputs=[TableInput("silver.user_item_daily", days=HORIZON)],
)


def build(user_item_daily: DataFrame, *, days: DayRange, params: Params, out: Path) -> dict[str, Any]:
    """Fit and save ``item_ids.npy`` (int64, sorted), ``item_factors.npy`` (float32, items x factors)."""
    strengths = (
        user_item_daily.where("strength > 0")
        .groupBy("user_id", "item_id")
        .agg(F.round(F.sum("strength"), 4).alias("strength"))
        .orderBy("user_id", "item_id")
        .toArrow()
    )
    users, user_at = np.unique(strengths["user_id"].to_numpy(), return_inverse=True)
    items, item_at = np.unique(strengths["item_id"].to_numpy(), return_inverse=True)
    factors = np.zeros((0, params.factors), dtype=np.float32)
    if len(items) >= params.min_items:
        factors = fit(user_at, item_at, strengths["strength"].to_numpy(), (len(users), len(items)), params)
    kept = items if len(factors) else items[:0]
    np.save(out / "item_ids.npy", kept, allow_pickle=False)
    np.save(out / "item_factors.npy", factors, allow_pickle=False)
    (out / "params.json").write_text(json.dumps(asdict(params), sort_keys=True))
    return {"users": len(users), "items": len(kept), "interactions": strengths.num_rows}


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


def load(path: Path) -> tuple[np.ndarray, np.ndarray, Params]:
    """Item ids, item factors and params of a saved artifact."""
    params = Params(**json.loads((path / "params.json").read_text()))
    ids = np.load(path / "item_ids.npy", allow_pickle=False)
    return ids, np.load(path / "item_factors.npy", allow_pickle=False), params
