"""The supervisor: one small process that starts what is wanted, and starts again what dies.

It is the only one that starts services. `up` tells it by ``services.json`` what is wanted and reads from
``supervisor.json`` how far things are; nothing else passes between them, so either may die at any moment.
A new supervisor recognises the processes that an earlier one left running.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from jobs.errors import NightjarError, ServiceError
from jobs.services import processes
from jobs.services.catalog import components
from jobs.services.component import Component
from jobs.services.state import REPO, State, write_private

NAME = "supervisor"
TICK_S = 0.5
BACKOFF_S = (0.0, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
# A process that lived this long was healthy: its next end is a new story, not the next chapter.
STEADY_S = 120.0
LOG_BYTES = 20_000_000

log = logging.getLogger("nightjar.supervisor")


@dataclass
class Watched:
    """A component and what the supervisor has seen of it."""

    component: Component
    state: str = "waiting"
    child: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    restarts: int = 0
    not_before: float = 0.0
    error: str = ""

    def report(self) -> dict[str, Any]:
        return {"state": self.state, "failures": self.failures, "restarts": self.restarts, "error": self.error}


@dataclass
class Supervisor:
    """Keeps the wanted components of one installation running."""

    state: State
    watched: dict[str, Watched] = field(default_factory=dict)
    stopping: threading.Event = field(default_factory=threading.Event)
    written: str = ""

    def run(self) -> None:
        """Tick until told to stop, then stop everything."""
        while not self.stopping.is_set():
            self.tick()
            self.stopping.wait(TICK_S)
        stop_all(self.state)
        log.info("stopped")

    def tick(self) -> None:
        for component in components(self.state.wanted()):
            self.watched.setdefault(component.name, Watched(component))
        for entry in self.watched.values():
            try:
                self._look(entry)
            except (NightjarError, OSError, LookupError) as error:
                self._failed(entry, str(error))
        self._publish()

    def _look(self, entry: Watched) -> None:
        component = entry.component
        if entry.state == "done":
            return
        process = processes.running(self.state, component.name)
        if entry.child is not None and entry.child.poll() is not None:
            self._ended(entry, entry.child.returncode)
        elif entry.state in ("starting", "ready") and process is None:
            self._ended(entry, None)
        elif entry.state == "starting":
            self._await(entry)
        elif entry.state in ("waiting", "failed") and time.monotonic() >= entry.not_before:
            self._start(entry, adopt=process is not None)

    def _start(self, entry: Watched, *, adopt: bool) -> None:
        component = entry.component
        if any(self.watched[name].state not in ("ready", "done") for name in component.after):
            return
        if component.once and component.done(self.state):
            entry.state = "done"
            return
        entry.started = time.monotonic()
        entry.state = "starting"
        if adopt:
            log.info("%s runs already", component.name)
            return
        # Children of a leader that was killed would hold its port or its files.
        processes.stop(self.state, component.name, first=component.stop_signal, grace=2)
        _turn_over(self.state.log(component.name))
        component.prepare(self.state)
        entry.child = processes.spawn(
            self.state,
            component.name,
            component.command(self.state),
            env=component.env(self.state),
            cwd=component.cwd(self.state),
            user=component.user(self.state),
        )
        log.info("%s started, pid %s", component.name, entry.child.pid)

    def _await(self, entry: Watched) -> None:
        component = entry.component
        took = time.monotonic() - entry.started
        if not component.once and component.ready(self.state):
            entry.state, entry.error = "ready", ""
            log.info("%s ready after %.1f s", component.name, took)
        elif took > component.timeout:
            processes.stop(self.state, component.name, first=component.stop_signal)
            entry.child = None
            self._failed(entry, f"not ready after {component.timeout:.0f} s")

    def _ended(self, entry: Watched, code: int | None) -> None:
        component, entry.child = entry.component, None
        if component.once and code == 0:
            component.finish(self.state)
            entry.state, entry.error = "done", ""
            log.info("%s done after %.1f s", component.name, time.monotonic() - entry.started)
            return
        if time.monotonic() - entry.started > STEADY_S:
            entry.failures = 0
        entry.restarts += entry.state == "ready"
        self._failed(entry, f"ended with {code}" if code is not None else "is gone")

    def _failed(self, entry: Watched, error: str) -> None:
        pause = BACKOFF_S[min(entry.failures, len(BACKOFF_S) - 1)]
        entry.failures += 1
        entry.state, entry.error, entry.not_before = "failed", error, time.monotonic() + pause
        log.warning("%s: %s; next start in %.0f s", entry.component.name, error, pause)

    def _publish(self) -> None:
        text = json.dumps({name: entry.report() for name, entry in self.watched.items()}, indent=2)
        if text != self.written:
            write_private(self.state.root / "supervisor.json", text)
            self.written = text


def stop_all(state: State) -> None:
    """Stop every component on record: all at once, except those that others need, which go last."""
    wanted = components(state.wanted())
    needed = {name for component in wanted for name in component.after}

    def stop(component: Component) -> None:
        processes.stop(state, component.name, first=component.stop_signal)

    with ThreadPoolExecutor(max_workers=8) as pool:
        list(pool.map(stop, [component for component in wanted if component.name not in needed]))
    for component in reversed([component for component in wanted if component.name in needed]):
        stop(component)


def ensure(state: State) -> None:
    """Start the supervisor unless it runs."""
    if processes.running(state, NAME):
        return
    processes.record_file(state, NAME).unlink(missing_ok=True)
    (state.root / "supervisor.json").unlink(missing_ok=True)
    if not any(processes.running(state, component.name) for component in components(state.wanted())):
        state.renew_ports()
    path = os.pathsep.join([str(REPO), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "jobs.services", str(state.home)]
    processes.spawn(state, NAME, command, env={**os.environ, "PYTHONPATH": path}, cwd=state.root)


def main(arguments: Sequence[str] | None = None) -> int:
    """Supervise the services of the installation named by the first argument."""
    state = State(Path((arguments or sys.argv[1:])[0]))
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr, force=True
    )
    supervisor = Supervisor(state)

    def stop(number: int, frame: FrameType | None) -> None:
        supervisor.stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        # The lock decides between two supervisors that were started in the same moment.
        with state.lock(NAME, wait=False):
            supervisor.run()
    except ServiceError as error:
        log.error("%s", error)
        return 1
    return 0


def _turn_over(path: Path) -> None:
    """Keep one old log: a service writes for months, and nobody reads the start of it."""
    if path.exists() and path.stat().st_size > LOG_BYTES:
        os.replace(path, path.with_name(f"{path.name}.1"))
