"""How benchmarks measure and print: wall seconds by stage, processor seconds of the engine, peak memory."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil


@dataclass
class Meter:
    """Wall seconds by stage, and the peak resident memory of this process tree and the services."""

    size: str
    stages: dict[str, float] = field(default_factory=dict)
    peak: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def say(self) -> Callable[[str], None]:
        """A progress function that times each stage until the next is announced."""
        state = {"name": "start", "since": time.monotonic()}

        def announce(name: str) -> None:
            now = time.monotonic()
            self.stages[state["name"]] = self.stages.get(state["name"], 0.0) + now - state["since"]
            state.update(name=name, since=now)

        return announce

    @contextmanager
    def watching(self, pids: list[int]) -> Iterator[None]:
        def watch() -> None:
            while not self._stop.wait(0.5):
                self.peak = max(self.peak, sum(resident(pid) for pid in [os.getpid(), *pids]))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def figure(self, name: str, value: float, unit: str, compared_with: str | None = None) -> None:
        figure(name, value, unit, self.size, compared_with)


def figure(name: str, value: float, unit: str, size: str, compared_with: Any = None) -> None:
    """Print a figure as one JSON line."""
    line = {"name": name, "value": round(value, 3), "unit": unit, "size": size, "compared_with": compared_with}
    print(json.dumps(line), flush=True)


def resident(pid: int) -> int:
    """Bytes of a process and its children; 0 for one that has ended."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)] if pid != os.getpid() else [process]
        return sum(p.memory_info().rss for p in family)
    except psutil.NoSuchProcess:
        return 0


@contextmanager
def engine() -> Iterator[list[int]]:
    """A Spark server of this installation's own while the block runs; gives its processes."""
    from jobs.services import down, status, up

    up(["spark"])
    try:
        yield [s.pid for s in status() if s.pid is not None]
    finally:
        down()


def engine_seconds(pids: list[int]) -> float:
    """Processor seconds that this process and the engine's have used."""
    total = time.process_time()
    for pid in pids:
        process = psutil.Process(pid)
        total += sum(sum(p.cpu_times()[:2]) for p in [process, *process.children(recursive=True)])
    return total
