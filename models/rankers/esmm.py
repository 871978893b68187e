"""ESMM (Ma et al., 2018): clicks and conversions after clicks, learnt on all that was shown, with a head for dwell.

pCTR and pCTCVR = pCTR x pCVR are held against every showing, so the conversion tower has no bias from seeing clicks
alone, and learns its embeddings from clicks as well. ``pcvr`` of a score is pCTCVR: a purchase when shown.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from models.rankers.deep import DeepParams, DeepRanker, embedded, fit_network, head, keras, tower
from models.rankers.ranker import Spec
from models.rankers.rows import Stream

RANKER = Spec(
    "esmm",
    "Entire-space multi-task model: pCTR, pCTCVR and dwell from shared embeddings.",
    ids=("user_id", "item_id"),
)
Params = DeepParams


class EsmmRanker(DeepRanker):
    """A fitted ESMM."""

    spec = RANKER

    @classmethod
    def outputs(cls, inputs: dict[str, Any], heads: tuple[str, ...], params: DeepParams) -> dict[str, Any]:
        layers = keras(params.threads).layers
        shared = layers.Concatenate()([inputs["numbers"], *[embedded(inputs[name], params) for name in RANKER.ids]])
        made = {"pctr": head("pctr", tower(shared, params), params)}
        if "pcvr" in heads:
            made["pcvr"] = made["pctr"] * head("pcvr", tower(shared, params), params)
        if "dwell" in heads:
            made["dwell"] = head("dwell", tower(shared, params), params)
        return made

    @classmethod
    def goals(cls, labels: dict[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        # a conversion without a click is none of this funnel
        after = labels | {"converted": labels["converted"] * labels["label"]}
        return super().goals(after)


def fit(train: Stream, valid: pa.Table, params: DeepParams, start: EsmmRanker | None = None) -> EsmmRanker:
    """Fit on a stream of rows of ``training.examples``; see ``models.rankers.deep``."""
    return fit_network(EsmmRanker(params=params), train, valid, start)
