"""Deep Interest Evolution Network (Zhou et al., 2019): what a user did, in the order in which they did it.

A GRU reads the user's items from the oldest to the newest; what it makes of each is weighed by how it resembles the
candidate, and a second GRU whose updates these weights scale (AUGRU) follows the interest that leads to the candidate.
The auxiliary loss of the paper, which tells each step's next item from a drawn one, is left out: the states are learnt
from what came of the showings alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from models.rankers.deep import DeepParams, DeepRanker, fit_network, head, keras, tower
from models.rankers.ranker import SEQUENCE, Spec
from models.rankers.rows import Stream

RANKER = Spec(
    "dien",
    "Deep Interest Evolution Network: a recurrent network of the user's last items, led by the candidate.",
    ids=("item_id",),
    sequences=(SEQUENCE,),
)


@dataclass(frozen=True)
class Params(DeepParams):
    """``states``: numbers that the recurrent layers keep of what was done."""

    states: int = 16


class DienRanker(DeepRanker):
    """A fitted DIEN."""

    spec = RANKER
    takes = Params

    @classmethod
    def outputs(cls, inputs: dict[str, Any], heads: tuple[str, ...], params: Params) -> dict[str, Any]:
        library = keras(params.threads)
        layers, ops = library.layers, library.ops
        items = layers.Embedding(params.buckets + 1, params.width, name="items")
        candidate = items(inputs["item_id"])
        # sequences are newest first: what is not there comes before the oldest
        past = ops.flip(inputs[SEQUENCE], axis=1)
        present = past > 0
        states = layers.GRU(params.states, return_sequences=True)(items(past), mask=present)
        alike = ops.sum(states * ops.expand_dims(layers.Dense(params.states)(candidate), 1), axis=-1)
        weight = ops.softmax(ops.where(present, alike, -1e9), axis=-1) * ops.cast(present, "float32")
        interest = _evolved(states, weight, params)
        shared = tower(layers.Concatenate()([inputs["numbers"], candidate, interest]), params)
        return {name: head(name, shared, params) for name in heads}


def _evolved(states: Any, weight: Any, params: Params) -> Any:
    """AUGRU: the last state of a GRU whose update gate is scaled by each step's weight; shape ``(rows, states)``."""
    library = keras(params.threads)
    layers, ops = library.layers, library.ops
    update, reset, fresh = (
        (layers.Dense(params.states), layers.Dense(params.states, use_bias=False)) for _ in range(3)
    )
    state = ops.zeros_like(states[:, 0])
    for step in range(params.length):
        given, led = states[:, step], weight[:, step : step + 1]
        kept = led * ops.sigmoid(update[0](given) + update[1](state))
        past = ops.sigmoid(reset[0](given) + reset[1](state))
        made = ops.tanh(fresh[0](given) + fresh[1](past * state))
        state = (1 - kept) * state + kept * made
    return state


def fit(train: Stream, valid: pa.Table, params: Params, start: DienRanker | None = None) -> DienRanker:
    """Fit on a stream of rows with their sequences; see ``models.rankers.deep``."""
    return fit_network(DienRanker(params=params), train, valid, start)
