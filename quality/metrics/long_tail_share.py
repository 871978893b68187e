"""Share of the exposures that go to the long tail."""

from __future__ import annotations

import numpy as np


def long_tail_share(exposure: np.ndarray, tail: np.ndarray) -> float:
    r"""Exposures of tail items over all exposures.

    .. math:: \mathrm{LongTail} = \frac{\sum_{i \in T} e_i}{\sum_i e_i}

    Parameters
    ----------
    exposure
        Times that each item is shown, shape ``(items,)``.
    tail
        True for items outside the head, shape ``(items,)``.

    Returns
    -------
    float
        In [0, 1]; nan where nothing was shown.

    Notes
    -----
    Abdollahpouri, Burke and Mobasher, Controlling popularity bias in learning-to-rank, RecSys 2017 (as APLT).

    Examples
    --------
    >>> long_tail_share(np.array([6, 1, 1]), np.array([False, True, True]))
    0.25
    """
    exposure = np.asarray(exposure, dtype=float)
    total = exposure.sum()
    return float(exposure[np.asarray(tail, dtype=bool)].sum() / total) if total > 0 else float("nan")
