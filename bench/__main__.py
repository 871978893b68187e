"""``make bench``: one JSON line a figure (name, value, unit, size, compared_with), for a person to read.

``python -m bench [small] [medium]``; ``small`` by default. ``python -m bench rerank`` is reranking alone, in numpy
(bench/rerank.py). Worlds are built in an installation of their own in a temporary folder, and nothing is left behind.
Times of one machine are compared within one run only.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

WORLDS: dict[str, dict[str, Any]] = {
    "small": {"users": 2000, "items": 1500, "creators": 150, "days": 14},
    "medium": {"users": 50_000, "items": 20_000, "creators": 2_000, "days": 30},
}


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
        print(
            json.dumps(
                {
                    "name": name,
                    "value": round(value, 3),
                    "unit": unit,
                    "size": self.size,
                    "compared_with": compared_with,
                }
            ),
            flush=True,
        )


def resident(pid: int) -> int:
    """Bytes of a process and its children; 0 for one that has ended."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)] if pid != os.getpid() else [process]
        return sum(p.memory_info().rss for p in family)
    except psutil.NoSuchProcess:
        return 0


def bench(size: str) -> None:
    """One world: history as a range, the night that trains, a further night."""
    from jobs import steps
    from jobs.services import down, status, up
    from jobs.session import connect
    from jobs.settings import load_settings, save_market
    from jobs.simulator import WorldConfig, demo_market, simulate

    config = WorldConfig(**WORLDS[size])
    save_market(demo_market(config))
    settings = load_settings("demo")
    meter = Meter(size)
    started = time.monotonic()
    simulate(config, settings.landing, settings.home / "truth")
    meter.figure("simulate", time.monotonic() - started, "s")
    up(["spark"])
    try:
        pids = [s.pid for s in status() if s.pid is not None]
        with meter.watching(pids):
            _nights(meter, steps, connect(settings), settings, config, pids)
    finally:
        down()
    meter.figure("peak_memory", meter.peak / 2**30, "GiB")


def _nights(meter: Meter, steps: Any, spark: Any, settings: Any, config: Any, pids: list[int]) -> None:
    days = [str(config.date(n)) for n in range(config.days)]
    started = time.monotonic()
    say = meter.say()
    steps.build_days(days[0], days[-3], "demo", "history", spark, say)
    say("done")
    spark.stop()
    meter.figure("history", time.monotonic() - started, "s", f"{config.days - 2} days as one range")
    for name, ds in (("first_night", days[-2]), ("further_night", days[-1])):
        meter.stages.clear()
        before, started = engine_seconds(pids), time.monotonic()
        say = meter.say()
        steps.night(ds, "demo", name, say)
        say("done")
        wall = time.monotonic() - started
        meter.figure(
            name, wall, "s", "limit of a further night through Airflow: 180 s" if name != "first_night" else None
        )
        for stage, seconds in meter.stages.items():
            if stage != "start":
                meter.figure(f"{name}.{stage.replace(' ', '_')}", seconds, "s")
        busy = (engine_seconds(pids) - before) / psutil.cpu_count()
        meter.figure(f"{name}.share_outside_spark", max(0.0, 1 - busy / wall), "share of wall time", "both cores busy")


def engine_seconds(pids: list[int]) -> float:
    """CPU seconds that the engine's processes have used."""
    total = 0.0
    for pid in pids:
        process = psutil.Process(pid)
        total += sum(sum(p.cpu_times()[:2]) for p in [process, *process.children(recursive=True)])
    return total


def main() -> None:
    if sys.argv[1:] == ["rerank"]:
        from bench.rerank import main as rerank

        return rerank()
    for size in sys.argv[1:] or ["small"]:
        home = Path(tempfile.mkdtemp(prefix="njb"))
        os.environ.update(NIGHTJAR_HOME=str(home), MLFLOW_TRACKING_URI=f"sqlite:///{home / 'mlflow.db'}")
        os.environ.pop("NIGHTJAR_SPARK", None)
        try:
            bench(size)
        finally:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
