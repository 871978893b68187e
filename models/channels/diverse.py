"""Exploration: a sample of the space around the user with one item of each cluster, however small its part."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.contract import ArtifactInput, TableInput
from models import item2vec as model
from models.channels.channel import Channel
from models.channels.item2vec import mean_vectors
from models.channels.sequences import Found, Users, locate, nearest, new_to_them


@dataclass(frozen=True)
class Params:
    """``pool``: nearest items of the user that the sample is drawn from; ``each``: items of a cluster in it."""

    pool: int = 400
    each: int = 2


CHANNEL = Channel(
    "diverse",
    "Of the 400 items nearest to the user in the item2vec space, the two nearest of each cluster.",
    [TableInput("features.user_sequence"), ArtifactInput("models.item2vec")],
    weight=0.2,
    depth=30,
)


def search(users: Users, item2vec: Path, params: Params) -> Found:
    space = model.load(item2vec)
    pool = new_to_them(nearest(space.index, mean_vectors(users, space, 0.9), users, params.pool), users)
    at, _ = locate(space.ids, pool.items)
    order = np.lexsort((pool.items, -np.round(pool.scores, 5), space.clusters[at], pool.user_at))
    stratum = pool.user_at[order] * (int(space.clusters.max(initial=0)) + 1) + space.clusters[at][order]
    place = np.arange(len(order)) - np.searchsorted(stratum, stratum)
    some = order[place < params.each]
    # the first of every cluster before the second of any; a cosine lies within [-1, 1]
    score = pool.scores[some] - 3 * place[place < params.each]
    return Found(pool.user_at[some], pool.items[some], score.astype(np.float32))
