"""How good a ranker is on held-out showings, with intervals over users: what the gate and the card are made from."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from models.rankers.ranker import Ranker
from models.rankers.rows import feature_matrix, numbers, query_ids
from models.ranking_features import CONTEXT, INTEREST
from models.served_order import ServedOrder

BOOTSTRAPS = 200
LENGTH = 10
PERSONALISED = 5
"""Items of a list's first ten that must be related to the user's past for the user to count as covered."""
HEAD_SHARE = 0.2
"""Share of the items, the most popular first, that are not of the long tail."""
NEW_DAYS = 30
BY_RANK, FUSED = ServedOrder(), ServedOrder("fusion")
GROUP = "group:"
"""Prefix of the columns of held-out rows that say which group the user is of."""


@dataclass(frozen=True)
class Figure:
    """A value with its 95 % interval over users."""

    value: float
    lo: float
    hi: float


@dataclass(frozen=True)
class Measured:
    """Figures of a ranker on held-out rows.

    Parameters
    ----------
    figures
        By name.
    rows, users
        How many rows, and users with a positive.
    ndcg_by_user
        Pairs with another ranker's on the same rows; NaN where a user has no positive.
    groups
        By attribute, the group of each user, in the same order.
    covered
        Whether each user's first ten hold enough that is related to their past.
    calibration
        By ``attribute=group``, predicted less observed rate, and the users.
    finite
        Share of the scores that are numbers.
    strongest
        The feature that tells the label best by itself, and its AUC.
    rows_per_s, size_mb
        Speed of scoring on this machine; size of the saved files.
    """

    figures: dict[str, Figure]
    rows: int
    users: int
    ndcg_by_user: np.ndarray
    groups: dict[str, np.ndarray] = field(default_factory=dict)
    covered: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    calibration: dict[str, tuple[float, int]] = field(default_factory=dict)
    finite: float = 1.0
    strongest: tuple[str, float] = ("", 0.5)
    rows_per_s: float = float("inf")
    size_mb: float = 0.0

    def flat(self) -> dict[str, float]:
        """One number a name, as MLflow keeps them."""
        made: dict[str, float] = {"valid_rows": self.rows, "valid_users": self.users, "finite": self.finite}
        for name, figure in self.figures.items():
            made |= {name: figure.value, f"{name}_lo": figure.lo, f"{name}_hi": figure.hi}
        return made


def ndcg_of_groups(label: np.ndarray, score: np.ndarray, group: np.ndarray, k: int = LENGTH) -> np.ndarray:
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


def evaluate(
    ranker: Ranker, held: pa.Table, seed: int = 7, order: ServedOrder = BY_RANK, size_mb: float = 0.0
) -> Measured:
    """Measure a ranker on rows that it never saw.

    Parameters
    ----------
    ranker
        A fitted ranker.
    held
        Rows of ``training.examples``, and any columns ``group:<attribute>``.
    order
        What orders the lists that are served.
    """
    ordered = held.sort_by([("shown_ds", "ascending"), ("user_id", "ascending"), ("item_id", "ascending")])
    label, group = numbers(ordered, "label"), query_ids(ordered)
    started = time.perf_counter()
    scores = ranker.score(ordered)
    seconds = time.perf_counter() - started
    finite = float(np.mean([np.isfinite(s).mean() for s in scores.values()]))
    scores = {head: np.nan_to_num(values) for head, values in scores.items()}
    served = order.of(scores, ordered)
    lists = _Lists(ordered, group, served)
    by_user = ndcg_of_groups(label, served, group)
    drawn = _user_samples(group, seed)
    attributes = _attributes(ordered)
    first = np.flatnonzero(np.r_[True, np.diff(group) != 0])
    return Measured(
        _orders(scores, ordered, label, group, by_user, seed)
        | _probabilities(label, np.clip(scores["pctr"], 1e-6, 1 - 1e-6), drawn)
        | {name: _resampled(measure, drawn, len(label)) for name, measure in lists.measures().items()},
        len(label),
        int(np.isfinite(by_user).sum()),
        by_user,
        {name: values[first] for name, values in attributes.items()},
        lists.covered(),
        _calibration_by_group(label, scores["pctr"], attributes, group),
        finite,
        _strongest(ordered, label, ranker.features),
        len(label) / seconds,
        size_mb,
    )


def _orders(
    scores: dict[str, np.ndarray],
    ordered: pa.Table,
    label: np.ndarray,
    group: np.ndarray,
    by_user: np.ndarray,
    seed: int,
) -> dict[str, Figure]:
    """NDCG@10 of the lists as they are served, of each order that they could have, and of popularity."""
    popular = np.nan_to_num(feature_matrix(ordered, ("item_target_users_7d",))[:, 0])
    others = {"pctr": scores["pctr"], "popularity": popular, "fusion": FUSED.of(scores, ordered)}
    if "rank" in scores:
        others["lambdamart"] = scores["rank"]
    return {"ndcg_at_10": mean_of(by_user, seed)} | {
        f"ndcg_at_10_{name}": mean_of(ndcg_of_groups(label, score, group), seed) for name, score in others.items()
    }


def _probabilities(label: np.ndarray, pctr: np.ndarray, drawn: list[np.ndarray]) -> dict[str, Figure]:
    from sklearn.metrics import log_loss, roc_auc_score

    measures = {
        "auc": lambda at: roc_auc_score(label[at], pctr[at]),
        "log_loss": lambda at: log_loss(label[at], pctr[at], labels=[0, 1]),
        "calibration_error": lambda at: calibration_error(label[at], pctr[at]),
    }
    return {name: _resampled(measure, drawn, len(label)) for name, measure in measures.items()}


def calibration_error(label: np.ndarray, probability: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error over ``bins`` bins of equal count (Naeini et al., 2015)."""
    order = np.argsort(probability, kind="stable")
    parts = [p for p in np.array_split(order, bins) if len(p)]
    return float(sum(len(p) * abs(label[p].mean() - probability[p].mean()) for p in parts) / len(label))


