"""A night through a real Airflow: the same tables as by the command line, also where Spark and the scheduler die."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from jobs import releases, steps
from jobs.catalog import write_manifest
from jobs.contract import DayRange
from jobs.lake import Lake
from jobs.nightly import ready
from jobs.services import down, processes, status, up
from jobs.services.state import State
from jobs.session import connect
from jobs.settings import Settings
from tests.e2e.conftest import FIRST, LAST_HISTORY, NEXT, NIGHT, environment, land
from tests.e2e.test_night import PER_DAY, VERSIONED, contents

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def by_airflow():
    """An installation with every service and the tiny world's history."""
    home = Path(tempfile.mkdtemp(prefix="njn"))
    home.chmod(0o711)  # PostgreSQL's own account passes through it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTJAR_HOME", str(home))
        for name in ("NIGHTJAR_SPARK", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        try:
            write_manifest(steps.catalog(), home / "manifest.json")
            up(home=home)
            settings = land(home)
            build_history(settings)
            yield settings
        finally:
            down(home=home)
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def by_command(by_airflow, tmp_path_factory):
    """Another installation with the same world; its nights run without Airflow, on the same engine.

    Gives each night's release and hashes, as they are before the next one: that heals the day for rows that came late.
    """
    home = tmp_path_factory.mktemp("command")
    spark = f"sc://127.0.0.1:{State(by_airflow.home).port('spark')}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**environment(home), "NIGHTJAR_SPARK": spark}.items():
            patch.setenv(name, value)
        settings = replace(land(home), spark=spark)
        build_history(settings)
        made = {}
        for night in (NIGHT, NEXT):
            release = steps.night(night, "demo", f"night-{night}")
            made[night] = release["release_id"], content(settings, night)
    return made


def build_history(settings: Settings) -> None:
    spark = connect(settings)
    steps.build_days(FIRST, LAST_HISTORY, "demo", "history", spark)
    spark.stop()


def content(settings: Settings, night: str) -> dict[str, str]:
    """Hashes of every table of a night."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTJAR_HOME", str(settings.home))
        if settings.spark:
            patch.setenv("NIGHTJAR_SPARK", settings.spark)
        with steps.opened("demo", "reader") as runner:
            return contents(runner, PER_DAY + VERSIONED, DayRange.day(night))


def kill_when(api, run_id: str, task: str, settings: Settings, component: str, seen: list[str]) -> threading.Thread:
    """Kill a component with SIGKILL a moment after a task has begun to work."""

    def watch() -> None:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            if api.tasks("nightly", run_id).get(task) == "running":
                time.sleep(4)
                found = processes.running(State(settings.home), component)
                for each in (found, *found.children(recursive=True)):
                    os.kill(each.pid, signal.SIGKILL)
                psutil.wait_procs([found], timeout=30)
                seen.append(component)
                return
            time.sleep(0.5)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def test_airflow_and_the_command_line_make_the_same_night(by_airflow, by_command):
    api = ready(by_airflow.home)
    run_id = api.trigger("nightly", NIGHT, {"market": "demo"})
    api.wait("nightly", run_id, timeout=1800)
    assert (releases.current(Lake(by_airflow))["release_id"], content(by_airflow, NIGHT)) == by_command[NIGHT]


def test_no_service_is_open_to_another_machine(by_airflow):
    state = State(by_airflow.home)
    found = {entry.component: processes.family(state, entry.component) for entry in status(home=by_airflow.home)}
    assert {"postgres", "spark", "mlflow", "airflow-scheduler"} <= {name for name, family in found.items() if family}
    assert processes.listening_outside_loopback(p.pid for family in found.values() for p in family) == []


def test_a_night_survives_the_death_of_spark_and_of_the_scheduler(by_airflow, by_command):
    """Runs after the night before it; both kills hit the same night."""
    api = ready(by_airflow.home)
    before = releases.current(Lake(by_airflow))["release_id"]
    run_id = api.trigger("nightly", NEXT, {"market": "demo"})
    killed: list[str] = []
    watchers = [
        kill_when(api, run_id, "features.features", by_airflow, "spark", killed),
        kill_when(api, run_id, "publish.serving", by_airflow, "airflow-scheduler", killed),
    ]
    watchers[0].join(700)
    assert releases.current(Lake(by_airflow))["release_id"] == before  # what was served still is
    api.wait("nightly", run_id, timeout=2400)
    watchers[1].join(10)
    assert killed == ["spark", "airflow-scheduler"]
    assert (releases.current(Lake(by_airflow))["release_id"], content(by_airflow, NEXT)) == by_command[NEXT]
