"""What a detector of bad cases declares: a file with ``DETECTOR`` and a pure ``detect``.

``detect(<inputs by name>, *, days, params, market)`` returns ``ds, user_id, item_id, category, excess, evidence``:
whom and what it is about (each null where it does not apply), how far the limit was passed (1 is just reached), and
the figures as JSON. At most one row per day, user, item and category.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.contract import NoParams, TableInput

CANDIDATES, RANKING, POLICY = "candidates", "ranking", "policy"
CONTENT, DELIVERY = "content", "delivery"
LAYERS = (CANDIDATES, RANKING, POLICY, CONTENT, DELIVERY)


@dataclass(frozen=True)
class Detector:
    """A kind of bad case.

    Parameters
    ----------
    name
        Value of ``type``.
    description
        One sentence for people.
    inputs
        Tables, as a node's.
    layers
        Layers that may have caused it, in the order in which they are looked at.
    otherwise
        The layer that is to blame when none of these shows a fault.
    stops
        The item is kept from the user (from everyone, where the case names nobody) for seven days.
    label
        What a ranker should learn of the pair: 0 shown wrongly, 1 missed, None nothing.
    """

    name: str
    description: str
    inputs: Sequence[TableInput]
    layers: tuple[str, ...] = ()
    otherwise: str = POLICY
    stops: bool = False
    label: int | None = None


@dataclass(frozen=True)
class Declared:
    """A detector with its code."""

    detector: Detector
    detect: Callable[..., Any]
    params: type


def discover_detectors() -> dict[str, Declared]:
    """Every module of this package that declares a ``DETECTOR``, by name, in name order."""
    package = importlib.import_module("quality.badcases")
    found = {}
    for info in pkgutil.iter_modules(package.__path__, prefix="quality.badcases."):
        if info.name in (__name__, *_NODES):
            continue
        module = importlib.import_module(info.name)
        if hasattr(module, "DETECTOR"):
            made = Declared(module.DETECTOR, module.detect, getattr(module, "Params", NoParams))
            found[made.detector.name] = made
    return dict(sorted(found.items()))


# they are made from the detectors, and would be read in a circle
_NODES = ("quality.badcases.detected", "quality.badcases.causes")
