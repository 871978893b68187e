"""Whether a model repeats known bad cases: the set that the promotion gate replays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quality.intervals import wilson


@dataclass(frozen=True)
class Replay:
    """How a model does on the regression set.

    Parameters
    ----------
    fixed, low, high
        Share of the cases that it would not repeat, with a 95 % interval.
    n
        Cases that could be judged.
    """

    fixed: float
    low: float
    high: float
    n: int


def replay(case: np.ndarray, label: np.ndarray, score: np.ndarray, user: np.ndarray, is_case: np.ndarray) -> Replay:
    """Hold each case's rows against what else the same person was offered.

    A case of label 0 (shown wrongly) is fixed when the model scores it below the median of the person's other
    rows; one of label 1 (missed) when above. A tie repeats it.

    Parameters
    ----------
    case
        Id of the case, for rows where ``is_case``; shape ``(rows,)``, like all others.
    label
        What should have been learnt of the case.
    score
        The model's score of the row.
    user
        Whose row it is.
    is_case
        False for the rows that cases are held against.

    Examples
    --------
    The model puts the item that annoyed person 1 below the others, and that of person 2 on top.

    >>> user, score = np.array([1, 1, 1, 2, 2, 2]), np.array([0.1, 0.4, 0.5, 0.9, 0.2, 0.3])
    >>> is_case = np.array([True, False, False, True, False, False])
    >>> found = replay(np.array([7, 0, 0, 8, 0, 0]), np.zeros(6, dtype=int), score, user, is_case)
    >>> found.fixed, found.n
    (0.5, 2)
    """
    others = pd.Series(score[~is_case]).groupby(user[~is_case]).median()
    rows = pd.DataFrame({"case": case, "label": label, "score": score, "user": user})[is_case]
    rows = rows[rows["user"].isin(others.index)]
    gap = rows["score"] - rows["user"].map(others)
    outcomes = ((gap > 0) & (rows["label"] == 1) | (gap < 0) & (rows["label"] == 0)).groupby(rows["case"]).all()
    n, fixed = len(outcomes), int(outcomes.sum())
    return Replay(fixed / n if n else float("nan"), *wilson(fixed, n), n)
