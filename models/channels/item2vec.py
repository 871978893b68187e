"""What lies nearest to the user's last items together, in the space of item2vec."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.contract import ArtifactInput, TableInput
from models import item2vec as model
from models.channels.channel import Channel
from models.channels.sequences import Found, Users, nearest


@dataclass(frozen=True)
class Params:
    """``step_decay``: an item counts so much of the next newer one in the user's vector."""

    step_decay: float = 0.9


CHANNEL = Channel(
    "item2vec",
    "Nearest items to the mean of the user's last items in the item2vec space, newer ones counting more.",
    [TableInput("features.user_sequence"), ArtifactInput("models.item2vec")],
    depth=60,
)


def search(users: Users, item2vec: Path, params: Params) -> Found:
    space = model.load(item2vec)
    return nearest(space.index, mean_vectors(users, space, params.step_decay), users)


def mean_vectors(users: Users, space: model.ItemSpace, step_decay: float) -> np.ndarray:
    """Weighted sums of the vectors of users' items, float32; zeros for a user without a known item."""
    return np.asarray(users.matrix(space.ids, step_decay**users.step) @ space.vectors, dtype=np.float32)
