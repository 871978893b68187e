"""Inverse propensity scoring."""

from __future__ import annotations

import numpy as np

from quality.ope import Log


def ips(log: Log) -> tuple[np.ndarray, np.ndarray]:
    r"""Weighted rewards, and one a row: unbiased without clipping, and noisy where weights are large.

    .. math:: \hat V = \frac{1}{n} \sum_i \min\left(\frac{\pi(a_i)}{p_i}, c\right) r_i

    Notes
    -----
    Horvitz and Thompson, JASA 47, 1952; clipped after Ionides, Truncated importance sampling, JCGS 17, 2008.

    Examples
    --------
    Weights 2 and 0.5: (2 * 1 + 0.5 * 0) / 2 = 1.

    >>> rewards, ones = ips(Log(np.array([1, 0]), np.array([0.25, 0.5]), np.array([0.5, 0.25])))
    >>> float(rewards.sum() / ones.sum())
    1.0
    """
    return log.weight * log.reward, np.ones(len(log.reward))
