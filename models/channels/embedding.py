"""What lies nearest to the user in the space of ALS factors."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jobs.contract import ArtifactInput, TableInput
from models import als as model
from models.channels.channel import Channel
from models.channels.sequences import Found, Users, index_at, locate, nearest

CHANNEL = Channel(
    "embedding",
    "Nearest items to the user, folded into the ALS space from the last 50 items.",
    [TableInput("features.user_sequence"), ArtifactInput("models.als"), ArtifactInput("models.item_index")],
    depth=60,
)


def search(users: Users, als: Path, item_index: Path) -> Found:
    ids, factors, fitted = model.load(als)
    if not len(ids):
        return Found.nothing()
    at, known = locate(ids, users.items)
    of_known = users.kept(known)
    cuts = of_known.starts[1:-1]
    vectors = model.fold_in(factors, np.split(at[known], cuts), np.split(of_known.strengths, cuts), fitted)
    return nearest(index_at(item_index).require(ids, factors), vectors, users)
