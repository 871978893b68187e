"""How little known the shown items are."""

from __future__ import annotations

import numpy as np


def novelty(exposure: np.ndarray, popularity: np.ndarray) -> float:
    r"""Mean self-information of the exposures, in bits.

    .. math:: \mathrm{Novelty} = \frac{1}{\sum_i e_i} \sum_i e_i \, (-\log_2 p_i)

    Parameters
    ----------
    exposure
        Times that each item is shown in the judged lists, shape ``(items,)``.
    popularity
        Share of past exposure :math:`p_i` in (0, 1] of each item, shape ``(items,)``.

    Returns
    -------
    float
        Bits, at least 0; nan where nothing was shown.

    Notes
    -----
    Zhou et al., Solving the apparent diversity-accuracy dilemma of recommender systems, PNAS 107(10), 2010.

    Examples
    --------
    One exposure of an item with p = 1/2 (1 bit), one with p = 1/8 (3 bits): 2 bits.

    >>> novelty(np.array([1, 1]), np.array([0.5, 0.125]))
    2.0
    """
    exposure = np.asarray(exposure, dtype=float)
    if not exposure.sum() > 0:
        return float("nan")
    return float(np.average(-np.log2(popularity), weights=exposure))
