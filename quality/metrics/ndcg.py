"""Normalised discounted cumulative gain."""

from __future__ import annotations

import numpy as np

from quality.metrics import cut, share

OF_LISTS = True


def ndcg(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    r"""NDCG@k of every user, with binary gains and the ideal truncated at k.

    .. math:: \mathrm{NDCG@}k = \frac{\sum_{i=1}^{k} \frac{h_i}{\log_2(i + 1)}}
              {\sum_{i=1}^{\min(k, R)} \frac{1}{\log_2(i + 1)}}

    Parameters
    ----------
    hits
        ``users x positions``, true where the item at that position is relevant.
    relevant
        R, relevant items of each user, in the list or not.
    k
        Positions that count.

    Returns
    -------
    ndarray
        One value in [0, 1] a user; 0 for a user without relevant items.

    Notes
    -----
    Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, ACM TOIS 20(4), 2002.

    Examples
    --------
    A hit at position 2 of a user with one relevant item: (1 / log2 3) / (1 / log2 2) = 0.6309.

    >>> ndcg(np.array([[False, True, False]]), np.array([1]), 3).round(4)
    array([0.6309])
    """
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])
    return share(cut(hits, k) @ discount, ideal[np.minimum(relevant, k)])
