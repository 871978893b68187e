"""Off-policy evaluation: what another policy would have earned, from a log with known propensities.

One estimator a file: a pure function from a log to two terms a row, whose sums' quotient is the estimate. A new
estimator is a new file; the interval, the effective sample size and the refusals come from here.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import numpy as np
from scipy import stats

from jobs.errors import ContractError, EvidenceError
from quality.intervals import LEVEL


@dataclass(frozen=True)
class Log:
    """What a logging policy showed, what came of it, and what the judged policy would have done.

    Parameters
    ----------
    reward
        What the showing earned, shape ``(rows,)``, like all that follows.
    propensity
        Probability with which the logging policy showed what it did; above 0.
    target
        Probability with which the judged policy shows the same in the same situation.
    predicted
        A model's expected reward of what was shown; read where ``target`` is above 0.
    policy_value
        The model's expected reward under the judged policy: the sum over items of ``target`` times prediction.
    unit
        Who was shown it: rows of one unit are not independent. Each row is its own unit by default.
    clip
        Largest weight; larger ones are cut to it, which trades variance for bias towards 0.

    Raises
    ------
    ContractError
        Arrays differ in length, or a propensity is not in (0, 1].
    """

    reward: np.ndarray
    propensity: np.ndarray
    target: np.ndarray
    predicted: np.ndarray | None = None
    policy_value: np.ndarray | None = None
    unit: np.ndarray | None = None
    clip: float = math.inf

    def __post_init__(self) -> None:
        n = len(self.reward)
        for name in ("propensity", "target", "predicted", "policy_value", "unit"):
            given = getattr(self, name)
            if given is not None and len(given) != n:
                raise ContractError(f"The log has {n} rewards and {len(given)} values of {name}: give one a row.")
        if n and not (np.min(self.propensity) > 0 and np.max(self.propensity) <= 1):
            raise ContractError("A logged propensity lies outside (0, 1]: leave rows out whose propensity is unknown.")

    @cached_property
    def raw_weight(self) -> np.ndarray:
        """Importance weights ``target / propensity`` before they are clipped."""
        return np.asarray(self.target, dtype=float) / np.asarray(self.propensity, dtype=float)

    @cached_property
    def weight(self) -> np.ndarray:
        """Importance weights, at most ``clip``."""
        return np.minimum(self.raw_weight, self.clip)

    @property
    def effective_size(self) -> float:
        r"""Kish's effective sample size, :math:`(\sum w)^2 / \sum w^2`: rows of equal weight that say as much."""
        squares = float((self.weight**2).sum())
        return float(self.weight.sum()) ** 2 / squares if squares else 0.0

    @property
    def clipped_share(self) -> float:
        """Share of the total weight that clipping took away: the most by which it can bias a reward of at most 1."""
        total = float(self.raw_weight.sum())
        return 1 - float(self.weight.sum()) / total if total else 0.0


Terms = Callable[[Log], tuple[np.ndarray, np.ndarray]]


def discover_estimators() -> Mapping[str, Terms]:
    """The estimator of every file of this package, by name."""
    names = sorted(info.name for info in pkgutil.iter_modules(__path__))
    return MappingProxyType({name: getattr(importlib.import_module(f"{__name__}.{name}"), name) for name in names})


@dataclass(frozen=True)
class Least:
    """Evidence below which an estimate is refused.

    Parameters
    ----------
    units
        Different units (people).
    effective_size
        Effective sample size, in rows.
    support
        Mean weight. It is 1 in expectation where the log can show all that the policy would; less is the part of
        the policy's choices that the log never makes.
    """

    units: int = 100
    effective_size: float = 200.0
    support: float = 0.9


@dataclass(frozen=True)
class Estimate:
    """A policy's value with its interval, and how much stands behind it."""

    value: float
    low: float
    high: float
    n: int
    effective_size: float


def check_evidence(log: Log, least: Least) -> None:
    """Refuse a log that says too little about the policy.

    Raises
    ------
    EvidenceError
        Too few units, too small an effective sample, or too little overlap; the sentence has the figures.
    """
    units = len(np.unique(log.unit)) if log.unit is not None else len(log.reward)
    if units < least.units:
        raise EvidenceError(f"The log has {units} units, fewer than {least.units}: log more before judging a policy.")
    support, _, high = ratio_of_sums(log.raw_weight, np.ones_like(log.raw_weight), log.unit)
    if high < least.support:
        raise EvidenceError(
            f"The mean weight is {support:.2f}, below {least.support}: the logging policy hardly ever shows what the "
            f"judged one would. Log with more exploration."
        )
    if log.effective_size < least.effective_size:
        raise EvidenceError(
            f"The effective sample size is {log.effective_size:.0f} of {len(log.reward)} rows, below "
            f"{least.effective_size:.0f}: log more, or judge a policy closer to the logging one."
        )


def estimate(terms: Terms, log: Log, least: Least | None = None) -> Estimate:
    """The judged policy's mean reward by one estimator, with a 95 % interval.

    Raises
    ------
    EvidenceError
        The log says too little (see `check_evidence`), or the estimator needs predictions that it lacks.
    """
    check_evidence(log, least or Least())
    value, low, high = ratio_of_sums(*terms(log), log.unit)
    return Estimate(value, low, high, len(log.reward), log.effective_size)


def ratio_of_sums(
    numerator: np.ndarray, denominator: np.ndarray, unit: np.ndarray | None = None, level: float = LEVEL
) -> tuple[float, float, float]:
    r"""``sum(numerator) / sum(denominator)`` with an interval over independent units.

    .. math:: \hat R \pm t_{U-1} \sqrt{\frac{U}{U - 1} \sum_u (y_u - \hat R x_u)^2} \Big/ \sum_u x_u

    Returns
    -------
    tuple of float
        Value, lower and upper end; nan where the denominator sums to 0, and no ends from fewer than two units.

    Notes
    -----
    Linearised variance of a ratio of cluster totals: Cochran, Sampling Techniques, 3rd ed., 1977, section 9A.

    Examples
    --------
    The mean of 0, 1, 2: 1 with a standard error of 1 / sqrt(3), and t(2) = 4.3027.

    >>> [round(x, 4) for x in ratio_of_sums(np.array([0.0, 1.0, 2.0]), np.ones(3))]
    [1.0, -1.4841, 3.4841]
    """
    if unit is not None:
        _, at = np.unique(unit, return_inverse=True)
        numerator, denominator = np.bincount(at, weights=numerator), np.bincount(at, weights=denominator)
    total, units = float(denominator.sum()), len(denominator)
    if not total:
        return math.nan, math.nan, math.nan
    value = float(numerator.sum()) / total
    if units < 2:
        return value, math.nan, math.nan
    error = math.sqrt(units / (units - 1) * float(((numerator - value * denominator) ** 2).sum())) / total
    half = float(stats.t.ppf(0.5 + level / 2, units - 1)) * error
    return value, value - half, value + half
