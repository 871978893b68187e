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
        "AIRFLOW__CORE__UNIT_TEST_MODE": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "NIGHTJAR_HOME": str(folder / "home"),
        "PYTHONPATH": str(HERE.parents[1]),
    }


def run_python(folder: Path, script: Path, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        env=airflow_environment(folder),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="session")
def manifest() -> dict[str, Any]:
    """The catalogue as plain data."""
    return discover().manifest()


@pytest.fixture(scope="session")
def parse(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], dict[str, Any]]:
    """Parse the DAG files in a fresh process, with or without a manifest."""

    def run(with_manifest: bool) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp("dags")
        if with_manifest:
            write_manifest(discover(), folder / "home" / "manifest.json")
        done = run_python(folder, HERE / "parse_dags.py")
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="session")
def parsed(parse: Callable[[bool], dict[str, Any]]) -> dict[str, Any]:
    return parse(True)
