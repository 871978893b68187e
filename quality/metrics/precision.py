"""Share of the list that is relevant."""

from __future__ import annotations

import numpy as np

from quality.metrics import cut

OF_LISTS = True


def precision(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    r"""Precision@k of every user; a list shorter than k is still divided by k.

    .. math:: \mathrm{P@}k = \frac{1}{k} \sum_{i=1}^{k} h_i

    Parameters and result are as in :func:`quality.metrics.ndcg.ndcg`.

    Notes
    -----
    Herlocker et al., Evaluating collaborative filtering recommender systems, ACM TOIS 22(1), 2004.

    Examples
    --------
    >>> precision(np.array([[True, False, True, False]]), np.array([2]), 4)
    array([0.5])
    """
    return cut(hits, k).sum(axis=1) / k
