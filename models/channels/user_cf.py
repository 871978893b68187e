"""What users like this one took (user-based collaborative filtering)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from jobs.contract import ArtifactInput, TableInput
from models import crowd as model
from models.channels.channel import Channel
from models.channels.sequences import LONGEST, Found, Users, top_of_product


@dataclass(frozen=True)
class Params:
    """``neighbours`` of a user that count."""

    neighbours: int = 100


CHANNEL = Channel(
    "user_cf",
    "What the 100 users took whose last items are most like the user's: cosine, rare items counting more.",
    [TableInput("features.user_sequence"), ArtifactInput("models.crowd")],
    depth=60,
)


def search(users: Users, crowd: Path, params: Params) -> Found:
    known = model.load(crowd)
    theirs = model.directions_of(users.matrix(known.ids, np.ones(len(users.items))), known.rarity)
    row, column, likeness = top_of_product(theirs, known.directions.T, params.neighbours)
    near = sp.csr_array((likeness, (row, column)), shape=(len(users), known.taken.shape[0]))
    user_at, item_at, scores = top_of_product(near, known.taken, LONGEST + users.longest)
    return Found(user_at, known.ids[item_at], scores)
