"""One metric a file: a pure numpy function with its formula, and nothing else.

Metrics of ranked lists take ``hits``, a ``users x positions`` matrix in list order that is true where the
item was relevant, and ``relevant``, how many relevant items each user has in all (also those that the
list lacks). They give one value a user. Gains are binary. Whoever makes ``hits`` from scores breaks ties
in a fixed order, because a metric that depends on the sort algorithm is no metric.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np

from jobs.errors import ContractError

PerUser = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def parse(name: str) -> tuple[str, int]:
    """Split ``"ndcg@10"`` into metric and cut-off.

    Raises
    ------
    ContractError
        The name has no ``@`` and whole number above zero.

    Examples
    --------
    >>> parse("ndcg@10")
    ('ndcg', 10)
    """
    metric, _, k = name.partition("@")
    if not k.isdigit() or int(k) < 1:
        raise ContractError(f"Metric {name!r} needs a cut-off, as in 'ndcg@10'.")
    return metric, int(k)


def per_user(metric: str) -> PerUser:
    """The list metric of the file ``quality/metrics/<metric>.py``.

    Raises
    ------
    ContractError
        There is no such file, or its function does not take a list.
    """
    try:
        module = importlib.import_module(f"quality.metrics.{metric}")
    except ModuleNotFoundError:
        raise ContractError(f"There is no metric {metric!r}: quality/metrics/{metric}.py is missing.") from None
    if not getattr(module, "OF_LISTS", False):
        raise ContractError(f"Metric {metric!r} is not one of ranked lists.")
    return getattr(module, metric)


def cut(hits: np.ndarray, k: int) -> np.ndarray:
    """The first ``k`` positions as floats; positions that a shorter list lacks are misses.

    Examples
    --------
    >>> cut(np.array([[True, False]]), 3)
    array([[1., 0., 0.]])
    """
    kept = np.asarray(hits, dtype=float)[:, :k]
    return np.pad(kept, ((0, 0), (0, k - kept.shape[1])))


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, 0 where ``whole`` is 0.

    Examples
    --------
    >>> share(np.array([1.0, 1.0]), np.array([2, 0]))
    array([0.5, 0. ])
    """
    part, whole = np.asarray(part, dtype=float), np.asarray(whole, dtype=float)
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
