"""Where alerts go by an Airflow connection, in a real Airflow's process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dags.conftest import airflow_environment

SCRIPT = """
import airflow.sdk
from jobs import alerts
found = alerts.receiver()
print([found.url, found.token] if found else None)
"""
CONNECTION = {"conn_type": "http", "host": "http://127.0.0.1:9/hook", "password": "a long token"}


@pytest.mark.parametrize("there", [True, False])
def test_the_connection_names_the_receiver(tmp_path: Path, there: bool) -> None:
    env = airflow_environment(tmp_path) | ({"AIRFLOW_CONN_NIGHTJAR_ALERTS": json.dumps(CONNECTION)} if there else {})
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == (f"{[CONNECTION['host'], CONNECTION['password']]}" if there else "None")
