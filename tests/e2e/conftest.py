"""A tiny simulated world, its history and its last night, built once for the tests that read them."""

import datetime as dt
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from jobs import steps
from jobs.lake import Lake
from jobs.session import connect
from jobs.settings import Settings, load_settings, save_market
from jobs.simulator import WorldConfig, demo_market, simulate

FIRST, LAST_HISTORY, NIGHT, NEXT = "2024-03-01", "2024-03-06", "2024-03-07", "2024-03-08"


@dataclass(frozen=True)
class BuiltWorld:
    """An installation with data."""

    home: Path
    settings: Settings

    @property
    def lake(self) -> Lake:
        return Lake(self.settings)

    def enter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        enter(self.home, monkeypatch)


def enter(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process work with an installation."""
    for name, value in environment(home).items():
        monkeypatch.setenv(name, value)


def environment(home: Path) -> dict[str, str]:
    return {"NIGHTJAR_HOME": str(home), "MLFLOW_TRACKING_URI": f"sqlite:///{home / 'mlflow.db'}"}


def land(home: Path) -> Settings:
    """Land the tiny world; the same files whoever calls it."""
    config = WorldConfig(users=150, items=240, creators=24, days=8, seed=3)
    # the night is the one that heals windows for the week's late rows
    weekday = dt.date.fromisoformat(NIGHT).weekday()
    save_market(replace(demo_market(config), heal_weekday=weekday), home)
    settings = load_settings("demo")
    simulate(config, settings.landing, home / "truth")
    return settings


@pytest.fixture(scope="session")
def world(tmp_path_factory, spark_server) -> BuiltWorld:
    """History as one range, then one night without Airflow."""
    home = tmp_path_factory.mktemp("world")
    before = dict(os.environ)
    os.environ.update(environment(home))
    try:
        settings = land(home)
        spark = connect(settings)
        steps.build_days(FIRST, LAST_HISTORY, "demo", "history", spark)
        spark.stop()
        steps.night(NIGHT, "demo", "night-1")
        yield BuiltWorld(home, settings)
    finally:
        os.environ.clear()
        os.environ.update(before)
