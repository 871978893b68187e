"""Shared by all tests: one Spark Connect server for the whole run, and throw-away installations."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


TOGETHER = ("dags", "e2e")
"""Folders whose tests share an installation that takes minutes to build."""


@contextmanager
def server() -> Iterator[str]:
    """A Spark server, and its address in NIGHTJAR_SPARK."""
    from jobs.services import down, spark_url, up

    home = Path(tempfile.mkdtemp(prefix="njt"))
    try:
        up(["spark"], home=home)
        os.environ["NIGHTJAR_SPARK"] = spark_url(home)
        yield os.environ["NIGHTJAR_SPARK"]
    finally:
        os.environ.pop("NIGHTJAR_SPARK", None)
        down(home=home)
        shutil.rmtree(home, ignore_errors=True)


class OneServer:
    """Of several test processes (``-n 2``) none starts a Spark server: the process that leads them does."""

    def __init__(self) -> None:
        self.running = ExitStack()

    def pytest_xdist_setupnodes(self) -> None:
        if not os.environ.get("NIGHTJAR_SPARK"):
            self.running.enter_context(server())

    def pytest_sessionfinish(self) -> None:
        self.running.close()


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput"):
        config.pluginmanager.register(OneServer())


def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """A file's tests run in one process, and so do those of a folder whose tests share an installation."""
    from xdist.scheduler import LoadScopeScheduling

    class ByInstallation(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = Path(nodeid.split("::")[0])
            return str(file.parent if file.parent.name in TOGETHER else file)

    return ByInstallation(config, log)


@pytest.fixture(scope="session")
def spark_server() -> Iterator[str]:
    """Address of the Spark server that all tests share; started here unless NIGHTJAR_SPARK names one."""
    if given := os.environ.get("NIGHTJAR_SPARK"):
        yield given
        return
    with server() as address:
        yield address


@pytest.fixture(scope="session")
def spark(spark_server: str):
    """A Spark Connect session with the project's code on its workers."""
    from jobs.session import connect, ship_code
    from jobs.settings import Market, Settings

    home = Path(tempfile.mkdtemp(prefix="njs"))
    session = connect(Settings(home, home / "lake", home / "landing", Market("test"), spark_server))
    previous = os.environ.get("NIGHTJAR_HOME")
    os.environ["NIGHTJAR_HOME"] = str(home)
    ship_code(session)
    if previous is None:
        os.environ.pop("NIGHTJAR_HOME")
    else:
        os.environ["NIGHTJAR_HOME"] = previous
    yield session
    session.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh installation for one test, without services of its own."""
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path))
    for name in ("NIGHTJAR_LAKE", "NIGHTJAR_LANDING", "NIGHTJAR_MARKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    return tmp_path


@pytest.fixture
def settings(home: Path, spark_server: str):
    """Settings of a market ``demo`` (UTC, target click) in the fresh installation."""
    from jobs.settings import Market, load_settings, save_market

    save_market(Market("demo"))
    return replace(load_settings("demo"), spark=spark_server)


@pytest.fixture
def frame(spark) -> Callable:
    """Literal frames: ``frame("ds date, n int", [("2024-03-01", 1)])`` with days and dates as text."""
    import datetime as dt

    from pyspark.sql import types as T

    def make(schema: str, rows: list[tuple]):
        parsed = T.StructType.fromDDL(schema)
        dates = [i for i, f in enumerate(parsed.fields) if isinstance(f.dataType, T.DateType)]
        cast = [
            tuple(dt.date.fromisoformat(v) if i in dates and isinstance(v, str) else v for i, v in enumerate(row))
            for row in rows
        ]
        return spark.createDataFrame(cast, parsed)

    return make
