"""The doubly robust estimator."""

from __future__ import annotations

import numpy as np

from jobs.errors import EvidenceError
from quality.ope import Log


def dr(log: Log) -> tuple[np.ndarray, np.ndarray]:
    r"""What the model expects, corrected by the weighted error that it made on what was shown; and one a row.

    .. math:: \hat V = \frac{1}{n} \sum_i \left[ \sum_a \pi(a \mid x_i) \, \hat q(x_i, a)
              + w_i \, (r_i - \hat q(x_i, a_i)) \right]

    Unbiased when either the propensities or the model are right.

    Raises
    ------
    EvidenceError
        The log has no predictions.

    Notes
    -----
    Dudík, Langford and Li, Doubly robust policy evaluation and learning, ICML 2011.

    Examples
    --------
    Weights 2 and 0.5: (0.6 + 2 * (1 - 0.5) + 0.6 + 0.5 * (0 - 0.5)) / 2 = 0.975.

    >>> half, policy = np.array([0.5, 0.5]), np.array([0.6, 0.6])
    >>> values, ones = dr(Log(np.array([1, 0]), np.array([0.25, 0.5]), np.array([0.5, 0.25]), half, policy))
    >>> round(float(values.sum() / ones.sum()), 6)
    0.975
    """
    if log.predicted is None or log.policy_value is None:
        raise EvidenceError("The doubly robust estimator needs a model's predictions for the log, and there are none.")
    error = np.where(log.weight > 0, np.asarray(log.reward, dtype=float) - log.predicted, 0.0)
    return log.policy_value + log.weight * error, np.ones(len(log.reward))
