"""Mean reciprocal rank: the mean over users of what this gives each."""

from __future__ import annotations

import numpy as np

from quality.metrics import cut

OF_LISTS = True


def mrr(hits: np.ndarray, relevant: np.ndarray, k: int) -> np.ndarray:
    r"""Reciprocal rank of every user's first hit within k, 0 without one.

    .. math:: \mathrm{RR@}k = \max_{i \le k} \frac{h_i}{i}

    Parameters and result are as in :func:`quality.metrics.ndcg.ndcg`.

    Notes
    -----
    Voorhees, The TREC-8 question answering track report, 1999.

    Examples
    --------
    >>> mrr(np.array([[False, True, True], [False, False, False]]), np.array([2, 1]), 3)
    array([0.5, 0. ])
    """
    return (cut(hits, k) / np.arange(1, k + 1)).max(axis=1)
