"""DeepFM (Guo et al., 2017): a factorisation machine and a network on the same embeddings.

With ``form="wide_deep"`` it is Wide & Deep (Cheng et al., 2016): the linear part and the network alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs.errors import ContractError
from models.rankers.deep import DeepParams, DeepRanker, embedded, fit_network, head, keras, tower
from models.rankers.ranker import Spec
from models.rankers.rows import Stream

FORMS = ("deepfm", "wide_deep")
RANKER = Spec(
    "deepfm",
    "DeepFM on hashed users and items and all features; Wide & Deep with form=wide_deep.",
    ids=("user_id", "item_id"),
)


@dataclass(frozen=True)
class Params(DeepParams):
    """``form``: deepfm, or wide_deep, which has no second-order part."""

    form: str = "deepfm"

    def __post_init__(self) -> None:
        if self.form not in FORMS:
            raise ContractError(f"The ranker deepfm has no form {self.form!r}; it has {FORMS}.")


class DeepFMRanker(DeepRanker):
    """A fitted DeepFM."""

    spec = RANKER
    takes = Params

    @classmethod
    def outputs(cls, inputs: dict[str, Any], heads: tuple[str, ...], params: Params) -> dict[str, Any]:
        layers = keras(params.threads).layers
        dense = inputs["numbers"]
        keys = [embedded(inputs[name], params) for name in RANKER.ids]
        # the numbers of a row are one field: the sum of each value times the factors of its feature
        fields = [*keys, layers.Dense(params.width, use_bias=False)(dense)]
        shared = tower(layers.Concatenate()([dense, *keys]), params)
        made = {}
        for name in heads:
            wide = layers.Dense(1)(dense) + sum(embedded(inputs[key], params, width=1) for key in RANKER.ids)
            if params.form == "deepfm":
                # the sum over pairs of fields of <v_i, v_j>, as half of (square of sum) less (sum of squares)
                pairs = 0.5 * (sum(fields) ** 2 - sum(each**2 for each in fields))
                wide = wide + layers.Dense(1, kernel_initializer="ones")(pairs)
            made[name] = head(name, shared, params, wide)
        return made


def fit(train: Stream, valid: pa.Table, params: Params, start: DeepFMRanker | None = None) -> DeepFMRanker:
    """Fit on a stream of rows of ``training.examples``; see ``models.rankers.deep``."""
    return fit_network(DeepFMRanker(params=params), train, valid, start)
