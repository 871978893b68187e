"""What dies is started again; what cannot start is said so, with its log."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs import services
from jobs.errors import ServiceError
from jobs.services import processes, supervise
from jobs.services.component import Component
from jobs.services.state import State

WELL = "import time; open('up', 'w').close(); time.sleep(60)"
ILL = "raise RuntimeError('no such luck')"


def component(name: str, code: str, **more: object) -> Component:
    return Component(
        name=name,
        service=name,
        command=lambda state: [sys.executable, "-c", code],
        env=lambda state: os.environ,
        cwd=lambda state: state.folder(name),
        ready=lambda state: (state.folder(name) / "up").exists(),
        prepare=lambda state: (state.folder(name) / "up").unlink(missing_ok=True),
        **more,
    )


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "home")
    state.prepare()
    state.want(["a"])
    return state


@pytest.fixture
def supervisor(state: State, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., supervise.Supervisor]]:
    made: list[Component] = []

    def make(*parts: Component) -> supervise.Supervisor:
        made.extend(parts)
        monkeypatch.setattr(supervise, "components", lambda wanted: list(parts))
        monkeypatch.setattr(supervise, "BACKOFF_S", (0.0, 0.1))
        return supervise.Supervisor(state)

    yield make
    for part in made:
        processes.stop(state, part.name, grace=1)


def tick_until(supervisor: supervise.Supervisor, condition: Callable[[], bool], seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, {name: w.report() for name, w in supervisor.watched.items()}
        supervisor.tick()
        time.sleep(0.05)


def test_a_killed_component_comes_back(state: State, supervisor: Callable[..., supervise.Supervisor]) -> None:
    run = supervisor(component("a", WELL))
    tick_until(run, lambda: "a" in run.watched and run.watched["a"].state == "ready")
    before = processes.running(state, "a").pid
    os.kill(before, signal.SIGKILL)
    tick_until(run, lambda: run.watched["a"].restarts == 1 and run.watched["a"].state == "ready")
    assert processes.running(state, "a").pid != before


def test_a_new_supervisor_takes_over_what_runs(state: State, supervisor: Callable[..., supervise.Supervisor]) -> None:
    part = component("a", WELL)
    run = supervisor(part)
    tick_until(run, lambda: "a" in run.watched and run.watched["a"].state == "ready")
    pid = processes.running(state, "a").pid
    second = supervise.Supervisor(state)
    tick_until(second, lambda: "a" in second.watched and second.watched["a"].state == "ready")
    assert processes.running(state, "a").pid == pid
    assert second.watched["a"].restarts == 0


def test_one_waits_for_another(state: State, supervisor: Callable[..., supervise.Supervisor]) -> None:
    first = component("a", "", once=True, finish=lambda state: (state.root / "done").touch())
    run = supervisor(first, component("b", WELL, after=("a",)))
    run.tick()
    assert run.watched["b"].state == "waiting"
    tick_until(run, lambda: run.watched["b"].state == "ready")
    assert run.watched["a"].state == "done"
    assert (state.root / "done").exists()


def test_a_component_that_cannot_start_is_tried_with_pauses(
    state: State, supervisor: Callable[..., supervise.Supervisor]
) -> None:
    part = component("a", ILL)
    run = supervisor(part)
    tick_until(run, lambda: "a" in run.watched and run.watched["a"].failures > 2 and run.watched["a"].state == "failed")
    assert run.watched["a"].not_before > run.watched["a"].started
    with pytest.raises(ServiceError, match="no such luck") as caught:
        services._wait(state, [part], lambda message: None)
    assert str(state.log("a")) in str(caught.value)


def test_down_where_nothing_runs_does_nothing(tmp_path: Path) -> None:
    services.down(home=tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
