"""The direct method: what a model expects."""

from __future__ import annotations

import numpy as np

from jobs.errors import EvidenceError
from quality.ope import Log


def dm(log: Log) -> tuple[np.ndarray, np.ndarray]:
    r"""The model's expected reward under the judged policy, and one a row.

    .. math:: \hat V = \frac{1}{n} \sum_i \sum_a \pi(a \mid x_i) \, \hat q(x_i, a)

    It needs no overlap and has little noise, but all of the model's bias, of which its interval says nothing.

    Raises
    ------
    EvidenceError
        The log has no predictions.

    Notes
    -----
    Beygelzimer and Langford, The offset tree for learning with partial labels, KDD 2009.

    Examples
    --------
    >>> values, ones = dm(Log(np.array([1, 0]), np.ones(2), np.ones(2), policy_value=np.array([0.2, 0.4])))
    >>> round(float(values.sum() / ones.sum()), 6)
    0.3
    """
    if log.policy_value is None:
        raise EvidenceError("The direct method needs a model's predictions for the log, and there are none.")
    return np.asarray(log.policy_value, dtype=float), np.ones(len(log.reward))
