"""What a candidate channel declares: a file with ``CHANNEL`` and a pure ``recall``.

``recall(<inputs by name>, *, days, params, market)`` returns ``ds, user_id, item_id, score,
seed_item_id`` (the item that led to it, or null), of any length: the recall table keeps the best of
each user, drops what is not eligible, and ranks.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.contract import ArtifactInput, NoParams, TableInput


@dataclass(frozen=True)
class Channel:
    """A way to find candidates.

    Parameters
    ----------
    name
        Value of the ``channel`` partition.
    description
        One sentence for people.
    inputs
        Tables and artifacts, as a node's.
    weight
        Weight of its ranks in fusion.
    """

    name: str
    description: str
    inputs: Sequence[TableInput | ArtifactInput]
    weight: float = 1.0


@dataclass(frozen=True)
class Declared:
    """A channel with its code."""

    channel: Channel
    recall: Callable[..., Any]
    params: type


def discover_channels() -> dict[str, Declared]:
    """Every module of this package that declares a ``CHANNEL``, by name, in name order."""
    package = importlib.import_module("models.channels")
    found = {}
    for info in pkgutil.iter_modules(package.__path__, prefix="models.channels."):
        module = importlib.import_module(info.name)
        if hasattr(module, "CHANNEL"):
            found[module.CHANNEL.name] = Declared(module.CHANNEL, module.recall, getattr(module, "Params", NoParams))
    return dict(sorted(found.items()))
