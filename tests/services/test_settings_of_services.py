"""Every service is told to stay on loopback, to tell nobody anything, and not to take a stranger's settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from jobs.errors import ServiceError, SettingsError
from jobs.services import airflow, catalog, jars, mlflow, postgres, spark
from jobs.services.state import REPO, State


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    folder = tmp_path / "jars"
    folder.mkdir()
    for jar in jars.JARS:
        (folder / jar.file).touch()
    monkeypatch.setenv("NIGHTJAR_JARS", str(folder))
    for name in ("NIGHTJAR_SPARK", "NIGHTJAR_MLFLOW"):
        monkeypatch.delenv(name, raising=False)
    # Root's temporary folders are private, which would send PostgreSQL's data to the machine's shared one.
    monkeypatch.setattr(postgres, "_passable", lambda path: True)
    state = State(tmp_path / "home")
    state.prepare()
    return state


def test_no_service_is_told_to_bind_elsewhere(state: State) -> None:
    told = [*spark.configuration(state).values(), *mlflow.command(state), *postgres.command(state)]
    told += airflow.airflow_env(state.home).values()
    assert not [value for value in told if re.search(r"(?<![\d.])0\.0\.0\.0|\[::\]", value)]
    assert airflow.airflow_env(state.home)["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert spark.configuration(state)["spark.connect.grpc.binding.address"] == "127.0.0.1"
    assert spark.configuration(state)["spark.driver.bindAddress"] == "127.0.0.1"
    assert "listen_addresses=" in postgres.command(state)
    for component in airflow.components():
        command = component.command(state)
        if component.name in ("airflow-scheduler", "airflow-triggerer"):
            assert "--skip-serve-logs" in command


def test_settings_of_another_installation_do_not_leak_in(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__WORKERS", "9")
    monkeypatch.setenv("AIRFLOW_CONN_STRANGER", "x://")
    monkeypatch.setenv("SPARK_DAEMON_MEMORY", "300m")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    env = airflow.airflow_env(state.home)
    assert env["AIRFLOW__API__WORKERS"] == "1"
    assert "AIRFLOW_CONN_STRANGER" not in env
    assert env["MLFLOW_TRACKING_URI"] == mlflow.url(state)
    assert "MLFLOW_TRACKING_URI" not in mlflow.environment(state)
    assert "SPARK_DAEMON_MEMORY" not in spark.environment(state)


def test_telemetry_is_off(state: State) -> None:
    env = airflow.airflow_env(state.home)
    assert env["MLFLOW_DISABLE_TELEMETRY"] == mlflow.environment(state)["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert env["GX_ANALYTICS_ENABLED"] == "false"


def test_secrets_are_generated_not_written_down(state: State, tmp_path: Path) -> None:
    ours, theirs = airflow.airflow_env(state.home), airflow.airflow_env(tmp_path / "other")
    for name in ("AIRFLOW__CORE__FERNET_KEY", "AIRFLOW__API__SECRET_KEY", "AIRFLOW__API_AUTH__JWT_SECRET"):
        assert ours[name] != theirs[name]
        assert ours[name] == airflow.airflow_env(state.home)[name]
    assert airflow.password(state, "admin") != airflow.password(state, "viewer")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("sc://10.1.2.3:15002", {"host": "sc://10.1.2.3", "port": 15002, "extra": {"use_ssl": False}}),
        (
            "sc://h:443/;use_ssl=true;token=abc;user_id=nj",
            {"login": "nj", "password": "abc", "extra": {"use_ssl": True}},
        ),
    ],
)
def test_the_connection_keeps_the_parameters_of_an_address(
    state: State, monkeypatch: pytest.MonkeyPatch, address: str, expected: dict[str, object]
) -> None:
    monkeypatch.setenv("NIGHTJAR_SPARK", address)
    env = airflow.airflow_env(state.home)
    connection = json.loads(env[airflow.CONNECTION])
    assert env["NIGHTJAR_SPARK"] == address
    assert connection["conn_type"] == "spark_connect"
    assert {key: connection[key] for key in expected} == expected


def test_the_socket_path_fits_however_deep_the_home_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "account", lambda: None)
    state = State(tmp_path / ("deep" * 20) / ("deeper" * 10))
    state.prepare()
    query = parse_qs(urlsplit(postgres.uri(state, "airflow")).query)
    socket_dir = Path(query["host"][0])
    try:
        assert len(str(socket_dir / postgres.SOCKET_NAME)) <= postgres.SOCKET_BYTES
        assert socket_dir.stat().st_mode & 0o777 == 0o700
    finally:
        socket_dir.rmdir()


def test_extra_spark_properties_win(state: State) -> None:
    (state.home / "spark.conf").write_text("spark.sql.shuffle.partitions 64\n")
    spark.prepare(state)
    lines = (state.root / "spark" / "conf" / "nightjar.conf").read_text().splitlines()
    assert [line for line in lines if line.startswith("spark.sql.shuffle.partitions")][-1].endswith(" 64")


def test_services_bring_what_they_need() -> None:
    assert catalog.with_needs(["airflow"]) == ["postgres", "airflow"]
    names = [component.name for component in catalog.components(list(catalog.SERVICES))]
    for component in catalog.components(list(catalog.SERVICES)):
        assert all(names.index(need) < names.index(component.name) for need in component.after)
    with pytest.raises(ServiceError, match="redis"):
        catalog.with_needs(["redis"])


def test_a_jar_with_another_digest_is_not_accepted(state: State) -> None:
    assert jars.damaged() == [jar.file for jar in jars.JARS]
    (jars.jars_dir() / jars.JARS[0].file).unlink()
    with pytest.raises(ServiceError, match="make setup"):
        jars.jar_paths()


def test_the_repository_is_found() -> None:
    assert (REPO / "setup.cfg").exists()


def test_java_optimises_hot_code_only_where_it_is_asked_to(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = "-XX:TieredStopAtLevel=1"
    options = spark.configuration(state)["spark.driver.extraJavaOptions"].split()
    assert quick in options
    # 48 MB, which Java reserves beside this option, are full after a few minutes of a night.
    assert "-XX:ReservedCodeCacheSize=400m" in options
    monkeypatch.setenv("NIGHTJAR_SPARK_JIT", "full")
    assert quick not in spark.configuration(state)["spark.driver.extraJavaOptions"].split()
    monkeypatch.setenv("NIGHTJAR_SPARK_JIT", "fast")
    with pytest.raises(SettingsError, match="NIGHTJAR_SPARK_JIT is 'fast'"):
        spark.configuration(state)
