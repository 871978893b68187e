"""What an experiment shows: from sums over people, in numpy, for one comparison or a thousand at once.

Every figure is made from the `Moments` of two values a person. What is random is the person, never the click.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from quality.intervals import LEVEL


@dataclass(frozen=True)
class Moments:
    """Number of people, and sums over them of values ``a`` and ``b``, of their squares and their product.

    Arrays of any one shape; each element is one group of people.
    """

    n: np.ndarray
    a: np.ndarray
    b: np.ndarray
    aa: np.ndarray
    bb: np.ndarray
    ab: np.ndarray

    @classmethod
    def of(cls, a: np.ndarray, b: np.ndarray) -> Moments:
        """Moments over the last axis."""
        a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
        return cls(np.full(a.shape[:-1], float(a.shape[-1])), *(v.sum(axis=-1) for v in (a, b, a * a, b * b, a * b)))

    def __add__(self, other: Moments) -> Moments:
        return Moments(*(x + y for x, y in zip(vars(self).values(), vars(other).values(), strict=True)))

    def covariances(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sample variances of a and of b, and their covariance."""
        centred = (self.aa - self.a**2 / self.n, self.bb - self.b**2 / self.n, self.ab - self.a * self.b / self.n)
        return tuple(value / (self.n - 1) for value in centred)


@dataclass(frozen=True)
class Figure:
    """A group's value and the variance of its error; ``n`` people."""

    value: np.ndarray
    variance: np.ndarray
    n: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """Treatment less control: with an interval, and the probability of as much by chance."""

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_value: np.ndarray
    variance: np.ndarray


def mean(group: Moments) -> Figure:
    """Mean of ``a`` over people."""
    variance, _, _ = group.covariances()
    return Figure(group.a / group.n, variance / group.n, group.n)


def ratio(group: Moments) -> Figure:
    r"""Sum of ``a`` over sum of ``b``, as clicks over showings; the variance by the delta method.

    .. math:: \hat R = \frac{\bar a}{\bar b}, \quad
              \mathrm{Var} \approx \frac{s_a^2 - 2 \hat R s_{ab} + \hat R^2 s_b^2}{n \, \bar b^2}

    Notes
    -----
    Deng, Knoblich and Lu, Applying the delta method in metric analytics, KDD 2018. To count showings as
    independent would call noise significant: one person's showings are alike.
    """
    aa, bb, ab = group.covariances()
    value = np.divide(group.a, group.b, out=np.full_like(group.a, np.nan), where=group.b > 0)
    spread = aa - 2 * value * ab + value**2 * bb
    return Figure(value, spread * group.n / np.where(group.b > 0, group.b, np.nan) ** 2, group.n)


def cuped(control: Moments, treatment: Moments) -> tuple[Figure, Figure]:
    r"""Means of ``a`` without what ``b``, the same person's value before the start, explains of it.

    .. math:: \bar a - \theta (\bar b - \bar b_{all}), \quad \theta = \frac{s_{ab}}{s_b^2}
              \text{ over everybody in both}

    Notes
    -----
    Deng, Xu, Kohavi and Walker, Improving the sensitivity of online controlled experiments by utilizing
    pre-experiment data, WSDM 2013. The variance falls by the share that the squared correlation is.
    """
    _, bb, ab = (control + treatment).covariances()
    theta = np.divide(ab, bb, out=np.zeros_like(ab), where=bb > 0)
    middle = (control.b + treatment.b) / (control.n + treatment.n)

    def adjusted(group: Moments) -> Figure:
        aa, own_bb, own_ab = group.covariances()
        spread = aa - 2 * theta * own_ab + theta**2 * own_bb
        return Figure(group.a / group.n - theta * (group.b / group.n - middle), spread / group.n, group.n)

    return adjusted(control), adjusted(treatment)


