"""How unequally exposure is spread over the catalogue."""

from __future__ import annotations

import numpy as np


def gini(exposure: np.ndarray) -> float:
    r"""Gini index of exposure over all items, those that nobody was shown included.

    .. math:: G = \frac{\sum_{i=1}^{n} (2 i - n - 1) \, e_{(i)}}{n \sum_i e_i}

    with :math:`e_{(i)}` in ascending order: 0 when all are equal, :math:`1 - 1/n` when one has all.

    Parameters
    ----------
    exposure
        Times that each item of the catalogue is shown, zeros included; shape ``(items,)``.

    Returns
    -------
    float
        In [0, 1 - 1/n]; nan where nothing was shown.

    Notes
    -----
    Fleder and Hosanagar, Blockbuster culture's next rise or fall, Management Science 55(5), 2009.

    Examples
    --------
    Sorted 0, 0, 1, 3 with weights -3, -1, 1, 3: (1 + 9) / (4 * 4) = 0.625.

    >>> gini(np.array([3, 0, 1, 0]))
    0.625
    """
    ordered = np.sort(np.asarray(exposure, dtype=float))
    n, total = ordered.size, ordered.sum()
    if not total > 0:
        return float("nan")
    return float(((2 * np.arange(1, n + 1) - n - 1) * ordered).sum() / (n * total))
