"""What a candidate channel declares: a file with ``CHANNEL`` and the one or two functions that find its items.

What a file defines says how it is run. Each function takes the inputs that it names, ``days``, ``params`` and
``market`` as it needs them.

``recall(…)``
    Any frame of ``ds, user_id, item_id, score, seed_item_id`` (the item that led to it, or null).
``keys(…)``, and ``postings(…)``
    An inverted index: ``ds, user_id, key, weight`` of users meets ``ds, key, item_id, score`` of items
    (`models.channels.inverted`). Without ``postings`` a key's items are those that most users with it took.
``search(users, …)``
    numpy over a batch of users with their last items (`models.channels.sequences`), on artifacts that are given as
    paths.

Channels of one kind are found in one pass, whatever their number. The recall table keeps the best of each user,
drops what is not eligible, and ranks.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.contract import ArtifactInput, DayRange, NoParams, TableInput
from jobs.errors import ContractError
from jobs.settings import Market

KINDS = ("recall", "keys", "search")
AUDITED_DEPTH = 200
"""Candidates that are kept of users on whom channels are compared: the budget of the fused list."""


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
        Tables and artifacts, as a node's. What a market may lack is optional: the channel then finds nothing.
    weight
        Weight of its ranks in fusion.
    depth
        Candidates per user that fusion reads.
    explores
        It leads away from what the user is known to like, on purpose.
    personal
        What it finds depends on what the user did or said, and not only on a group that they are of, or on nobody.
    """

    name: str
    description: str
    inputs: Sequence[TableInput | ArtifactInput]
    weight: float = 1.0
    depth: int = 40
    explores: bool = False
    personal: bool = True


@dataclass(frozen=True)
class Declared:
    """A channel with its code."""

    channel: Channel
    functions: Mapping[str, Callable[..., Any]]
    params: type

    @property
    def kind(self) -> str:
        """Which of ``KINDS`` it is.

        Raises
        ------
        ContractError
            Its file defines none of their functions, or several.
        """
        kinds = [kind for kind in KINDS if kind in self.functions]
        if len(kinds) != 1:
            raise ContractError(f"Channel {self.channel.name} must define one of {KINDS}, not {kinds}.")
        return kinds[0]


@dataclass(frozen=True)
class Call:
    """A channel with all that its functions may be given."""

    declared: Declared
    inputs: Mapping[str, Any]
    days: DayRange
    params: Any
    market: Market

    @property
    def channel(self) -> Channel:
        return self.declared.channel

    def arguments(self, function: str) -> dict[str, Any]:
        """What the function names of the channel's inputs, ``days``, ``params`` and ``market``."""
        given = {i.argument: self.inputs[i.argument] for i in self.channel.inputs}
        given |= {"days": self.days, "params": self.params, "market": self.market}
        named = inspect.signature(self.declared.functions[function]).parameters
        return {name: value for name, value in given.items() if name in named}

    def __call__(self, function: str) -> Any:
        return self.declared.functions[function](**self.arguments(function))


def discover_channels() -> dict[str, Declared]:
    """Every module of this package that declares a ``CHANNEL``, by name, in name order."""
    package = importlib.import_module("models.channels")
    found = {}
    for info in pkgutil.iter_modules(package.__path__, prefix="models.channels."):
        module = importlib.import_module(info.name)
        if hasattr(module, "CHANNEL"):
            functions = {name: getattr(module, name) for name in (*KINDS, "postings") if hasattr(module, name)}
            found[module.CHANNEL.name] = Declared(module.CHANNEL, functions, getattr(module, "Params", NoParams))
    return dict(sorted(found.items()))
