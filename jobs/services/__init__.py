"""The embedded services: PostgreSQL, Spark Connect, MLflow and Airflow, on loopback, under one supervisor.

Everything they keep is in ``<NIGHTJAR_HOME>/services``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.errors import ServiceError
from jobs.services import processes, supervise
from jobs.services.catalog import SERVICES, components, with_needs
from jobs.services.component import Component
from jobs.services.state import State

__all__ = ["SERVICES", "ServiceStatus", "down", "spark_url", "status", "up"]


@dataclass(frozen=True)
class ServiceStatus:
    """How one component is.

    Parameters
    ----------
    service, component
        What it is: the service ``airflow`` has several components.
    state
        ``stopped``, ``waiting`` (for another), ``starting``, ``ready``, ``done`` or ``failed``.
    url
        Where it answers; empty for those without an address.
    memory
        Bytes of it and all its children.
    """

    service: str
    component: str
    state: str
    pid: int | None
    url: str
    restarts: int
    memory: int
    log: Path


def up(
    only: Sequence[str] | None = None,
    *,
    home: Path | None = None,
    on_event: Callable[[str], None] = lambda message: None,
) -> list[ServiceStatus]:
    """Start services and wait until they answer. Those that run already are left alone.

    Parameters
    ----------
    only
        Names out of `SERVICES`; what they need is started too. Default: all.
    home
        The installation; default ``NIGHTJAR_HOME``.
    on_event
        Told in a few words of every component that becomes ready.

    Raises
    ------
    ServiceError
        A component ended or did not answer in time; the message names its log and quotes its last errors.
    """
    state = State(home)
    state.prepare()
    services = with_needs(list(only or SERVICES))
    with state.lock("up"):
        state.want(sorted({*state.wanted(), *services}))
        supervise.ensure(state)
        _wait(state, components(services), on_event)
    return status(home=home)


def down(*, home: Path | None = None) -> None:
    """Stop all services and everything that they started. Nothing happens where nothing runs."""
    state = State(home)
    if not state.root.exists():
        return
    with state.lock("up"):
        # The supervisor first, or it would start again what we stop. It stops its components itself.
        processes.stop(state, supervise.NAME, grace=60)
        supervise.stop_all(state)
        state.want([])
        (state.root / "supervisor.json").unlink(missing_ok=True)


def status(*, home: Path | None = None) -> list[ServiceStatus]:
    """How each wanted component is; asks the processes, not only the records."""
    state = State(home)
    seen = _seen(state) if processes.running(state, supervise.NAME) else {}
    return [_status(state, component, seen.get(component.name, {})) for component in components(state.wanted())]


def spark_url(home: Path | None = None) -> str:
    """Address of the embedded Spark server, whether or not it runs."""
    from jobs.services import spark

    return spark.url(State(home))


def _status(state: State, component: Component, seen: dict[str, Any]) -> ServiceStatus:
    process = processes.running(state, component.name)
    alive = process is not None or seen.get("state") in ("done", "waiting", "failed")
    return ServiceStatus(
        service=component.service,
        component=component.name,
        state=seen.get("state", "unsupervised" if process else "stopped") if alive else "stopped",
        pid=process.pid if process else None,
        url=component.url(state),
        restarts=seen.get("restarts", 0),
        memory=processes.resident_bytes([process, *process.children(recursive=True)]) if process else 0,
        log=state.log(component.name),
    )


def _wait(state: State, wanted: list[Component], on_event: Callable[[str], None]) -> None:
    open_ = {component.name: component for component in wanted}
    deadline = time.monotonic() + 60 + max(component.timeout for component in wanted) * 2
    while open_:
        seen = _seen(state)
        for name in list(open_):
            entry = seen.get(name, {})
            if entry.get("state") in ("ready", "done"):
                on_event(f"{name} is {entry['state']}")
                del open_[name]
            elif entry.get("state") == "failed" and (open_[name].once or entry["failures"] > 2):
                raise _failure(state, open_[name], entry["error"])
        if not processes.running(state, supervise.NAME):
            raise ServiceError(
                f"The supervisor is gone, see {state.log(supervise.NAME)}:\n"
                f"{processes.log_tail(state.log(supervise.NAME))}"
            )
        if open_ and time.monotonic() > deadline:
            raise _failure(state, next(iter(open_.values())), "is not ready")
        time.sleep(0.2)


def _failure(state: State, component: Component, error: str) -> ServiceError:
    log = state.log(component.name)
    return ServiceError(f"{component.name} {error}. Its log is {log}; last errors:\n{processes.log_tail(log)}")


def _seen(state: State) -> dict[str, dict[str, Any]]:
    try:
        return json.loads((state.root / "supervisor.json").read_text())
    except FileNotFoundError:
        return {}
