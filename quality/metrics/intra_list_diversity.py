"""How different the items of one list are from each other."""

from __future__ import annotations

import numpy as np


def intra_list_diversity(vectors: np.ndarray) -> np.ndarray:
    r"""Mean distance (1 - cosine) over the pairs of items of every list.

    .. math:: \mathrm{ILD} = \frac{2}{n (n - 1)} \sum_{i < j} (1 - v_i \cdot v_j)
              = 1 - \frac{\lVert \sum_i v_i \rVert^2 - n}{n (n - 1)}

    Parameters
    ----------
    vectors
        Unit vectors of the listed items, ``lists x positions x dimensions``; nan at positions that a shorter
        list lacks.

    Returns
    -------
    ndarray
        One value in [0, 2] a list: 0 where all items are alike; nan for a list of fewer than two items.

    Notes
    -----
    Smyth and McClave, Similarity vs. diversity, ICCBR 2001; Ziegler et al., Improving recommendation lists
    through topic diversification, WWW 2005, whose ILS is the sum of the similarities.

    Examples
    --------
    Two alike and one at right angles: the pairs have distances 0, 1 and 1.

    >>> intra_list_diversity(np.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])).round(4)
    array([0.6667])
    """
    vectors = np.asarray(vectors, dtype=float)
    n = np.isfinite(vectors).all(axis=2).sum(axis=1)
    total = np.nansum(vectors, axis=1)
    pairs = (n * (n - 1)).astype(float)
    alike = np.divide((total**2).sum(axis=1) - n, pairs, out=np.full(len(n), np.nan), where=n > 1)
    return np.clip(1 - alike, 0.0, 2.0)
