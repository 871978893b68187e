"""The index over ALS item factors, for the embedding channel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.contract import Artifact, ArtifactInput, DayRange
from models import als
from models.ann import IndexParams, build_index

CONTRACT = Artifact(
    name="models.item_index",
    group="fit",
    owner="candidates",
    description="FAISS index over the ALS item factors with id map and recall measured against exact search.",
    log="ops.index",
    inputs=[ArtifactInput("models.als", alias="als_path")],
)


@dataclass(frozen=True)
class Params(IndexParams):
    """ALS predicts by inner product."""

    metric: str = "inner_product"


def build(als_path: Path, *, days: DayRange, params: Params, out: Path) -> dict[str, Any]:
    ids, factors, _ = als.load(als_path)
    return build_index(ids, factors, out, params, als.queries(als_path))
