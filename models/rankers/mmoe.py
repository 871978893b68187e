"""Multi-gate mixture of experts (Ma et al., 2018): clicks, purchases, dwell and satisfaction from shared experts.

Each head mixes the experts by a gate of its own, so that what one learns helps the others where they agree and leaves
them alone where they do not. ``satisfaction`` is the probability of a click that lasts, when
shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from models.rankers.deep import DeepParams, DeepRanker, embedded, fit_network, head, keras, tower
from models.rankers.ranker import Spec
from models.rankers.rows import Stream

RANKER = Spec(
    "mmoe",
    "Multi-gate mixture of experts: click, purchase, dwell and satisfaction, each with a gate of its own.",
    ids=("user_id", "item_id"),
)


@dataclass(frozen=True)
class Params(DeepParams):
    """``experts``: towers that the heads share."""

    experts: int = 4


class MmoeRanker(DeepRanker):
    """A fitted mixture of experts."""

    spec = RANKER
    tasks = ("pctr", "pcvr", "dwell", "satisfaction")

    @classmethod
    def default_params(cls) -> Params:
        return Params()

    @classmethod
    def outputs(cls, inputs: dict[str, Any], heads: tuple[str, ...], params: Params) -> dict[str, Any]:
        library = keras(params.threads)
        layers, ops = library.layers, library.ops
        shared = layers.Concatenate()([inputs["numbers"], *[embedded(inputs[name], params) for name in RANKER.ids]])
        experts = ops.stack([tower(shared, params) for _ in range(params.experts)], axis=1)
        made = {}
        for name in heads:
            gate = layers.Dense(params.experts, activation="softmax", name=f"gate_{name}")(shared)
            mixed = ops.sum(ops.expand_dims(gate, -1) * experts, axis=1)
            own = layers.Dense(params.layers[-1], activation="relu")(mixed)
            made[name] = head(own, params, probability=name != "dwell")
        return made


def fit(train: Stream, valid: pa.Table, params: Params, start: MmoeRanker | None = None) -> MmoeRanker:
    """Fit on a stream of rows of ``training.examples``; see ``models.rankers.deep``."""
    return fit_network(MmoeRanker(params=params), train, valid, start)
