"""Whether predicted probabilities are as large as what happens."""

from __future__ import annotations

import numpy as np


def ece(labels: np.ndarray, predictions: np.ndarray, bins: int = 10) -> float:
    r"""Expected calibration error over bins with equal numbers of rows.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} \left| \bar{y}_b - \bar{p}_b \right|

    Parameters
    ----------
    labels
        0 or 1, shape ``(rows,)``.
    predictions
        Probabilities, shape ``(rows,)``. Equal predictions always share a bin: where a bin would end
        among them, it takes them all.
    bins
        Number of bins wanted.

    Returns
    -------
    float
        In [0, 1]; nan without rows.

    Notes
    -----
    Naeini, Cooper and Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015;
    equal-mass bins after Nguyen and O'Connor, EMNLP 2015, because click rates crowd near zero.

    Examples
    --------
    Two bins of two rows: |0 - 0.1| and |0.5 - 0.4|, each half of the rows: 0.1.

    >>> round(ece(np.array([0, 0, 0, 1]), np.array([0.1, 0.1, 0.4, 0.4]), bins=2), 6)
    0.1
    """
    labels, predictions = np.asarray(labels, dtype=float), np.asarray(predictions, dtype=float)
    if not labels.size:
        return float("nan")
    ordered = np.sort(predictions)
    edges = ordered[np.ceil(np.arange(1, bins) * labels.size / bins).astype(int) - 1] if bins > 1 else ordered[:0]
    at = np.searchsorted(np.unique(edges), predictions, side="left")
    gaps = np.bincount(at, weights=labels) - np.bincount(at, weights=predictions)
    return float(np.abs(gaps).sum() / labels.size)


def ratio(labels: np.ndarray, predictions: np.ndarray) -> float:
    r"""Predicted over observed successes: 1 is calibrated in the large, above 1 promises too much.

    .. math:: \mathrm{Ratio} = \frac{\sum_i p_i}{\sum_i y_i}

    Returns
    -------
    float
        At least 0; nan where nothing succeeded.

    Notes
    -----
    He et al., Practical lessons from predicting clicks on ads at Facebook, ADKDD 2014 (as "calibration").

    Examples
    --------
    >>> ratio(np.array([1, 0, 1, 0]), np.array([0.5, 0.5, 0.75, 0.75]))
    1.25
    """
    happened = float(np.sum(labels))
    return float(np.sum(predictions) / happened) if happened > 0 else float("nan")
