"""Whether the list holds a relevant item at all."""

from __future__ import annotations

import numpy as np

from quality.metrics import cut

OF_LISTS = True


def hit_rate(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    r"""HR@k of every user: 1 with at least one hit in the first k positions, else 0.

    .. math:: \mathrm{HR@}k = \max_{i \le k} h_i

    Parameters and result are as in :func:`quality.metrics.ndcg.ndcg`.

    Notes
    -----
    Deshpande and Karypis, Item-based top-N recommendation algorithms, ACM TOIS 22(1), 2004.

    Examples
    --------
    >>> hit_rate(np.array([[False, True], [False, False]]), np.array([3, 3]), 2)
    array([1., 0.])
    """
    return cut(hits, k).max(axis=1)
