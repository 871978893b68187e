"""Nights of a simulated world: its history as a range, the night that trains, and a further night."""

from __future__ import annotations

import time
from typing import Any

import psutil

from bench.meter import Meter, engine, engine_seconds
from bench.worlds import WORLDS


def bench(size: str = "small") -> None:
    """Measure one world, ``small`` or ``medium``."""
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
