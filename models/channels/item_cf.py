"""What goes with the items that the user liked last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobs.contract import ArtifactInput, TableInput
from models import neighbours as model
from models.channels.channel import Channel
from models.channels.sequences import Found, Users, led_to


@dataclass(frozen=True)
class Params:
    """``seeds``: how many of the user's newest items lead on; each step back counts ``step_decay`` as much."""

    seeds: int = 30
    step_decay: float = 0.95


CHANNEL = Channel(
    "item_cf",
    "Neighbours of the user's last items by co-occurrence.",
    [TableInput("features.user_sequence"), ArtifactInput("models.neighbours")],
    weight=1.0,
    depth=60,
)


def search(users: Users, neighbours: Path, params: Params) -> Found:
    known = model.load(neighbours)
    last = users.kept(users.step < params.seeds)
    return led_to(last, last.weights(params.step_decay), known.ids, known.by_kind["together"])
