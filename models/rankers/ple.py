"""Progressive layered extraction (Tang et al., 2020), one level: clicks, purchases, dwell and satisfaction.

Each head mixes experts that all share with experts of its own, by a gate of its own: what one learns helps the others
where they agree, and none is spoilt by what the others need. ``satisfaction`` is the probability of a click that lasts,
when shown. Without own experts it is a multi-gate mixture of experts (Ma et al., 2018), whose dwell suffers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs.errors import ContractError
from models.rankers.deep import DeepParams, DeepRanker, embedded, fit_network, head, keras, tower
from models.rankers.ranker import Spec
from models.rankers.rows import Stream

RANKER = Spec(
    "ple",
    "Progressive layered extraction: click, purchase, dwell and satisfaction from shared experts and their own.",
    ids=("user_id", "item_id"),
)


@dataclass(frozen=True)
class Params(DeepParams):
    """``shared``, ``own``: towers that all heads share, and that each has for itself; without any, MMoE."""

    shared: int = 2
    own: int = 2

    def __post_init__(self) -> None:
        if self.shared < 1 or self.own < 0 or self.shared + self.own < 2:
            raise ContractError(
                f"The ranker ple has {self.shared} shared towers and {self.own} of each head: it needs one that is "
                "shared, and two to choose from."
            )


class PleRanker(DeepRanker):
    """A fitted PLE."""

    spec = RANKER
    takes = Params
    tasks = ("pctr", "pcvr", "dwell", "satisfaction")

    @classmethod
    def outputs(cls, inputs: dict[str, Any], heads: tuple[str, ...], params: Params) -> dict[str, Any]:
        library = keras(params.threads)
        layers, ops = library.layers, library.ops
        known = layers.Concatenate()([inputs["numbers"], *[embedded(inputs[name], params) for name in RANKER.ids]])
        shared = [tower(known, params) for _ in range(params.shared)]
        made = {}
        for name in heads:
            experts = ops.stack([*shared, *(tower(known, params) for _ in range(params.own))], axis=1)
            gate = layers.Dense(params.shared + params.own, activation="softmax")(known)
            mixed = ops.sum(ops.expand_dims(gate, -1) * experts, axis=1)
            made[name] = head(name, mixed, params)
        return made


def fit(train: Stream, valid: pa.Table, params: Params, start: PleRanker | None = None) -> PleRanker:
    """Fit on a stream of rows of ``training.examples``; see ``models.rankers.deep``."""
    return fit_network(PleRanker(params=params), train, valid, start)
