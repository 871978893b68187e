"""The order of served lists in numpy, by the same law as `models.ranked` has in Spark: what the gate judges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.objective_weights import OBJECTIVES, Weights
from models.objectives import FLOOR, TINY
from models.rankers.rows import Columns, column

CONTENT_TYPE = "content_type"
"""Column of held-out rows that chooses an item's weights; rows without it have the first ones."""


@dataclass(frozen=True)
class ServedOrder:
    """What orders lists.

    Parameters
    ----------
    by
        ``rank``, ``pctr`` or ``fusion`` (option ``order_by`` of ``candidates.ranked``).
    first
        Weights of types that have none of their own.
    types
        By content type its weights and the level that goes with them (`models.objectives.weights_of_types`).
    """

    by: str = "rank"
    first: Weights = Weights()
    types: Mapping[str, tuple[Weights, float]] = field(default_factory=dict)

    @classmethod
    def of_day(cls, by: str, first: Weights, log: Iterable[Mapping[str, Any]]) -> ServedOrder:
        """With the weights that rows of ``ops.objective_weights`` say, one a content type."""
        types = {}
        for row in log:
            weights, level = Weights(*(row[name] for name in OBJECTIVES)), 1.0
            for name in OBJECTIVES:
                level *= max(row[f"{name}_rate"] or 1.0, TINY) ** (row[f"first_{name}"] - weights.of(name))
            types[row["content_type"]] = (weights, level)
        return cls(by, first, types)

    def of(self, scores: Mapping[str, np.ndarray], columns: Columns) -> np.ndarray:
        """A number a row, larger is earlier; equal ones go by LambdaMART's score where there is one."""
        if self.by == "fusion":
            score = self._fused(scores, columns)
        else:
            score = scores[self.by if self.by in scores else "pctr"]
        ties = scores.get("rank", np.zeros(len(score)))
        # calibration has plateaus: places of pairs of score and tie, equal pairs alike
        pairs = np.column_stack([np.round(score, 9), np.round(ties, 6)])
        return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1).astype(np.float64)

    def _fused(self, scores: Mapping[str, np.ndarray], columns: Columns) -> np.ndarray:
        click = np.clip(scores["pctr"], FLOOR, 1)
        weight = {name: np.full(len(click), self.first.of(name)) for name in OBJECTIVES}
        level = np.ones(len(click))
        for kind, (own, its_level) in self.types.items():
            of = _kinds(columns, len(click)) == kind
            level[of] = its_level
            for name in OBJECTIVES:
                weight[name][of] = own.of(name)
        fused = level * click ** weight["ctr"]
        if "pcvr" in scores:
            fused = fused * np.clip(scores["pcvr"] / click, FLOOR, 1) ** weight["cvr"]
        if "dwell" in scores:
            fused = fused * np.maximum(scores["dwell"], TINY) ** weight["dwell"]
        return fused


def _kinds(columns: Columns, rows: int) -> np.ndarray:
    names = columns.schema.names if hasattr(columns, "schema") else list(columns)
    if CONTENT_TYPE not in names:
        return np.full(rows, "", dtype=object)
    return np.array(column(columns, CONTENT_TYPE).to_pylist(), dtype=object)
