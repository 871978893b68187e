"""The embedded MLflow server: metadata in PostgreSQL, artifacts in a folder that only it writes to."""

from __future__ import annotations

import os
import sys
import urllib.error
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from jobs.services import postgres
from jobs.services.component import Component
from jobs.services.state import LOCAL, LOOPBACK, State


def url(state: State) -> str:
    """The address for clients and people."""
    return f"http://{LOOPBACK}:{state.port('mlflow')}"


def command(state: State) -> Sequence[str]:
    artifacts = state.folder("mlflow", "artifacts")
    return [
        str(Path(sys.executable).parent / "mlflow"),
        "server",
        "--host", LOOPBACK,
        "--port", str(state.port("mlflow")),
        "--workers", "1",
        "--backend-store-uri", postgres.uri(state, "mlflow"),
        "--serve-artifacts",
        "--artifacts-destination", artifacts.as_uri(),
    ]  # fmt: skip


def environment(state: State) -> Mapping[str, str]:
    """No telemetry, and none of the job runners that serve features which Nightjar does not use."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    return {
        **kept,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "OMP_NUM_THREADS": "1",
    }


def ready(state: State) -> bool:
    with suppress(OSError, urllib.error.URLError):
        return LOCAL.open(f"{url(state)}/health", timeout=2).status == 200
    return False


def components() -> list[Component]:
    """The server."""
    return [
        Component(
            name="mlflow",
            service="mlflow",
            command=command,
            env=environment,
            cwd=lambda state: state.folder("mlflow"),
            ready=ready,
            after=("postgres",),
            url=url,
            timeout=180,
        )
    ]