def welch(control: Figure, treatment: Figure, level: float = LEVEL) -> Comparison:
    r"""Welch's test of two means.

    .. math:: t = \frac{\bar a_T - \bar a_C}{\sqrt{v_T + v_C}}, \quad
              \nu = \frac{(v_T + v_C)^2}{v_T^2 / (n_T - 1) + v_C^2 / (n_C - 1)}

    Notes
    -----
    Welch, The generalization of Student's problem when several different population variances are involved,
    Biometrika 34, 1947.
    """
    gap, variance = treatment.value - control.value, treatment.variance + control.variance
    parts = treatment.variance**2 / (treatment.n - 1) + control.variance**2 / (control.n - 1)
    freedom = np.divide(variance**2, parts, out=np.full_like(variance, np.nan), where=parts > 0)
    error = np.sqrt(variance)
    score = np.divide(gap, error, out=np.full_like(gap, np.nan), where=error > 0)
    half = stats.t.ppf(0.5 + level / 2, freedom) * error
    return Comparison(gap, gap - half, gap + half, 2 * stats.t.sf(np.abs(score), freedom), variance)


def shares(control: Figure, treatment: Figure, level: float = LEVEL) -> Comparison:
    r"""Pooled test of two shares of people, as of those who bought; the interval is of the unpooled difference.

    .. math:: z = \frac{p_T - p_C}{\sqrt{\bar p (1 - \bar p) (1/n_T + 1/n_C)}}

    Notes
    -----
    Its square is Pearson's chi-squared of the two-by-two table (Fleiss, 1981, section 2.1).
    """
    n, gap = control.n + treatment.n, treatment.value - control.value
    middle = (control.value * control.n + treatment.value * treatment.n) / n
    pooled = np.sqrt(middle * (1 - middle) * (1 / control.n + 1 / treatment.n))
    score = np.divide(gap, pooled, out=np.full_like(gap, np.nan), where=pooled > 0)
    variance = control.variance + treatment.variance
    half = stats.norm.ppf(0.5 + level / 2) * np.sqrt(variance)
    return Comparison(gap, gap - half, gap + half, 2 * stats.norm.sf(np.abs(score)), variance)


def always_valid(of: Comparison, scale: np.ndarray, level: float = LEVEL) -> Comparison:
    r"""The comparison as it may be read every night, and acted on as soon as it is clear.

    .. math:: p = \min\left(1, \sqrt{\frac{V + \tau^2}{V}}
              \exp\left(-\frac{\tau^2 \hat\delta^2}{2 V (V + \tau^2)}\right)\right)

    Parameters
    ----------
    of
        The comparison as of one night.
    scale
        :math:`\tau`, the size of the effects that one hopes for. In standard deviations of people (`deviation`) it is
        fixed before the start; it decides how soon which effects are found, and not how often one errs. A scale that
        follows what is being read, as a part of tonight's control, has no such guarantee.

    Notes
    -----
    The mixture sequential probability ratio test with a normal mixture (Robbins, Annals of Mathematical
    Statistics 41, 1970; Johari, Koomen, Pekelis and Walsh, Peeking at A/B tests, KDD 2017).
    """
    v, t = of.variance, np.asarray(scale, dtype=float) ** 2
    known = (v > 0) & (t > 0)
    v, t = np.where(known, v, 1.0), np.where(known, t, 1.0)
    log_p = 0.5 * np.log((v + t) / v) - t * of.difference**2 / (2 * v * (v + t))
    half = np.sqrt(2 * v * (v + t) / t * (0.5 * np.log((v + t) / v) - np.log(1 - level)))
    half, p_value = np.where(known, half, np.nan), np.where(known, np.exp(np.minimum(0.0, log_p)), np.nan)
    return Comparison(of.difference, of.difference - half, of.difference + half, p_value, of.variance)


def deviation(of: Comparison, control: Figure, treatment: Figure) -> np.ndarray:
    """Standard deviation of one person's value, as the comparison's variance and the numbers of people have it."""
    return np.sqrt(of.variance / (1 / control.n + 1 / treatment.n))


def sample_ratio(counts: Sequence[int], weights: Sequence[float]) -> float:
    """Probability that the variants' numbers of people differ as much from their weights by chance.

    Parameters
    ----------
    counts, weights
        People in each variant, and the declared weights.

    Notes
    -----
    Pearson's chi-squared test. Below 0.001 the assignment or the log is broken and nothing else may be read
    (Fabijan et al., Diagnosing sample ratio mismatch in online controlled experiments, KDD 2019).

    Examples
    --------
    >>> f"{sample_ratio([821_588, 815_482], [1, 1]):.1e}"
    '1.8e-06'
    """
    expected = np.asarray(weights, dtype=float) / np.sum(weights) * np.sum(counts)
    return float(stats.chisquare(counts, expected).pvalue) if np.sum(counts) else float("nan")
