"""How far a distribution has moved from a reference."""

from __future__ import annotations

import numpy as np
from scipy import stats


def psi(expected: np.ndarray, actual: np.ndarray, epsilon: float = 1e-4) -> float:
    r"""Population stability index of two distributions over the same bins.

    .. math:: \mathrm{PSI} = \sum_b (a_b - e_b) \ln \frac{a_b}{e_b}

    Parameters
    ----------
    expected, actual
        Rows in each bin, of the reference and of what is held against it; shape ``(bins,)``.
    epsilon
        A share below it counts as ``epsilon``, so that an empty bin has a finite weight.

    Returns
    -------
    float
        At least 0; nan where either has no rows.

    Notes
    -----
    Siddiqi, Credit Risk Scorecards, Wiley 2006: below 0.1 nothing has changed, from 0.25 on much has. It is
    the symmetrised Kullback-Leibler divergence (Jeffreys, 1946).

    Examples
    --------
    Half and half becomes 0.75 and 0.25: 0.25 ln 1.5 - 0.25 ln 0.5 = 0.25 ln 3.

    >>> round(psi(np.array([10, 10]), np.array([30, 10])), 6)
    0.274653
    """
    expected, actual = np.asarray(expected, dtype=float), np.asarray(actual, dtype=float)
    if not expected.sum() > 0 or not actual.sum() > 0:
        return float("nan")
    e, a = (np.maximum(counts / counts.sum(), epsilon) for counts in (expected, actual))
    return float(((a - e) * np.log(a / e)).sum())


def psi_by_chance(bins: int, expected: float, actual: float, level: float = 0.999) -> float:
    r"""The PSI that two samples of one distribution exceed with probability ``1 - level``.

    .. math:: \left( \frac{1}{n} + \frac{1}{m} \right) \chi^2_{B-1}

    Parameters
    ----------
    bins
        Number of bins B.
    expected, actual
        Rows of the two samples.

    Notes
    -----
    Yurdakul, Statistical Properties of Population Stability Index, Western Michigan University 2018.

    Examples
    --------
    With 10 bins and 100 rows on both sides even 0.55 says little; with 100,000 rows anything does.

    >>> round(psi_by_chance(10, 100, 100), 2), round(psi_by_chance(10, 1e5, 1e5), 4)
    (0.56, 0.0006)
    """
    if bins < 2 or not expected or not actual:
        return 0.0
    return float(stats.chi2.ppf(level, bins - 1) * (1 / expected + 1 / actual))


def quantile_bins(counts: np.ndarray, bins: int = 10) -> np.ndarray:
    """Which of at most ``bins`` bins of about equal mass each ordered value belongs to.

    Parameters
    ----------
    counts
        Rows of the reference at each value, values ascending; shape ``(values,)``. A value without rows in
        the reference goes to the bin of the next value that has some, the highest ones to the last bin.

    Returns
    -------
    numpy.ndarray
        Bin of each value, from 0, ascending. A value is never split, so there may be fewer bins.

    Examples
    --------
    In halves: the second value reaches the median, so the first bin ends with it.

    >>> quantile_bins(np.array([2, 3, 0, 5, 0]), 2)
    array([0, 0, 1, 1, 1])
    """
    counts = np.asarray(counts, dtype=np.int64)
    total = int(counts.sum())
    if not total:
        return np.zeros(counts.size, dtype=int)
    reached = np.cumsum(counts)
    # the k-th quantile is the first value at which k / bins of the rows are reached; it closes a bin
    ends = np.unique(np.searchsorted(reached * bins, np.arange(1, bins) * total))
    last = np.flatnonzero(counts)[-1]
    return np.searchsorted(ends[ends < last], np.arange(counts.size))
