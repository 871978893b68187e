"""What lies nearest to the user in the space of LightGCN."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jobs.contract import ArtifactInput, TableInput
from models import lightgcn as model
from models.channels.channel import Channel
from models.channels.sequences import Found, Users, nearest

CHANNEL = Channel(
    "lightgcn",
    "Nearest items to the user, folded into the graph of users and items from the last 50 items.",
    [TableInput("features.user_sequence"), ArtifactInput("models.lightgcn")],
    depth=60,
)


def search(users: Users, lightgcn: Path) -> Found:
    space = model.load(lightgcn)
    vectors = space.fold_in(users.matrix(space.ids, np.ones(len(users.items))))
    return nearest(space.index, vectors, users)
