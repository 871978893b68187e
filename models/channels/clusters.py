"""Exploration: what is popular in clusters of items that the user has not touched, the nearest ones first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jobs.contract import ArtifactInput, TableInput
from models import item2vec as model
from models.channels.channel import Channel
from models.channels.item2vec import mean_vectors
from models.channels.sequences import Found, Users


@dataclass(frozen=True)
class Params:
    """``clusters`` that a user explores, the most popular ``items`` of each."""

    clusters: int = 4
    items: int = 10


CHANNEL = Channel(
    "clusters",
    "Popular items of the item2vec clusters nearest to the user among those without an item of the user.",
    [TableInput("features.user_sequence"), ArtifactInput("models.item2vec")],
    weight=0.2,
    depth=30,
    explores=True,
)


def search(users: Users, item2vec: Path, params: Params) -> Found:
    space = model.load(item2vec)
    centroids = space.centroids
    touched = users.matrix(space.ids, np.ones(len(users.items))) @ np.eye(len(centroids))[space.clusters]
    vectors = mean_vectors(users, space, 0.9)
    near = np.where(touched > 0, -np.inf, np.round(vectors.astype(float) @ centroids.T, 5))
    order = np.argsort(-near, axis=1, kind="stable")[:, : params.clusters]
    usable = np.isfinite(np.take_along_axis(near, order, axis=1)) & vectors.any(axis=1, keepdims=True)
    user_at, place = np.nonzero(usable)
    items = popular_of(space, params.items)[order[user_at, place]]
    # round by round: the best of every cluster, then the second of every cluster
    score = -(np.arange(params.items) * params.clusters + place[:, None]).astype(np.float32)
    entry, column = np.nonzero(items >= 0)
    return Found(user_at[entry], space.ids[items[entry, column]], score[entry, column])


def popular_of(space: model.ItemSpace, n: int) -> np.ndarray:
    """Places of the ``n`` items that most users of each cluster took, shape ``(clusters, n)``; -1 beyond its last."""
    order = np.lexsort((space.ids, -space.users, space.clusters))
    cluster = space.clusters[order]
    place = np.arange(len(order)) - np.searchsorted(cluster, cluster)
    made = np.full((int(cluster.max(initial=-1)) + 1, n), -1, np.int64)
    made[cluster[place < n], place[place < n]] = order[place < n]
    return made
