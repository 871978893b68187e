"""Share of the relevant items that the list holds."""

from __future__ import annotations

import numpy as np

from quality.metrics import cut, share

OF_LISTS = True


def recall(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    r"""Recall@k of every user.

    .. math:: \mathrm{Recall@}k = \frac{1}{R} \sum_{i=1}^{k} h_i

    Parameters and result are as in :func:`quality.metrics.ndcg.ndcg`. The divisor is R, not min(k, R):
    a user with more than k relevant items cannot reach 1.

    Notes
    -----
    Herlocker et al., Evaluating collaborative filtering recommender systems, ACM TOIS 22(1), 2004.

    Examples
    --------
    >>> recall(np.array([[True, False, True]]), np.array([4]), 3)
    array([0.5])
    """
    return share(cut(hits, k).sum(axis=1), relevant)
