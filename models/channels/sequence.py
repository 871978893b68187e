"""What is taken in one go with each of the user's very last items, by item2vec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.contract import ArtifactInput, TableInput
from models import item2vec as model
from models.channels.channel import Channel
from models.channels.sequences import Found, Users, best_of_pairs, locate


@dataclass(frozen=True)
class Params:
    """``seeds``: newest items that lead on, each to its ``nearest`` items; each step back counts ``step_decay`` as
    much.
    """

    seeds: int = 5
    nearest: int = 40
    step_decay: float = 0.8


CHANNEL = Channel(
    "sequence",
    "Nearest items to each of the user's last 5 items in the item2vec space.",
    [TableInput("features.user_sequence"), ArtifactInput("models.item2vec")],
    depth=60,
)


def search(users: Users, item2vec: Path, params: Params) -> Found:
    space = model.load(item2vec)
    last = users.kept(users.step < params.seeds)
    at, known = locate(space.ids, last.items)
    found, scores = space.index.search(space.vectors[at[known]], params.nearest + 1)
    weight = params.step_decay ** last.step[known]
    entry, column = np.nonzero(np.isfinite(scores) & (scores > 0))
    pairs = Found(
        last.owner[known][entry],
        found[entry, column],
        scores[entry, column] * weight[entry],
        last.items[known][entry],
    )
    return best_of_pairs(pairs)
