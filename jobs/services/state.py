"""What the embedded services remember between commands: folders, ports, credentials, who was asked for."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import socket
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jobs.errors import ServiceError
from jobs.settings import home_dir

LOOPBACK = "127.0.0.1"
# A proxy of the environment must not see requests to this machine.
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))
REPO = Path(__file__).resolve().parents[2]


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step; only its owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
    os.replace(draft, path)


def free_port() -> int:
    """A TCP port that nothing listens on, on the loopback interface."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return probe.getsockname()[1]


def port_open(port: int, timeout: float = 1.0) -> bool:
    """Whether something accepts connections on a loopback port."""
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=timeout):
        return True
    return False


class State:
    """The folder ``<home>/services`` and what is recorded in it.

    Parameters
    ----------
    home
        The installation; default ``NIGHTJAR_HOME``.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = (home or home_dir()).resolve()
        self.root = self.home / "services"

    def prepare(self) -> None:
        """Make the folders. As root, PostgreSQL's own user must be able to pass through, and no more."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.root.mkdir(exist_ok=True)
        self.root.chmod(0o711 if os.geteuid() == 0 else 0o700)
        for name in ("logs", "pids"):
            self.folder(name)

    def folder(self, *parts: str) -> Path:
        """A private folder below the services' one, made where it is missing."""
        path = self.root
        for part in parts:
            # One by one: with ``parents=True`` the folders above the last would not be private.
            path = path / part
            path.mkdir(mode=0o700, exist_ok=True)
        return path

    def log(self, component: str) -> Path:
        return self.root / "logs" / f"{component}.log"

    # -- services.json: ports, places, and which services were asked for

    def read(self) -> dict[str, Any]:
        return _read_json(self.root / "services.json")

    def record(self, section: str, key: str, make: Callable[[], Any], *, again: bool = False) -> Any:
        """The recorded value; made and recorded on first use, or anew with ``again``."""
        if not again and (value := self.read().get(section, {}).get(key)) is not None:
            return value
        # Outside the lock: making one value may need another, and the lock is not re-entrant.
        fresh = make()
        with self.lock("record"):
            document = self.read()
            values = document.setdefault(section, {})
            if again or values.get(key) is None:
                values[key] = fresh
                write_private(self.root / "services.json", json.dumps(document, indent=2, sort_keys=True))
            return values[key]

    def port(self, name: str) -> int:
        return self.record("ports", name, free_port)

    def renew_ports(self) -> None:
        """Choose anew the ports that somebody has taken since. Only while no service runs."""
        for name, port in self.read().get("ports", {}).items():
            if port_open(port):
                self.record("ports", name, free_port, again=True)

    def wanted(self) -> list[str]:
        return list(self.read().get("wanted", {}).get("services", []))

    def want(self, services: Sequence[str]) -> None:
        self.record("wanted", "services", lambda: sorted(services), again=True)

    # -- credentials.json: generated once, never printed by anything but `nightjar up`

    def credential(self, name: str, make: Callable[[], str] = lambda: secrets.token_urlsafe(24)) -> str:
        path = self.root / "credentials.json"
        if (value := _read_json(path).get(name)) is not None:
            return value
        with self.lock("record"):
            known = _read_json(path)
            if name not in known:
                write_private(path, json.dumps({**known, name: make()}, indent=2, sort_keys=True))
                known = _read_json(path)
            return known[name]

    @contextmanager
    def lock(self, name: str, *, wait: bool = True) -> Iterator[None]:
        """An exclusive lock that the kernel releases when its holder dies.

        Raises
        ------
        ServiceError
            Another process holds it, and ``wait`` is False.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f"{name}.lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise ServiceError(f"Another process holds {handle.name}.") from None
            # Children must not inherit the lock: a service would hold it for as long as it lives.
            os.set_inheritable(handle.fileno(), False)
            yield


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
