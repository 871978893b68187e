"""Exploration: items of the topics that the user's items belong to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jobs.contract import ArtifactInput, TableInput
from models import topics as model
from models.channels.channel import Channel
from models.channels.sequences import LONGEST, Found, Users, top

CHANNEL = Channel(
    "topics",
    "Items of the user's topics (LDA).",
    [TableInput("features.user_sequence"), ArtifactInput("models.topics")],
    weight=0.3,
    depth=30,
)


def search(users: Users, topics: Path) -> Found:
    known = model.load(topics)
    # shares of an item in a topic are about 1 / items: scaled, so that five decimals tell them apart
    scores = known.mixture(users.matrix(known.ids, np.ones(len(users.items)))) @ known.share * len(known.ids)
    user_at, item_at = top(scores, LONGEST + users.longest)
    return Found(user_at, known.ids[item_at], scores[user_at, item_at])
