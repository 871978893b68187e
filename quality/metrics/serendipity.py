"""Relevant items that the obvious list would not have shown."""

from __future__ import annotations

import numpy as np

from quality.metrics import cut


def serendipity(hits: np.ndarray, expected: np.ndarray, k: int) -> np.ndarray:
    r"""Share of the first k positions that are relevant and unexpected, for every user.

    .. math:: \mathrm{SRDP@}k = \frac{1}{k} \sum_{i=1}^{k} h_i \, [r_i \notin E_u]

    Parameters
    ----------
    hits
        ``users x positions``, true where the item at that position is relevant.
    expected
        The same shape, true where a primitive recommender (here: the k most popular items) shows the item too.
    k
        Positions that count.

    Returns
    -------
    ndarray
        One value in [0, 1] a user.

    Notes
    -----
    Ge, Delgado-Battenfeld and Jannach, Beyond accuracy: evaluating recommender systems by coverage and
    serendipity, RecSys 2010, equation 3.

    Examples
    --------
    Two hits in four places, one of which is popular anyway.

    >>> serendipity(np.array([[True, True, False, False]]), np.array([[True, False, True, False]]), 4)
    array([0.25])
    """
    hits, expected = np.asarray(hits, dtype=bool), np.asarray(expected, dtype=bool)
    return cut(hits & ~expected, k).sum(axis=1) / k
