"""How benchmarks measure and print: wall seconds by stage, processor seconds of the engine, peak memory."""

from __future__ import annotations

import json
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psutil

RESTS = 0.1
"""Cores: an engine that uses less rests."""


@dataclass
class Meter:
    """Wall seconds by stage, those of them in which the engine rests, and the peak of memory held.

    The engine rests while it uses less than a tenth of a core. Memory is the resident memory of this process tree and
    the services.
    """

    size: str
    stages: dict[str, float] = field(default_factory=dict)
    resting: dict[str, float] = field(default_factory=dict)
    peak: int = 0
    _stage: str = "start"
    _stop: threading.Event = field(default_factory=threading.Event)

    def say(self) -> Callable[[str], None]:
        """A progress function that times each stage until the next is announced."""
        since = time.monotonic()
        self._stage = "start"

        def announce(name: str) -> None:
            nonlocal since
            now = time.monotonic()
            self.stages[self._stage] = self.stages.get(self._stage, 0.0) + now - since
            self._stage, since = name, now

        return announce

    @contextmanager
    def watching(self, pids: list[int]) -> Iterator[None]:
        def watch() -> None:
            used, at = processor_seconds(pids), time.monotonic()
            while not self._stop.wait(0.5):
                self.peak = max(self.peak, sum(resident(pid) for pid in [os.getpid(), *pids]))
                (before, used), (since, at) = (used, processor_seconds(pids)), (at, time.monotonic())
                if used - before < RESTS * (at - since):
                    self.resting[self._stage] = self.resting.get(self._stage, 0.0) + at - since

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


def peak_memory() -> float:
    """The most GiB that this process alone ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


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


def processor_seconds(pids: list[int]) -> float:
    """Processor seconds that processes and their children have used; ended ones count for nothing."""
    total = 0.0
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            total += sum(sum(p.cpu_times()[:2]) for p in [process, *process.children(recursive=True)])
    return total


def engine_seconds(pids: list[int]) -> float:
    """Processor seconds that this process and the engine's have used."""
    return time.process_time() + processor_seconds(pids)
