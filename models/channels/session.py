"""What goes with the items of the user's last session; all that is known of somebody who came for the first time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobs.contract import ArtifactInput, TableInput
from models import neighbours as model
from models.channels.channel import Channel
from models.channels.sequences import Found, Users, led_to


@dataclass(frozen=True)
class Params:
    """``gap_minutes`` between two actions end a session; each step back counts ``step_decay`` as much."""

    gap_minutes: int = 30
    step_decay: float = 0.8


CHANNEL = Channel(
    "session",
    "Neighbours of the items of the user's last session by co-occurrence.",
    [TableInput("features.user_sequence"), ArtifactInput("models.neighbours")],
    weight=0.5,
    depth=60,
)


def search(users: Users, neighbours: Path, params: Params) -> Found:
    known = model.load(neighbours)
    last = users.kept(users.in_last_session(params.gap_minutes * 60_000))
    return led_to(last, last.weights(params.step_decay), known.ids, known.by_kind["together"])
