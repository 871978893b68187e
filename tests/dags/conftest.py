"""What Airflow makes of the DAG files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.catalog import discover, write_manifest

HERE = Path(__file__).parent


def airflow_environment(folder: Path) -> dict[str, str]:
    """An Airflow of its own in ``folder``, with none of the caller's settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "NIGHTJAR", "PYTHONWARNINGS"))}
    return kept | {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(HERE.parents[1] / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(HERE.parents[1] / "plugins"),
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "NIGHTJAR_HOME": str(folder / "home"),
        "PYTHONPATH": str(HERE.parents[1]),
    }


def run_script(folder: Path, script: str, *arguments: str, **more: str) -> dict[str, Any]:
    """Run a script of this folder with an Airflow and a manifest in ``folder``; it prints JSON as its last line."""
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        env=airflow_environment(folder) | more,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="session")
def manifest() -> dict[str, Any]:
    """The catalogue as plain data."""
    return discover().manifest()


@pytest.fixture(scope="session")
def parse(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Parse the DAG files in a fresh process, with or without a manifest, under further environment variables."""

    def run(with_manifest: bool, **more: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("dags")
        if with_manifest:
            write_manifest(discover(), folder / "home" / "manifest.json")
        return run_script(folder, "parse_dags.py", **more)

    return run


@pytest.fixture(scope="session")
def parsed(parse: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return parse(True)


@pytest.fixture(scope="session")
def run_dag(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Run a DAG for the market `shop` with stand-ins for its steps, of which the named ones fail."""

    def run(dag_id: str, conf: dict[str, Any], *failing: str) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp(dag_id)
        write_manifest(discover(), folder / "home" / "manifest.json")
        conf = json.dumps({"market": "shop", **conf})
        return run_script(folder, "run_with_stand_ins.py", dag_id, conf, *failing)

    return run


@pytest.fixture(scope="session")
def stopped_night(run_dag: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A run of the DAG `nightly`, stopped by the gate of silver."""
    return run_dag("nightly", {"ds": "2024-03-14"}, "run_gate")


@pytest.fixture(scope="session")
def night(run_dag: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A run of the DAG `nightly` for 2024-03-14."""
    return run_dag("nightly", {"ds": "2024-03-14"})