class _Lists:
    """The first ten of each user's held-out rows, by a score."""

    def __init__(self, ordered: pa.Table, group: np.ndarray, score: np.ndarray) -> None:
        order = np.lexsort((np.arange(len(score)), -score, group))
        self.item = np.unique(numbers(ordered, "item_id", np.int64), return_inverse=True)[1]
        self.items = int(self.item.max()) + 1
        self.shown = np.zeros(len(score), bool)
        self.shown[order[_places(group[order]) < LENGTH]] = True
        popular = np.zeros(self.items)
        np.maximum.at(popular, self.item, np.nan_to_num(feature_matrix(ordered, ("item_target_users_7d",))[:, 0]))
        self.tail = np.argsort(np.argsort(-popular, kind="stable"), kind="stable") >= HEAD_SHARE * self.items
        known = np.nan_to_num(feature_matrix(ordered, (*INTEREST, "pair_strength")))
        self.related = np.bincount(group, self.shown & (known > 0).any(axis=1))

    def measures(self) -> dict[str, Callable[[np.ndarray], float]]:
        return {"coverage": self._coverage, "gini": self._gini, "long_tail": self._long_tail}

    def _exposure(self, at: np.ndarray) -> np.ndarray:
        return np.bincount(self.item[at], self.shown[at], self.items)

    def _coverage(self, at: np.ndarray) -> float:
        """Share of the items on offer that are in any list."""
        return float((self._exposure(at) > 0).mean())

    def _gini(self, at: np.ndarray) -> float:
        """Gini coefficient of exposure over all items on offer, those without any included."""
        exposure = np.sort(self._exposure(at))
        place = np.arange(1, self.items + 1)
        return float(((2 * place - self.items - 1) * exposure).sum() / (self.items * max(exposure.sum(), 1.0)))

    def _long_tail(self, at: np.ndarray) -> float:
        """Share of the places given to items outside of the most popular fifth."""
        exposure = self._exposure(at)
        return float(exposure[self.tail].sum() / max(exposure.sum(), 1.0))

    def covered(self) -> np.ndarray:
        return self.related >= PERSONALISED


def _attributes(ordered: pa.Table) -> dict[str, np.ndarray]:
    """The group of each row's user, by attribute: tenure, and what the rows say in columns of groups."""
    tenure = feature_matrix(ordered, ("profile_tenure_days",))[:, 0]
    found = {"tenure": np.where(np.isnan(tenure), "unknown", np.where(tenure < NEW_DAYS, "new", "old"))}
    for name in ordered.schema.names:
        if name.startswith(GROUP):
            values = ordered[name].fill_null("unknown").to_numpy(zero_copy_only=False)
            found[name.removeprefix(GROUP)] = values.astype(str)
    return found


def _calibration_by_group(
    label: np.ndarray, pctr: np.ndarray, attributes: dict[str, np.ndarray], query: np.ndarray
) -> dict[str, tuple[float, int]]:
    made = {}
    for attribute, values in attributes.items():
        for group in np.unique(values):
            of = values == group
            users = len(np.unique(query[of]))
            made[f"{attribute}={group}"] = (float(pctr[of].mean() - label[of].mean()), users)
    return made


def _strongest(ordered: pa.Table, label: np.ndarray, features: tuple[str, ...]) -> tuple[str, float]:
    """The feature whose order alone tells the label best, either way round; unknown is lowest."""
    from sklearn.metrics import roc_auc_score

    best = ("", 0.5)
    for name in features:
        values = feature_matrix(ordered, (name,))[:, 0]
        values = np.where(np.isnan(values), -np.inf, values)
        ranks = np.unique(values, return_inverse=True)[1]
        if name not in CONTEXT and ranks.max() > 0:
            auc = roc_auc_score(label, ranks)
            best = max(best, (name, float(max(auc, 1 - auc))), key=lambda pair: pair[1])
    return best


def mean_of(values: np.ndarray, seed: int = 7) -> Figure:
    """Mean of the values that are numbers, with a percentile bootstrap interval (Efron, 1979)."""
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


def _resampled(measure: Callable[[np.ndarray], float], drawn: list[np.ndarray], rows: int) -> Figure:
    spread = 1.96 * float(np.std([measure(at) for at in drawn]))
    whole = float(measure(np.arange(rows)))
    return Figure(whole, whole - spread, whole + spread)
