"""What users like this one took (user-based collaborative filtering)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from jobs.contract import ArtifactInput, TableInput
from models import crowd as model
from models.channels.channel import Channel
from models.channels.sequences import LONGEST, Found, Users, top


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
    likeness = known.likeness(users.matrix(known.ids, np.ones(len(users.items))))
    row, column = top(likeness, params.neighbours)
    near = sp.csr_array((likeness[row, column], (row, column)), shape=likeness.shape)
    scores = (near @ known.taken).toarray()
    user_at, item_at = top(scores, LONGEST + users.longest)
    return Found(user_at, known.ids[item_at], scores[user_at, item_at])
