"""Self-normalised inverse propensity scoring."""

from __future__ import annotations

import numpy as np

from quality.ope import Log


def snips(log: Log) -> tuple[np.ndarray, np.ndarray]:
    r"""Weighted rewards, and the weights: a little bias for much less noise, and never outside the rewards' range.

    .. math:: \hat V = \frac{\sum_i w_i r_i}{\sum_i w_i}

    Notes
    -----
    Swaminathan and Joachims, The self-normalized estimator for counterfactual learning, NIPS 2015.

    Examples
    --------
    Weights 2 and 0.5: (2 * 1 + 0.5 * 0) / 2.5 = 0.8.

    >>> rewards, weights = snips(Log(np.array([1, 0]), np.array([0.25, 0.5]), np.array([0.5, 0.25])))
    >>> float(rewards.sum() / weights.sum())
    0.8
    """
    return log.weight * log.reward, log.weight
