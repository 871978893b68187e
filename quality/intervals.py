"""Intervals for audited figures: each is deterministic, whatever the order of its input."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

LEVEL = 0.95


def bootstrap(
    values: np.ndarray, weights: np.ndarray | None = None, *, seed: int = 7, samples: int = 1000, level: float = LEVEL
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over users.

    Drawing n users with replacement draws the counts of their distinct values from a multinomial
    distribution, so distinct values are drawn at once: exact, and free of the users' order.

    Parameters
    ----------
    values
        One value a user, or one a distinct value with ``weights``; shape ``(n,)``.
    weights
        How many users have each value; one each by default.
    seed, samples, level
        Of the generator; resamples; coverage of the interval.

    Returns
    -------
    tuple of float
        Lower and upper end; nan without users.

    Notes
    -----
    Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13. Time and memory grow with
    ``samples`` times the number of distinct values, not of users.

    Examples
    --------
    >>> bootstrap(np.array([1.0, 1.0, 1.0]))
    (1.0, 1.0)
    """
    values = np.asarray(values, dtype=float)
    weights = np.ones(values.size, dtype=np.int64) if weights is None else np.asarray(weights, dtype=np.int64)
    distinct, at = np.unique(values, return_inverse=True)
    counts = np.bincount(at, weights=weights) if values.size else np.zeros(0)
    n = int(counts.sum())
    if n == 0:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    step = max(1, 2_000_000 // distinct.size)
    means = np.concatenate(
        [
            generator.multinomial(n, counts / n, size=min(step, samples - done)) @ distinct / n
            for done in range(0, samples, step)
        ]
    )
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def wilson(successes: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    r"""Wilson score interval of a share.

    .. math:: \frac{\hat p + z^2 / 2n \pm z \sqrt{\hat p (1 - \hat p) / n + z^2 / 4n^2}}{1 + z^2 / n}

    Returns
    -------
    tuple of float
        Lower and upper end in [0, 1]; nan for ``n = 0``.

    Notes
    -----
    Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927.

    Examples
    --------
    >>> [round(end, 4) for end in wilson(5, 10)]
    [0.2366, 0.7634]
    """
    if n == 0:
        return float("nan"), float("nan")
    z = float(stats.norm.ppf(0.5 + level / 2))
    share = successes / n
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def student(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    r"""Student's interval of a mean, :math:`\bar x \pm t_{n-1} s / \sqrt n`; nan for fewer than two values.

    Notes
    -----
    Student, The probable error of a mean, Biometrika 6, 1908.

    Examples
    --------
    1 -+ t(2) * 1 / sqrt(3) = 1 -+ 4.3027 * 0.5774.

    >>> [round(end, 4) for end in student(np.array([0.0, 1.0, 2.0]))]
    [-1.4841, 3.4841]
    """
    values = np.asarray(values, dtype=float)
    if values.size < 2:
        return float("nan"), float("nan")
    half = float(stats.t.ppf(0.5 + level / 2, values.size - 1)) * float(values.std(ddof=1)) / math.sqrt(values.size)
    return float(values.mean()) - half, float(values.mean()) + half


def jackknife(value: float, without: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    r"""Delete-a-group jackknife interval of any smooth figure.

    .. math:: \hat\theta \pm t_{G-1} \sqrt{\frac{G - 1}{G} \sum_g (\hat\theta_{(g)} - \bar\theta)^2}

    Parameters
    ----------
    value
        The figure from all users.
    without
        The figure from all users but those of each of G random groups, shape ``(G,)``.

    Notes
    -----
    Kott, The delete-a-group jackknife, Journal of Official Statistics 17(4), 2001. A bootstrap would be
    biased here: a resample shows fewer items, and shows them less evenly, than the lists do.

    Examples
    --------
    Half width: t(1) * sqrt(1/2 * (0.1^2 + 0.1^2)) = 12.7062 * 0.1.

    >>> [round(end, 4) for end in jackknife(0.5, np.array([0.4, 0.6]))]
    [-0.7706, 1.7706]
    """
    without = np.asarray(without, dtype=float)
    groups = without.size
    if groups < 2 or not np.isfinite(without).all():
        return float("nan"), float("nan")
    error = math.sqrt((groups - 1) / groups * float(((without - without.mean()) ** 2).sum()))
    half = float(stats.t.ppf(0.5 + level / 2, groups - 1)) * error
    return value - half, value + half


Estimate = tuple[float, float, float]


def difference(one: Estimate, other: Estimate) -> Estimate:
    r"""``one - other`` of two independent estimates ``(value, low, high)``, with an interval (MOVER).

    .. math:: L = d - \sqrt{(a - l_a)^2 + (u_b - b)^2}, \quad U = d + \sqrt{(u_a - a)^2 + (b - l_b)^2}

    Notes
    -----
    Zou and Donner, Construction of confidence limits about effect measures, Statistics in Medicine 27,
    2008; with Wilson intervals it is Newcombe's hybrid interval (1998, method 10).

    Examples
    --------
    >>> [round(x, 4) for x in difference((0.5, 0.4, 0.6), (0.2, 0.1, 0.3))]
    [0.3, 0.1586, 0.4414]
    """
    (a, low_a, high_a), (b, low_b, high_b) = one, other
    gap = a - b
    return gap, gap - math.hypot(a - low_a, high_b - b), gap + math.hypot(high_a - a, b - low_b)


def quotient(one: Estimate, other: Estimate) -> Estimate:
    r"""``one / other`` of two independent positive estimates ``(value, low, high)``, with an interval (MOVER-R).

    .. math:: L, U = \frac{ab \mp \sqrt{(ab)^2 - x_a x_b (2a - x_a)(2b - x_b)}}{x_b (2b - x_b)}

    with :math:`x_a, x_b = l_a, u_b` for L and :math:`u_a, l_b` for U.

    Returns
    -------
    tuple of float
        Value, low, high; nan where ``other`` is 0, and an infinite end where its interval touches 0.

    Notes
    -----
    Donner and Zou, Closed-form confidence intervals for functions of the normal mean and standard
    deviation, Statistical Methods in Medical Research 21(4), 2012.

    Examples
    --------
    Both ends have the root of 0.01 - 0.06 * 0.12 = 0.0529^2 over 0.24: (0.1 -+ 0.0529) / 0.24.

    >>> [round(x, 4) for x in quotient((0.2, 0.1, 0.3), (0.5, 0.4, 0.6))]
    [0.4, 0.1962, 0.6371]
    """
    (a, low_a, high_a), (b, low_b, high_b) = one, other
    if not b > 0:
        return float("nan"), float("nan"), float("nan")

    def end(x_a: float, x_b: float, sign: int) -> float:
        under = x_b * (2 * b - x_b)
        if under <= 0:
            return math.inf if sign > 0 else 0.0
        root = math.sqrt(max(0.0, (a * b) ** 2 - x_a * x_b * (2 * a - x_a) * (2 * b - x_b)))
        return (a * b + sign * root) / under

    return a / b, max(0.0, end(low_a, high_b, -1)), end(high_a, low_b, 1)
