"""The published lists as a reader sees them: the current release, original ids, fallbacks."""

from __future__ import annotations

from typing import Any

import pandas as pd

from jobs import releases
from jobs.lake import Lake
from jobs.settings import Settings
from jobs.show import names_of


def current_lists(settings: Settings) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    """The current release row, its personal lists and its fallback lists, by original ids.

    Raises
    ------
    PublishError
        Nothing has been published yet.
    """
    lake = Lake(settings)
    release = releases.required(lake)
    where = {"ds": release["ds"], "release_id": release["release_id"]}
    listed = ["release_id", "surface", "user_id", "rank", "item_id", "slot_type", "score"]
    lists = lake.rows("serving.recommendations", listed, **where).to_pandas()
    shared = ["release_id", "surface", "segment", "rank", "item_id", "spare"]
    fallback = lake.rows("serving.fallback", shared, **where).to_pandas()
    fallback = fallback[~fallback["spare"].eq(True)].drop(columns="spare")
    users = names_of(lake, "silver.users", "user_id", release["ds"])["original_id"]
    items = names_of(lake, "silver.items", "item_id", release["ds"])["original_id"]
    lists = lists.assign(user_id=lists["user_id"].map(users), item_id=lists["item_id"].map(items))
    return release, lists.dropna(subset=["user_id"]), fallback.assign(item_id=fallback["item_id"].map(items))


def lists_for_simulator(settings: Settings):
    """The current release in the simulator's terms: its next day reacts to these lists."""
    from jobs.simulator import ReleasedLists

    _, lists, fallback = current_lists(settings)
    regions = Lake(settings).rows("silver.users", ["ds", "original_id", "region"]).to_pandas()
    newest = regions[regions["ds"] == regions["ds"].max()].dropna(subset=["region"])
    known = set(fallback["segment"])
    segment_of = {
        user: f"region={region}"
        for user, region in zip(newest["original_id"], newest["region"])
        if f"region={region}" in known
    }
    return ReleasedLists(lists, fallback, segment_of, default_segment="everyone")
