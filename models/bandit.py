"""Which arm a place of exploration goes to, from what earlier showings of the arms were worth.

Every showing has the probability with which its policy chose it. A showing with propensity p stands for 1/p of
those that a uniform policy would have had, so counts are weighted by 1/p (Horvitz-Thompson, self-normalised), and
the weight of the evidence is Kish's effective number, (sum of weights)² / sum of squared weights.

Both policies give probabilities and not only a choice, so that the next night can learn from what they showed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import beta

NO_ARM = "none"
"""The arm that does not explore: the place goes to the best candidate."""
_GRID = 2001


@dataclass(frozen=True)
class Evidence:
    """What is known of the arms, one entry each: showings ``n``, weighted sums of them and of their rewards.

    ``weights``: sum of 1/p; ``squares``: sum of 1/p²; ``rewards``: sum of r/p. ``gram`` and ``moments``: sums of
    x xᵀ/p and of r x/p, where x are the signals of the user; shapes ``(k, s, s)`` and ``(k, s)``.
    """

    n: np.ndarray
    weights: np.ndarray
    squares: np.ndarray
    rewards: np.ndarray
    gram: np.ndarray
    moments: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[dict[str, Any]], arms: Sequence[str], signals: int) -> Evidence:
        """Sum the logged rows (arm, n, weights, squares, rewards, gram, moments) of each arm; none is no evidence."""
        made = cls(
            *(np.zeros(len(arms)) for _ in range(4)), np.zeros((len(arms), signals**2)), np.zeros((len(arms), signals))
        )
        for row in rows:
            # an arm that is no longer offered teaches nothing, nor do signals of another kind
            if row["arm"] in arms and len(row["moments"]) == signals:
                at = arms.index(row["arm"])
                for name in ("n", "weights", "squares", "rewards", "gram", "moments"):
                    getattr(made, name)[at] += np.asarray(row[name])
        return cls(
            made.n, made.weights, made.squares, made.rewards, made.gram.reshape(-1, signals, signals), made.moments
        )

    @property
    def rate(self) -> np.ndarray:
        """Rewards by showings, self-normalised; 0 without any."""
        return np.divide(self.rewards, self.weights, out=np.zeros_like(self.weights), where=self.weights > 0)

    @property
    def scale(self) -> np.ndarray:
        """What a weighted sum is multiplied by so that its weights add up to the effective number of showings."""
        return np.divide(self.weights, self.squares, out=np.zeros_like(self.weights), where=self.squares > 0)

    @property
    def effective(self) -> np.ndarray:
        """How many equally weighted showings the weighted ones are worth."""
        return self.weights * self.scale


def thompson(evidence: Evidence, prior: tuple[float, float]) -> np.ndarray:
    """Probability that each arm is the best under Beta posteriors (Thompson, 1933), shape ``(k,)``.

    Sampling from the posteriors chooses an arm with exactly this probability; integrating it gives the propensity
    without a simulation. ``prior``: successes and failures that each arm is believed to have had.
    """
    wins = evidence.rate * evidence.effective
    grid = (np.arange(_GRID) + 0.5) / _GRID
    a, b = prior[0] + wins[:, None], prior[1] + (evidence.effective - wins)[:, None]
    below = beta.cdf(grid, a, b)
    mass = np.diff(beta.cdf(np.arange(_GRID + 1) / _GRID, a, b), axis=1)
    others = [np.prod(np.delete(below, k, axis=0), axis=0) for k in range(len(wins))]
    best = (mass * np.array(others)).sum(axis=1)
    return best / best.sum()


def linucb(evidence: Evidence, signals: np.ndarray, alpha: float) -> np.ndarray:
    """Upper confidence bound of each arm's reward for each user, shape ``(u, k)``.

    Disjoint LinUCB (Li et al., 2010, algorithm 1): ``x·A⁻¹b + alpha sqrt(x·A⁻¹x)`` with ``A = I + sum x xᵀ``.
    The weighted sums are scaled to the effective number of showings: a showing that stands for many is no
    more certain than another, so that what is rarely shown keeps a wide bound.
    """
    size = signals.shape[1]
    bounds = []
    for scale, gram, moments in zip(evidence.scale, evidence.gram, evidence.moments):
        inverse = np.linalg.inv(np.eye(size) + scale * gram)
        spread = np.einsum("us,st,ut->u", signals, inverse, signals)
        bounds.append(signals @ (inverse @ (scale * moments)) + alpha * np.sqrt(np.maximum(spread, 0)))
    return np.stack(bounds, axis=1)


def floored(probabilities: np.ndarray, floor: float) -> np.ndarray:
    """Rows mixed with the uniform distribution so that none is below ``floor``."""
    arms = probabilities.shape[-1]
    return floor + (1 - floor * arms) * probabilities


def greedy(bounds: np.ndarray) -> np.ndarray:
    """All probability on the best of each row; equal ones share it."""
    best = np.round(bounds, 9) == np.round(bounds, 9).max(axis=1, keepdims=True)
    return best / best.sum(axis=1, keepdims=True)
