"""Nights of a simulated world: its history as a range, the night that trains, a further night, and feature tables."""

from __future__ import annotations

import datetime as dt
import os
import time
from typing import Any

from bench.features import BESIDE, table
from bench.meter import Meter, engine
from bench.worlds import SERVICES, WORLDS, land
from jobs.lake import Lake

GATES = ("silver gate", "features gate", "release")
FITS = ("train", "fit")
"""Stages that check and publish what is staged, and those in which models are computed outside the engine."""


def bench(size: str = "small", days: str | None = None) -> None:
    """Measure one world, ``small`` or ``medium``; ``days`` may cut its history short, the last two are nights."""
    from jobs import steps
    from jobs.session import connect
    from jobs.simulator import WorldConfig

    os.environ.update(SERVICES[size])
    config = WorldConfig(**WORLDS[size] | ({"days": int(days)} if days else {}))
    meter = Meter(f"{size}, {config.days} days")
    started = time.monotonic()
    settings = land(config)
    meter.figure("simulate", time.monotonic() - started, "s")
    with engine() as pids, meter.watching(pids):
        dates = [str(config.date(n)) for n in range(config.days)]
        history(meter, steps, connect(settings), dates[:-2])
        for name, ds in (("first_night", dates[-2]), ("further_night", dates[-1])):
            night(meter, steps, name, ds)
        built_in_the_night(meter, Lake(settings), dates[-1])
        beside_duckdb(meter, steps, dates[-1], pids)
    meter.figure("peak_memory", meter.peak / 2**30, "GiB", "without the services of Airflow and MLflow")


def history(meter: Meter, steps: Any, spark: Any, days: list[str]) -> None:
    """Build the days before the nights, each table as one range."""
    started = time.monotonic()
    say = meter.say()
    steps.build_days(days[0], days[-1], "demo", "history", spark, say)
    say("done")
    spark.stop()
    meter.figure("history", time.monotonic() - started, "s", f"{len(days)} days as one range")


def night(meter: Meter, steps: Any, name: str, ds: str) -> None:
    """One night by the command line's steps, in this process: without Airflow's own time."""
    meter.stages.clear()
    meter.resting.clear()
    started = time.monotonic()
    say = meter.say()
    steps.night(ds, "demo", name, say)
    say("done")
    wall = time.monotonic() - started
    meter.figure(name, wall, "s")
    for stage, seconds in meter.stages.items():
        if stage != "start":
            meter.figure(f"{name}.{stage.replace(' ', '_')}", seconds, "s")
    gates = sum(meter.stages.get(stage, 0.0) for stage in GATES)
    meter.figure(f"{name}.share_of_gates", gates / wall, "share of wall time", "limit on the medium world: 0.2")
    resting = sum(seconds for stage, seconds in meter.resting.items() if stage not in FITS)
    meter.figure(
        f"{name}.share_outside_spark", resting / wall, "share of wall time", "Spark rests and no model is fitted"
    )


def built_in_the_night(meter: Meter, lake: Lake, ds: str) -> None:
    """Rows a second of each feature table as the further night built it, beside others."""
    log = lake.rows("ops.run", ds=[dt.date.fromisoformat(ds)], run_id="further_night").to_pylist()
    for row in sorted(log, key=lambda row: row["table"]):
        if row["table"].startswith("features.") and row["rows"]:
            speed = row["rows"] / row["seconds"]
            meter.figure(f"{row['table']}.in_the_night", speed, "rows/s", f"{row['rows']} rows")


def beside_duckdb(meter: Meter, steps: Any, ds: str, pids: list[int]) -> None:
    """Rows a second of the feature tables that DuckDB makes too, built once more for the last day."""
    with steps.opened("demo", "bench") as runner:
        for name in BESIDE:
            table(meter, runner, runner.catalog.node(name), dt.date.fromisoformat(ds), pids)
