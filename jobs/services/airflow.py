"""The embedded Airflow: scheduler, DAG processor, triggerer and API server, one process each.

``airflow standalone`` is not used: it opens log servers on all interfaces and leaves orphans when it ends.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import urllib.error
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jobs.services import mlflow, postgres, processes, spark
from jobs.services.component import Component
from jobs.services.state import LOCAL, LOOPBACK, REPO, State, write_private

USERS = {"admin": "admin", "viewer": "viewer"}
CONNECTION = "AIRFLOW_CONN_NIGHTJAR_SPARK"
HEALTH_TIMEOUT_S = 3


def url(state: State) -> str:
    """The address for people and clients."""
    return f"http://{LOOPBACK}:{state.port('airflow')}"


def home(state: State) -> Path:
    return state.folder("airflow")


def password(state: State, user: str = "admin") -> str:
    """The generated password of a user of the web page."""
    return state.credential(f"airflow_{user}")


def airflow_env(home_dir: Path | None = None) -> dict[str, str]:
    """Every variable that an ``airflow`` command of an installation needs, secrets included: never print it.

    Parameters
    ----------
    home_dir
        The installation; default ``NIGHTJAR_HOME``.
    """
    state = State(home_dir)
    # Settings of another Airflow or Spark of the user's must not leak in.
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW_", "SPARK_", "PYSPARK_", "_AIRFLOW"))}
    path = os.pathsep.join([str(REPO), *filter(None, [os.environ.get("PYTHONPATH")])])
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**kept, **_settings(state), **_secrets(state), **_nightjar(state), "PYTHONPATH": path, "PATH": programs}


def _settings(state: State) -> dict[str, str]:
    address = url(state)
    options: dict[str, dict[str, Any]] = {
        "core": {
            "executor": "LocalExecutor",
            "parallelism": os.environ.get("NIGHTJAR_PARALLELISM", "4"),
            "dags_folder": REPO / "dags",
            "plugins_folder": REPO / "plugins",
            "load_examples": False,
            # Scheduled DAGs say themselves that they begin paused; a DAG that a person starts must not wait.
            "dags_are_paused_at_creation": False,
            "auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
            "simple_auth_manager_users": ",".join(f"{user}:{role}" for user, role in USERS.items()),
            "simple_auth_manager_passwords_file": home(state) / "passwords.json",
            "simple_auth_manager_all_admins": False,
            "execution_api_server_url": f"{address}/execution/",
            # A name that resolves without the network; logs lie in a folder that all components share.
            "hostname_callable": "jobs.services.airflow_host.hostname",
            "default_timezone": "utc",
        },
        "database": {
            "sql_alchemy_conn": postgres.uri(state, "airflow"),
            "sql_alchemy_conn_async": postgres.uri(state, "airflow", driver="asyncpg"),
            "sql_alchemy_pool_size": 5,
        },
        "api": {
            "host": LOOPBACK,
            "port": state.port("airflow"),
            "base_url": address,
            "workers": 1,
            "expose_config": False,
            "expose_stacktrace": False,
        },
        "dag_processor": {"refresh_interval": 30, "parsing_processes": 1},
        "logging": {"base_log_folder": home(state) / "logs"},
        "scheduler": {"enable_health_check": False},
        "usage_data_collection": {"enabled": False},
    }
    return {f"AIRFLOW__{s.upper()}__{o.upper()}": str(v) for s, values in options.items() for o, v in values.items()}


def _secrets(state: State) -> dict[str, str]:
    def fernet() -> str:
        return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()

    return {
        "AIRFLOW__CORE__FERNET_KEY": state.credential("airflow_fernet_key", fernet),
        "AIRFLOW__API__SECRET_KEY": state.credential("airflow_secret_key"),
        # 512 bits, what the signature's algorithm asks for.
        "AIRFLOW__API_AUTH__JWT_SECRET": state.credential("airflow_jwt_secret", lambda: secrets.token_urlsafe(64)),
    }


def _nightjar(state: State) -> dict[str, str]:
    address = os.environ.get("NIGHTJAR_SPARK") or spark.url(state)
    tracking = os.environ.get("NIGHTJAR_MLFLOW") or mlflow.url(state)
    return {
        "AIRFLOW_HOME": str(home(state)),
        "NIGHTJAR_HOME": str(state.home),
        "NIGHTJAR_SPARK": address,
        CONNECTION: json.dumps(_connection(address)),
        "MLFLOW_TRACKING_URI": tracking,
        "MLFLOW_REGISTRY_URI": tracking,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "SCARF_ANALYTICS": "false",
        "DO_NOT_TRACK": "true",
    }


def _connection(address: str) -> dict[str, Any]:
    """The Airflow connection for an ``sc://`` address; as an address Airflow would drop its parameters."""
    parts = urlsplit(address)
    given = dict(item.split("=", 1) for item in parts.path.strip("/;").split(";") if "=" in item)
    extra = {"use_ssl": given.get("use_ssl", "false").lower() == "true"}
    connection = {"conn_type": "spark_connect", "host": f"sc://{parts.hostname}", "port": parts.port, "extra": extra}
    return connection | {k: given[p] for k, p in (("login", "user_id"), ("password", "token")) if p in given}


