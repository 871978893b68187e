"""One writer a table: an exclusive lock with a fencing token.

A lock is a file. ``flock`` makes it exclusive and lets it go when its process dies; the number in it
grows with each holder, so a writer that lost the lock (a zombie) is recognised before it commits.
The file also names the holder's process, for a person who wonders who holds it.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import PublishError


@dataclass(frozen=True)
class Token:
    """The right to commit to one table: number ``value`` of ``path``."""

    path: Path
    value: int

    def verify(self) -> None:
        """Raise unless this is still the newest holder's token.

        Raises
        ------
        PublishError
            A later attempt took the lock.
        """
        newest = _read(self.path)
        if newest != self.value:
            raise PublishError(
                f"The publish of {self.path.stem} was refused: attempt {newest} took over from attempt {self.value}."
            )


def _read(path: Path) -> int:
    text = path.read_text() if path.exists() else ""
    return int(json.loads(text)["token"]) if text else 0


@contextmanager
def exclusive(folder: Path, name: str, timeout_s: float = 600.0) -> Iterator[Token]:
    """Hold the lock ``name`` in ``folder``, waiting up to ``timeout_s`` seconds.

    Raises
    ------
    PublishError
        Another process held the lock for all of that time.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise PublishError(f"{name} is being written by another run for over {timeout_s:.0f} s.") from None
                time.sleep(0.05)
        token = Token(path, _read(path) + 1)
        body = json.dumps({"token": token.value, "pid": os.getpid()}).encode()
        os.pwrite(descriptor, body, 0)
        os.ftruncate(descriptor, len(body))
        yield token
    finally:
        os.close(descriptor)
