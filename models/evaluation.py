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
from quality.intervals import jackknife
from quality.metrics import per_user
from quality.metrics.auc import auc
from quality.metrics.calibration import ece
from quality.metrics.coverage import coverage
from quality.metrics.gauc import gauc
from quality.metrics.gini import gini
from quality.metrics.long_tail_share import long_tail_share

BOOTSTRAPS, FEWEST = 200, 40
ROWS_RESAMPLED = 8_000_000
"""Rows that are drawn at most for what is no mean over users, unless that would be fewer than ``FEWEST`` samples."""
LENGTH = 10
OF_LISTS = ("recall", "map", "mrr", "hit_rate")
"""Further metrics of the lists as they are served, for the card."""
Measure = Callable[[np.ndarray, np.ndarray], float]
"""Of the numbers of rows, and the user of each."""
USER_GROUPS = 20
"""Random groups of users, one of which is left out at a time for a jackknife interval."""
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


def of_groups(metric: str, label: np.ndarray, score: np.ndarray, group: np.ndarray, k: int = LENGTH) -> np.ndarray:
    """A metric of lists (`quality.metrics`) of each group that has a positive, NaN for others; ties in row order.

    Parameters
    ----------
    label, score, group
        Shape ``(rows,)``; rows of a group are adjacent, numbered from 0; a positive is 1.
    """
    order = np.lexsort((np.arange(len(score)), -score, group))
    place, hit = _places(group[order]), label[order] > 0
    relevant = np.bincount(group, label > 0).astype(int)
    hits = np.zeros((len(relevant), k), bool)
    kept = place < k
    hits[group[order][kept], place[kept]] = hit[kept]
    return np.where(relevant > 0, per_user(metric)(hits, relevant, k), np.nan)


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
    lists = _Lists(ordered, group, served, seed)
    by_user = of_groups("ndcg", label, served, group)
    attributes = _attributes(ordered)
    first = np.flatnonzero(np.r_[True, np.diff(group) != 0])
    return Measured(
        _orders(scores, ordered, label, group, by_user, seed)
        | {f"{metric}_at_10": mean_of(of_groups(metric, label, served, group), seed) for metric in OF_LISTS}
        | resampled(_probabilities(label, np.clip(scores["pctr"], 1e-6, 1 - 1e-6)), group, seed)
        | lists.figures(),
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
        f"ndcg_at_10_{name}": mean_of(of_groups("ndcg", label, score, group), seed) for name, score in others.items()
    }


def _probabilities(label: np.ndarray, pctr: np.ndarray) -> dict[str, Measure]:
    from sklearn.metrics import log_loss

    return {
        "auc": lambda at, users: auc(label[at], pctr[at]),
        "gauc": lambda at, users: gauc(users, label[at], pctr[at]),
        "log_loss": lambda at, users: log_loss(label[at], pctr[at], labels=[0, 1]),
        "calibration_error": lambda at, users: ece(label[at], pctr[at]),
    }


class _Lists:
    """The first ten of each user's held-out rows, by a score."""

    def __init__(self, ordered: pa.Table, group: np.ndarray, score: np.ndarray, seed: int) -> None:
        order = np.lexsort((np.arange(len(score)), -score, group))
        self.item = np.unique(numbers(ordered, "item_id", np.int64), return_inverse=True)[1]
        self.items = int(self.item.max()) + 1
        self.shown = np.zeros(len(score), bool)
        self.shown[order[_places(group[order]) < LENGTH]] = True
        popular = np.zeros(self.items)
        np.maximum.at(popular, self.item, np.nan_to_num(feature_matrix(ordered, ("item_target_users_7d",))[:, 0]))
        self.tail = np.argsort(np.argsort(-popular, kind="stable"), kind="stable") >= HEAD_SHARE * self.items
        known = np.nan_to_num(feature_matrix(ordered, (*INTEREST, "pair_strength")))
        self.part = np.random.default_rng(seed).integers(0, USER_GROUPS, int(group.max()) + 1)[group]
        self.related = np.bincount(group, self.shown & (known > 0).any(axis=1))

    def figures(self) -> dict[str, Figure]:
        """Share of the items on offer that are in any list; Gini of their exposure; places for the long tail.

        With jackknife intervals over groups of users: a list drawn twice shows nothing new, so that lists drawn with
        replacement would look narrower than they are.
        """
        exposure = np.zeros((self.items, USER_GROUPS))
        np.add.at(exposure, (self.item[self.shown], self.part[self.shown]), 1)
        whole = exposure.sum(axis=1)
        made = {}
        for name, measure in (("coverage", coverage), ("gini", gini), ("long_tail", self._tail_share)):
            value = measure(whole)
            left_out = np.array([measure(whole - part) for part in exposure.T])
            made[name] = Figure(value, *(float(end) for end in np.clip(jackknife(value, left_out), 0, 1)))
        return made

    def _tail_share(self, exposure: np.ndarray) -> float:
        return long_tail_share(exposure, self.tail)

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
    best = ("", 0.5)
    for name in features:
        values = feature_matrix(ordered, (name,))[:, 0]
        values = np.where(np.isnan(values), -np.inf, values)
        ranks = np.unique(values, return_inverse=True)[1]
        if name not in CONTEXT and ranks.max() > 0:
            alone = auc(label, ranks)
            best = max(best, (name, max(alone, 1 - alone)), key=lambda pair: pair[1])
    return best


def mean_of(values: np.ndarray, seed: int = 7) -> Figure:
    """Mean of the values that are numbers, with a percentile bootstrap interval (Efron, 1979)."""
    values = values[np.isfinite(values)]
    if not len(values):
        return Figure(float("nan"), float("nan"), float("nan"))
    drawn = np.random.default_rng(seed).integers(0, len(values), (BOOTSTRAPS, len(values)))
    return Figure(float(values.mean()), *_percentiles(values[drawn].mean(axis=1)))


def resampled(measures: dict[str, Measure], group: np.ndarray, seed: int = 7) -> dict[str, Figure]:
    """Each measure on all rows, with its percentile bootstrap interval over groups: rows of a user stay together.

    Of many rows fewer samples are drawn, as the interval is narrow and each costs more.
    """
    starts = np.flatnonzero(np.r_[True, np.diff(group) != 0])
    sizes = np.diff(np.r_[starts, len(group)])
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(int(np.clip(ROWS_RESAMPLED // len(group), FEWEST, BOOTSTRAPS))):
        drawn = rng.integers(0, len(starts), len(starts))
        size = sizes[drawn]
        at = np.repeat(starts[drawn] - (np.cumsum(size) - size), size) + np.arange(size.sum())
        # somebody who is drawn twice is two people
        users = np.repeat(np.arange(len(drawn)), size)
        found.append([measure(at, users) for measure in measures.values()])
    whole = np.arange(len(group))
    return {
        name: Figure(float(measure(whole, group)), *_percentiles(values))
        for (name, measure), values in zip(measures.items(), np.array(found).T, strict=True)
    }


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    lo, hi = np.quantile(values, [0.025, 0.975])
    return float(lo), float(hi)
