"""AUC within users, weighted by how much each was shown."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def gauc(users: np.ndarray, labels: np.ndarray, scores: np.ndarray) -> float:
    r"""Mean of the users' AUCs, weighted by impressions; users with one class only are left out.

    .. math:: \mathrm{GAUC} = \frac{\sum_u w_u \mathrm{AUC}_u}{\sum_u w_u}, \quad w_u = \text{impressions of } u

    Parameters
    ----------
    users, labels, scores
        One row an impression, shape ``(rows,)``: whose, whether it succeeded, the predicted score.

    Returns
    -------
    float
        In [0, 1]; nan where no user has both classes.

    Notes
    -----
    Zhou et al., Deep interest network for click-through rate prediction, KDD 2018.

    Examples
    --------
    User 1 has AUC 1 over 2 impressions, user 2 has AUC 0.5 over 3: (2 * 1 + 3 * 0.5) / 5 = 0.7. User 3
    has no positive.

    >>> gauc(np.array([1, 1, 2, 2, 2, 3]), np.array([1, 0, 1, 0, 0, 0]), np.array([9, 1, 5, 7, 3, 1]))
    0.7
    """
    labels, scores = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=float)
    _, user, shown = np.unique(users, return_inverse=True, return_counts=True)
    if not labels.size:
        return float("nan")
    # one ranking of (user, score) holds every user's ranking: less the rows of the users before
    dense = np.unique(scores, return_inverse=True)[1]
    before = np.concatenate([[0], np.cumsum(shown)[:-1]])
    ranks = rankdata(user * (dense.max() + 1.0) + dense) - before[user]
    positives = np.bincount(user, weights=labels)
    pairs = positives * (shown - positives)
    of_positives = np.bincount(user, weights=np.where(labels, ranks, 0.0))
    both = pairs > 0
    if not both.any():
        return float("nan")
    each = (of_positives[both] - positives[both] * (positives[both] + 1) / 2) / pairs[both]
    return float(np.average(each, weights=shown[both]))
