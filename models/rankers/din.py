"""Deep Interest Network (Zhou et al., 2018): what a user did weighs by how it resembles the candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from models.rankers.deep import DeepParams, DeepRanker, fit_network, head, keras, tower
from models.rankers.ranker import SEQUENCE, Spec
from models.rankers.rows import Stream

RANKER = Spec(
    "din",
    "Deep Interest Network: attention of the candidate on the user's last items.",
    ids=("item_id",),
    sequences=(SEQUENCE,),
)


@dataclass(frozen=True)
class Params(DeepParams):
    """``attention``: units of the layer that weighs an item of the sequence."""

    attention: int = 16


class DinRanker(DeepRanker):
    """A fitted DIN."""

    spec = RANKER
    takes = Params

    @classmethod
    def outputs(cls, inputs: dict[str, Any], heads: tuple[str, ...], params: Params) -> dict[str, Any]:
        library = keras(params.threads)
        layers, ops = library.layers, library.ops
        items = layers.Embedding(params.buckets + 1, params.width, name="items")
        candidate, past = items(inputs["item_id"]), items(inputs[SEQUENCE])
        beside = ops.repeat(ops.expand_dims(candidate, 1), params.length, axis=1)
        alike = layers.Concatenate()([past, beside, past * beside, past - beside])
        weight = layers.Dense(1)(layers.Dense(params.attention, activation="sigmoid")(alike))
        present = ops.cast(ops.expand_dims(inputs[SEQUENCE], -1) > 0, "float32")
        # weights are not normalised, as in the paper: a strong interest counts for more than a weak one
        interest = ops.sum(weight * present * past, axis=1)
        shared = tower(layers.Concatenate()([inputs["numbers"], candidate, interest, interest * candidate]), params)
        return {name: head(name, shared, params) for name in heads}


def fit(train: Stream, valid: pa.Table, params: Params, start: DinRanker | None = None) -> DinRanker:
    """Fit on a stream of rows with their sequences; see ``models.rankers.deep``."""
    return fit_network(DinRanker(params=params), train, valid, start)
