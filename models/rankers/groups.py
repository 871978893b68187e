"""Fairness of a fit: groups of rows, weights that make them alike before it, calibration of each after it.

Groups are cut from a ranking feature (tenure, tier of the city). Sensitive attributes are not among those, so none is
used in scoring.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.rankers.rows import Columns, feature_matrix

MIN_ROWS = 1000
"""Rows below which a group is calibrated as all are: an isotonic map of fewer follows their noise."""


@dataclass(frozen=True)
class Groups:
    """Rows by where a feature lies between ``edges``; unknown values are a group of their own, the last.

    Examples
    --------
    >>> Groups("tenure", (30.0,)).of({"tenure": np.array([2.0, 30.0, np.nan])}).tolist()
    [0, 1, 2]
    """

    feature: str = ""
    edges: tuple[float, ...] = ()

    @property
    def number(self) -> int:
        """How many groups there are."""
        return len(self.edges) + 2 if self.feature else 1

    def of(self, columns: Columns) -> np.ndarray:
        """The group of each row, from 0."""
        if not self.feature:
            return np.zeros(_length(columns), np.int64)
        values = feature_matrix(columns, (self.feature,))[:, 0]
        return np.where(np.isnan(values), len(self.edges) + 1, np.digitize(values, self.edges))

    def maps(self, fit: Callable[..., Any], raw: np.ndarray, target: np.ndarray, group: np.ndarray) -> list[Any]:
        """One calibration a group."""
        of_all = fit(raw, target)
        made = []
        for number in range(self.number):
            of = group == number
            made.append(fit(raw[of], target[of]) if self.number > 1 and of.sum() >= MIN_ROWS else of_all)
        return made

    def to_json(self) -> dict[str, Any]:
        return {"feature": self.feature, "edges": list(self.edges)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Groups:
        return cls(values["feature"], tuple(values["edges"]))


ONE_GROUP = Groups()


def _length(columns: Columns) -> int:
    return columns.num_rows if hasattr(columns, "num_rows") else len(next(iter(columns.values())))


class Reweighing:
    """Weights under which label and group are independent: P(g) P(y) / P(g, y) (Kamiran and Calders, 2012).

    Counted batch by batch with ``add``; weighted by ``of``, the rate of positives is the same in every group.

    Examples
    --------
    >>> rows = {"tenure": np.array([1.0, 1.0, 1.0, 40.0])}
    >>> weights = Reweighing(Groups("tenure", (30.0,)))
    >>> weights.add(rows, np.array([1, 0, 0, 1]))
    >>> weights.of(rows, np.array([1, 0, 0, 1])).round(3).tolist()
    [1.5, 0.75, 0.75, 0.5]
    """

    def __init__(self, groups: Groups) -> None:
        self.groups = groups
        self.joint = np.zeros((groups.number, 2))

    def add(self, columns: Columns, label: np.ndarray) -> None:
        """Count rows; ``label`` is 0 or 1."""
        np.add.at(self.joint, (self.groups.of(columns), label), 1)

    def of(self, columns: Columns, label: np.ndarray) -> np.ndarray:
        """float32, one weight a row; their mean over all counted rows is 1."""
        expected = self.joint.sum(axis=1, keepdims=True) * self.joint.sum(axis=0, keepdims=True) / self.joint.sum()
        weight = np.divide(expected, self.joint, out=np.ones_like(self.joint), where=self.joint > 0)
        return weight[self.groups.of(columns), label].astype(np.float32)
