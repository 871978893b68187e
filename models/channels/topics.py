"""Exploration: items of the topics that the user's items belong to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jobs.contract import ArtifactInput, TableInput
from models import topics as model
from models.channels.channel import Channel
from models.channels.sequences import LONGEST, Found, Users, top_of_product

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
    mixture = len(known.ids) * known.mixture(users.matrix(known.ids, np.ones(len(users.items))))
    user_at, item_at, scores = top_of_product(mixture, known.share, LONGEST + users.longest)
    return Found(user_at, known.ids[item_at], scores)
