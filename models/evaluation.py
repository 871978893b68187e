"""How good a ranker is on held-out showings, with intervals; and the gate that compares it with the champion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from models.rankers.xgb import XgbRanker, query_ids

BOOTSTRAPS = 200
MAX_CALIBRATION_ERROR = 0.05
MAX_LOSS_OF_NDCG = 0.005


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval over users."""

    value: float
    lo: float
    hi: float


@dataclass(frozen=True)
class Measured:
    """Figures of a ranker; ``ndcg_by_user`` pairs with another ranker's on the same rows."""

    figures: dict[str, Figure]
    rows: int
    users: int
    ndcg_by_user: np.ndarray

    def flat(self) -> dict[str, float]:
        """One number a name, as MLflow keeps them."""
        made: dict[str, float] = {"valid_rows": self.rows, "valid_users": self.users}
        for name, figure in self.figures.items():
            made |= {name: figure.value, f"{name}_lo": figure.lo, f"{name}_hi": figure.hi}
        return made


@dataclass(frozen=True)
class Line:
    """One line of the gate: what was measured, what was asked, and whether it fails the promotion."""

    metric: str
    value: float
    threshold: float
    passed: bool
    fails: bool
    why: str


def ndcg_of_groups(label: np.ndarray, score: np.ndarray, group: np.ndarray, k: int = 10) -> np.ndarray:
    """NDCG@k of each group that has a positive, ideal truncated at k, ties in row order.

    Parameters
    ----------
    label, score, group
        Shape ``(rows,)``; rows of a group are adjacent, numbered from 0.
    """
    order = np.lexsort((np.arange(len(score)), -score, group))
    place = _places(group[order])
    gain = np.where(place < k, label[order] / np.log2(place + 2), 0.0)
    ideal_order = np.lexsort((-label, group))
    ideal_place = _places(group[ideal_order])
    ideal = np.where(ideal_place < k, label[ideal_order] / np.log2(ideal_place + 2), 0.0)
    size = int(group.max()) + 1
    got = np.bincount(group[order], gain, size)
    best = np.bincount(group[ideal_order], ideal, size)
    return np.divide(got, best, out=np.full(size, np.nan), where=best > 0)


def _places(group: np.ndarray) -> np.ndarray:
    """Position within runs of equal values, from 0."""
    starts = np.flatnonzero(np.r_[True, np.diff(group) != 0])
    return np.arange(len(group)) - np.repeat(starts, np.diff(np.r_[starts, len(group)]))


def evaluate(ranker: XgbRanker, held: pa.Table, seed: int = 7) -> Measured:
    """NDCG@10 of both orders, AUC, log loss and calibration error of pCTR on held-out rows."""
    from sklearn.metrics import log_loss, roc_auc_score

    ordered = held.sort_by([("shown_ds", "ascending"), ("user_id", "ascending"), ("item_id", "ascending")])
    label, group = ordered["label"].to_numpy(), query_ids(ordered)
    scores = ranker.score(ordered)
    pctr = np.clip(scores["pctr"], 1e-6, 1 - 1e-6)
    by_user = ndcg_of_groups(label, scores["pctr"], group)
    figures = {
        "ndcg_at_10": _mean(by_user, seed),
        "ndcg_at_10_lambdamart": _mean(ndcg_of_groups(label, scores["rank"], group), seed),
        "ndcg_at_10_popularity": _mean(
            ndcg_of_groups(label, np.nan_to_num(ordered["item_target_users_7d"].to_numpy()), group), seed
        ),
    }
    drawn = _user_samples(group, seed)
    figures["auc"] = _resampled(lambda at: roc_auc_score(label[at], pctr[at]), label, drawn)
    figures["log_loss"] = _resampled(lambda at: log_loss(label[at], pctr[at], labels=[0, 1]), label, drawn)
    figures["calibration_error"] = _resampled(lambda at: calibration_error(label[at], pctr[at]), label, drawn)
    return Measured(figures, len(label), int(np.isfinite(by_user).sum()), by_user)


def calibration_error(label: np.ndarray, probability: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error over ``bins`` bins of equal count (Naeini et al., 2015)."""
    order = np.argsort(probability, kind="stable")
    parts = [p for p in np.array_split(order, bins) if len(p)]
    return float(sum(len(p) * abs(label[p].mean() - probability[p].mean()) for p in parts) / len(label))


def _mean(values: np.ndarray, seed: int) -> Figure:
    values = values[np.isfinite(values)]
    if not len(values):
        return Figure(float("nan"), float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).integers(0, len(values), (BOOTSTRAPS, len(values)))
    lo, hi = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    return Figure(float(values.mean()), float(lo), float(hi))


def _user_samples(group: np.ndarray, seed: int, samples: int = 20) -> list[np.ndarray]:
    """Row numbers of resampled groups: rows of a user stay together."""
    starts = np.flatnonzero(np.r_[True, np.diff(group) != 0])
    rows = np.split(np.arange(len(group)), starts[1:])
    rng = np.random.default_rng(seed)
    return [np.concatenate([rows[i] for i in rng.integers(0, len(rows), len(rows))]) for _ in range(samples)]


def _resampled(measure: Any, label: np.ndarray, drawn: list[np.ndarray]) -> Figure:
    values = [measure(at) for at in drawn]
    spread = 1.96 * float(np.std(values))
    whole = float(measure(np.arange(len(label))))
    return Figure(whole, whole - spread, whole + spread)


def gate(challenger: Measured, champion: Measured | None, seed: int = 7) -> list[Line]:
    """Lines that a challenger must pass; the first model is held against chance and popularity."""
    figures = challenger.figures
    auc, ndcg = figures["auc"], figures["ndcg_at_10"]
    popular = figures["ndcg_at_10_popularity"]
    lines = [
        Line("auc", auc.lo, 0.5, auc.lo > 0.5, True, "its lower bound is above chance"),
        Line(
            "calibration_error",
            figures["calibration_error"].value,
            MAX_CALIBRATION_ERROR,
            figures["calibration_error"].value <= MAX_CALIBRATION_ERROR,
            True,
            "predicted and observed rates agree",
        ),
        Line(
            "ndcg_at_10",
            ndcg.value,
            popular.value,
            ndcg.value > popular.value,
            True,
            "it orders better than popularity",
        ),
    ]
    if champion is not None:
        both = np.isfinite(challenger.ndcg_by_user) & np.isfinite(champion.ndcg_by_user)
        gained = _mean(challenger.ndcg_by_user[both] - champion.ndcg_by_user[both], seed)
        lines.append(
            Line(
                "ndcg_at_10 - champion",
                gained.lo,
                -MAX_LOSS_OF_NDCG,
                gained.lo >= -MAX_LOSS_OF_NDCG,
                True,
                "the paired interval leaves no loss beyond the margin",
            )
        )
    return lines
