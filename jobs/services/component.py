"""What the supervisor needs to know of a process: how to start it, when it is ready, how to end it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.services.state import State


def _nothing(state: State) -> None:
    return None


def _nobody(state: State) -> str | None:
    return None


def _nowhere(state: State) -> str:
    return ""


def _never(state: State) -> bool:
    return False


@dataclass(frozen=True)
class Component:
    """One process of a service.

    Parameters
    ----------
    name, service
        The process and the service that it belongs to; a service may have several.
    command, env, cwd
        How it is started; functions of the state, so that nothing is looked up before it is needed.
    ready
        Whether it answers. It is asked every half second until it first does.
    after
        Components that must be ready first.
    prepare
        Called right before each start: folders, configuration, left-overs of a killed process.
    once, done, finish
        A job that runs to its end instead of staying; ``done`` says that it need not run again, and
        ``finish`` is called when it has succeeded.
    user
        Another account to run as.
    url
        Where people or clients reach it.
    timeout
        Seconds that a start may take.
    stop_signal
        The signal that asks for an orderly end.
    """

    name: str
    service: str
    command: Callable[[State], Sequence[str]]
    env: Callable[[State], Mapping[str, str]]
    cwd: Callable[[State], Path]
    ready: Callable[[State], bool]
    after: tuple[str, ...] = ()
    prepare: Callable[[State], None] = _nothing
    once: bool = False
    done: Callable[[State], bool] = _never
    finish: Callable[[State], None] = _nothing
    user: Callable[[State], str | None] = _nobody
    url: Callable[[State], str] = _nowhere
    timeout: float = 120.0
    stop_signal: signal.Signals = signal.SIGTERM
