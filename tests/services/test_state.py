"""Ports and credentials are chosen once, and nobody else reads the latter."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.errors import ServiceError
from jobs.services.state import REPO, State


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "home")
    state.prepare()
    return state


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_credentials_are_private_and_lasting(state: State) -> None:
    first = state.credential("login")
    assert State(state.home).credential("login") == first
    assert state.credential("other") != first
    assert mode(state.root / "credentials.json") == 0o600


def test_folders_are_private(state: State) -> None:
    # Root's PostgreSQL runs as another account, which must pass through but cannot list.
    assert mode(state.root) == (0o711 if os.geteuid() == 0 else 0o700)
    assert mode(state.folder("one", "two").parent) == 0o700
    assert mode(state.root / "one" / "two") == 0o700


def test_ports_last_unless_somebody_has_taken_them(state: State) -> None:
    port, other = state.port("spark"), state.port("mlflow")
    assert (state.port("spark"), state.port("mlflow")) == (port, other)
    with socket.create_server(("127.0.0.1", port)):
        state.renew_ports()
        assert state.port("spark") != port
    assert state.port("mlflow") == other


def test_a_lock_has_one_holder(state: State) -> None:
    with state.lock("x"), pytest.raises(ServiceError, match="holds"), state.lock("x", wait=False):
        pass
    with state.lock("x", wait=False):
        pass


def test_concurrent_commands_agree(state: State) -> None:
    code = (
        "import sys; from pathlib import Path; from jobs.services.state import State\n"
        "s = State(Path(sys.argv[1])); print(s.port('spark'), s.credential('login'))"
    )
    command = [sys.executable, "-c", code, str(state.home)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPO, text=True) for _ in range(6)]
    assert len({process.communicate()[0] for process in started}) == 1
