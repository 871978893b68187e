"""``make bench``: one JSON line a figure (name, value, unit, size, compared_with), for a person to read.

``python -m bench [small] [medium]`` are nights of a simulated world, ``small`` by default; ``python -m bench features
[small|medium]`` are the feature tables one by one beside DuckDB; ``python -m bench completejourney-month [DIR]`` is a
month of real data. Each uses an installation of its own in a temporary folder and leaves nothing behind. Times of one
machine are compared within one run only.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from bench.meter import Meter, engine, engine_seconds
from bench.worlds import WORLDS


def nights(size: str) -> None:
    """One world: history as a range, the night that trains, a further night."""
    from jobs import steps
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
    with engine() as pids, meter.watching(pids):
        _nights(meter, steps, connect(settings), settings, config, pids)
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


def chosen(words: list[str]) -> list[Callable[[], None]]:
    """The benchmarks that the command line names."""
    if words[:1] == ["features"]:
        from bench import features

        return [partial(features.bench, size) for size in words[1:] or ["small"]]
    if words[:1] == ["completejourney-month"]:
        from bench import month

        return [partial(month.bench, *words[1:])]
    return [partial(nights, size) for size in words or ["small"]]


def main() -> None:
    for run in chosen(sys.argv[1:]):
        home = Path(tempfile.mkdtemp(prefix="njb"))
        os.environ.update(NIGHTJAR_HOME=str(home), MLFLOW_TRACKING_URI=f"sqlite:///{home / 'mlflow.db'}")
        os.environ.pop("NIGHTJAR_SPARK", None)
        try:
            run()
        finally:
            shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
