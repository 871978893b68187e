"""Whether a model repeats known bad cases: the set that the promotion gate replays.

The set is the training rows of confirmed cases, each beside all else that the same person was shown on the same day.
Confirmed is a case of which ``audit.badcase`` says that a ranker could have known better: ranking or content caused it,
and not what candidates lacked or what a rule put there. A model repeats a case of label 0 (shown wrongly) that it puts
among the first places again, and one of label 1 (missed) that it does not put there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from quality.badcases.detector import CONTENT, RANKING
from quality.intervals import wilson

CONFIRMED = (RANKING, CONTENT)
"""Layers whose cases a ranker answers for."""


@dataclass(frozen=True)
class Replay:
    """How a model does on the regression set.

    Parameters
    ----------
    repeated, low, high
        Share of the cases that it repeats, with a 95 % interval (Wilson).
    n
        Cases that could be judged.
    """

    repeated: float
    low: float
    high: float
    n: int


def replay(query: np.ndarray, case: np.ndarray, label: np.ndarray, score: np.ndarray, top: int = 10) -> Replay:
    """Hold each case's rows against what else the same person was shown that day.

    The first places are ``top``, or the upper half where there are fewer than twice as many other rows. A tie repeats
    the case. A case with rows of several people is repeated where half of its rows are.

    Parameters
    ----------
    query
        Whose row it is and of which day: a number a list; shape ``(rows,)``, like all others.
    case
        Id of the row's case; NaN for the rows that cases are held against.
    label
        What should have been learnt of the case.
    score
        The model's score of the row.

    Examples
    --------
    The model puts the item that annoyed person 1 below the others, and that of person 2 on top.

    >>> query, score = np.array([1, 1, 1, 2, 2, 2]), np.array([0.1, 0.4, 0.5, 0.9, 0.2, 0.3])
    >>> case = np.array([7, np.nan, np.nan, 8, np.nan, np.nan])
    >>> found = replay(query, case, np.zeros(6, dtype=int), score)
    >>> found.repeated, found.n
    (0.5, 2)
    """
    rows = pd.DataFrame({"query": query, "case": case, "label": label, "score": score})
    others = rows[rows["case"].isna()].groupby("query")["score"].apply(lambda of: np.sort(of.to_numpy()))
    cases = rows[rows["case"].notna() & rows["query"].isin(others.index)]
    repeats = [_repeats(others[each.query], each.label, each.score, top) for each in cases.itertuples()]
    outcomes = pd.Series(repeats, dtype=float).groupby(cases["case"].to_numpy()).mean() >= 0.5
    n, repeated = len(outcomes), int(outcomes.sum())
    return Replay(repeated / n if n else float("nan"), *wilson(repeated, n), n)


def _repeats(others: np.ndarray, label: int, score: float, top: int) -> bool:
    """Whether a row of a case stands where it should not, among the sorted scores of other rows."""
    first = min(top, len(others) / 2)
    if label == 0:
        return bool(len(others) - np.searchsorted(others, score, side="right") < first)
    return bool(len(others) - np.searchsorted(others, score, side="left") >= first)