def _prepare(state: State) -> None:
    write_private(home(state) / "passwords.json", json.dumps({user: password(state, user) for user in USERS}))


def _program(*arguments: str) -> Callable[[State], Sequence[str]]:
    return lambda state: [str(Path(sys.executable).parent / "airflow"), *arguments]


def _scheduler(state: State) -> Sequence[str]:
    return [sys.executable, "-m", "jobs.services.airflow_scheduler", "--skip-serve-logs"]


def _marker(state: State) -> Path:
    # Beside the database that it speaks of: if one is removed, so is the other.
    return postgres.folder(state) / f"airflow-{version('apache-airflow-core')}"


def _migrated(state: State) -> bool:
    return _marker(state).exists()


def health(state: State) -> dict[str, Any]:
    """What the API server says of the components, or nothing while it does not answer."""
    with suppress(OSError, urllib.error.URLError, ValueError):
        address = f"{url(state)}/api/v2/monitor/health"
        return json.loads(LOCAL.open(address, timeout=HEALTH_TIMEOUT_S).read())
    return {}


def _ready(component: str, part: str) -> Callable[[State], bool]:
    def ready(state: State) -> bool:
        seen = health(state).get(part) or {}
        beat, record = seen.get(f"latest_{part}_heartbeat"), processes.load_record(state, component)
        # Just after a restart the server still shows the heartbeat of the process before.
        stale = beat and record and datetime.fromisoformat(beat).timestamp() < record.started
        return seen.get("status") == "healthy" and not stale

    return ready


def components() -> list[Component]:
    """The migration of the database, then the four processes."""

    def make(name: str, *arguments: str, part: str, **more: Any) -> Component:
        return Component(
            name=f"airflow-{name}",
            service="airflow",
            command=more.pop("command", _program(*arguments)),
            env=lambda state: airflow_env(state.home),
            cwd=home,
            ready=_ready(f"airflow-{name}", part),
            prepare=_prepare,
            timeout=240,
            **more,
        )

    once = {"once": True, "done": _migrated, "finish": lambda state: _marker(state).touch()}
    migrated = ("postgres", "airflow-migrate")
    return [
        make("migrate", "db", "migrate", part="metadatabase", after=("postgres",), **once),
        make("api", "api-server", part="metadatabase", after=migrated, url=url),
        make("scheduler", command=_scheduler, part="scheduler", after=migrated),
        make("dag-processor", "dag-processor", part="dag_processor", after=migrated),
        make("triggerer", "triggerer", "--skip-serve-logs", part="triggerer", after=migrated),
    ]
