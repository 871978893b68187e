"""Area under the ROC curve."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def auc(labels: np.ndarray, scores: np.ndarray) -> float:
    r"""Probability that a positive scores above a negative; a tie counts one half.

    .. math:: \mathrm{AUC} = \frac{\sum_{i: y_i = 1} r_i - P(P + 1) / 2}{P \, N}

    with :math:`r` the mean ranks of the scores, P positives and N negatives (Mann-Whitney).

    Parameters
    ----------
    labels
        True or 1 for positives, shape ``(rows,)``.
    scores
        Higher is more likely positive, shape ``(rows,)``.

    Returns
    -------
    float
        In [0, 1]; nan where one class is missing, because there is no pair to order.

    Notes
    -----
    Hanley and McNeil, The meaning and use of the area under a ROC curve, Radiology 143, 1982.

    Examples
    --------
    Pairs (positive, negative): 0.8 > 0.5, 0.8 > 0.2, 0.5 = 0.5, 0.5 > 0.2: 3.5 of 4.

    >>> auc(np.array([1, 1, 0, 0]), np.array([0.8, 0.5, 0.5, 0.2]))
    0.875
    """
    labels = np.asarray(labels, dtype=bool)
    positives = int(labels.sum())
    negatives = labels.size - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))
