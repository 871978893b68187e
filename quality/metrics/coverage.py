"""Share of the catalogue that is shown to anyone."""

from __future__ import annotations

import numpy as np


def coverage(exposure: np.ndarray) -> float:
    r"""Share of items with at least one exposure.

    .. math:: \mathrm{Coverage} = \frac{|\{i : e_i > 0\}|}{|I|}

    Parameters
    ----------
    exposure
        Times that each item of the catalogue is shown, zeros included; shape ``(items,)``.

    Returns
    -------
    float
        In [0, 1]; nan for an empty catalogue.

    Notes
    -----
    Ge, Delgado-Battenfeld and Jannach, Beyond accuracy: coverage and serendipity, RecSys 2010.

    Examples
    --------
    >>> coverage(np.array([5, 0, 1, 0]))
    0.5
    """
    exposure = np.asarray(exposure)
    return float(np.mean(exposure > 0)) if exposure.size else float("nan")
