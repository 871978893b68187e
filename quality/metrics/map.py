"""Mean average precision: the mean over users of what this gives each."""

from __future__ import annotations

import numpy as np

from quality.metrics import cut, share

OF_LISTS = True


def map(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    r"""Average precision at k of every user, divided by the hits that were possible.

    .. math:: \mathrm{AP@}k = \frac{1}{\min(k, R)} \sum_{i=1}^{k} h_i \frac{\sum_{j \le i} h_j}{i}

    Parameters and result are as in :func:`quality.metrics.ndcg.ndcg`.

    Notes
    -----
    Manning, Raghavan and Schütze, Introduction to Information Retrieval, section 8.4, 2008, with the
    divisor min(k, R), so that a perfect list has the value 1 whatever k.

    Examples
    --------
    Hits at 1 and 3 of two relevant items: (1/1 + 2/3) / 2 = 0.8333.

    >>> map(np.array([[True, False, True]]), np.array([2]), 3).round(4)
    array([0.8333])
    """
    kept = cut(hits, k)
    precisions = kept.cumsum(axis=1) / np.arange(1, k + 1)
    return share((kept * precisions).sum(axis=1), np.minimum(relevant, k))
