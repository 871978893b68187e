"""The production shape: what docker-compose.yml passes is known to who gets it, and nothing is open or secret."""

from __future__ import annotations

import ast
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs import compose_env
from jobs.errors import SettingsError
from jobs.services import jars, spark
from jobs.services.state import State

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
OURS = "nightjar:0.1.0"
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::?[-?][^}]*)?\}")
SECRET_NAME = re.compile(r"PASSWORD|SECRET|_KEY$|KEY_ID$|TOKEN|SQL_ALCHEMY_CONN|BACKEND_STORE_URI")
NO_SECRET = re.compile(r"PASSWORDS_FILE")
RUN_ONCE = {"bucket", "airflow-init", "nightjar"}

# Variables of programs whose source is not in this environment.
KNOWN_ELSEWHERE = {
    "POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_INITDB_ARGS",  # the PostgreSQL image
    "ROOT_ACCESS_KEY_ID", "ROOT_SECRET_ACCESS_KEY", "VGW_PORT", "VGW_REGION", "VGW_HEALTH",  # Versity's gateway
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION",  # any client of S3
    "SPARK_DAEMON_MEMORY", "OMP_NUM_THREADS", "PYTHONPATH",
    "AIRFLOW_HOME", "AIRFLOW_CONN_NIGHTJAR_SPARK", "GX_ANALYTICS_ENABLED", "DO_NOT_TRACK",
}  # fmt: skip


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return compose["services"]


def environments(services: dict[str, dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for service, said in services.items():
        for name, value in said.get("environment", {}).items():
            assert isinstance(value, str), f"{service}: {name} must be quoted, YAML reads {value!r}"
            yield service, name, value


def test_it_is_the_production_shape(services: dict[str, Any]) -> None:
    assert set(services) == {
        "postgres", "bucket", "objectstore", "mlflow", "spark-master", "spark-worker", "spark-connect",
        "airflow-init", "airflow-api", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer", "nightjar",
    }  # fmt: skip


def test_every_published_port_is_on_loopback(services: dict[str, Any]) -> None:
    published = [port for said in services.values() for port in said.get("ports", [])]
    assert len(published) == 2
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_only_services_with_a_page_leave_the_inner_network(compose: dict[str, Any], services: dict[str, Any]) -> None:
    assert compose["networks"]["inside"] == {"internal": True}
    for name, said in services.items():
        assert "inside" in said["networks"]
        assert ("edge" in said["networks"]) == ("ports" in said), name


def test_nothing_runs_as_root_or_may_become_it(services: dict[str, Any]) -> None:
    for name, said in services.items():
        assert said["user"].split(":")[0] not in ("0", "root"), name
        assert said["cap_drop"] == ["ALL"], name
        assert said["security_opt"] == ["no-new-privileges:true"], name


def test_every_service_has_limits_and_says_when_it_is_ready(services: dict[str, Any]) -> None:
    for name, said in services.items():
        limits = said["deploy"]["resources"]["limits"]
        assert limits["memory"] and limits["cpus"], name
        assert ("healthcheck" in said) == (name not in RUN_ONCE), name
        assert said["restart"] == ("no" if name in RUN_ONCE else "unless-stopped"), name


def test_images_are_pinned(services: dict[str, Any]) -> None:
    for name, said in services.items():
        image, _, tag = said["image"].rpartition(":")
        assert image and re.search(r"\d+\.\d+", tag), name
    bases = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert bases and all(re.search(r":\d+\.\d+\.\d+", base) for base in bases)
    # One service builds the image that the others use.
    assert [name for name, said in services.items() if "build" in said] == ["spark-master"]


def test_services_wait_for_what_they_need_and_it_can_become_so(services: dict[str, Any]) -> None:
    for name, said in services.items():
        for needed, how in said.get("depends_on", {}).items():
            once = how["condition"] == "service_completed_successfully"
            assert once or how["condition"] == "service_healthy", name
            assert once == (needed in RUN_ONCE), f"{name} waits for {needed}"


def test_named_volumes_are_declared_and_used(compose: dict[str, Any], services: dict[str, Any]) -> None:
    mounted = [m.split(":")[0] for said in services.values() for m in said.get("volumes", [])]
    named = {m for m in mounted if not m.startswith(".")}
    assert named == set(compose["volumes"])
    for m in mounted:
        assert not m.startswith(".") or (ROOT / m).exists(), m


def test_spark_and_airflow_see_the_lake_in_the_same_place(services: dict[str, Any]) -> None:
    for name in ("spark-worker", "spark-connect", "airflow-scheduler", "nightjar"):
        assert "nightjar:/var/lib/nightjar" in services[name]["volumes"], name
    assert services["airflow-scheduler"]["environment"]["NIGHTJAR_HOME"] == "/var/lib/nightjar"


def test_no_secret_is_written_down(services: dict[str, Any]) -> None:
    for service, name, value in environments(services):
        if SECRET_NAME.search(name) and not NO_SECRET.search(name):
            used = set(VARIABLE.findall(value))
            assert used & set(compose_env.SECRETS), f"{service}: {name}"
    assert not re.search(r"://[^$/\s]+:[^$/\s]+@", COMPOSE.read_text())


def test_every_variable_is_generated_or_has_a_default() -> None:
    text = COMPOSE.read_text()
    for match in VARIABLE.finditer(text):
        name = match.group(1)
        if name in compose_env.SECRETS:
            assert match.group(0) == f"${{{name}:?run make compose-env}}"
        else:
            assert ":-" in match.group(0), name
    assert set(compose_env.SECRETS) == {n for n in VARIABLE.findall(text) if n in compose_env.SECRETS}


def test_the_example_names_every_variable_and_no_value() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert [line for line in lines if re.match(r"\w", line)] == [f"{name}=" for name in compose_env.SECRETS]
    optional = {n for n in VARIABLE.findall(COMPOSE.read_text()) if n not in compose_env.SECRETS}
    assert optional == {line[2:].split("=")[0] for line in lines if re.match(r"# \w+=", line)}


def test_every_setting_of_airflow_exists(services: dict[str, Any]) -> None:
    spec = find_spec("airflow")
    assert spec and spec.submodule_search_locations
    described = Path(next(iter(spec.submodule_search_locations))) / "config_templates" / "config.yml"
    sections = yaml.safe_load(described.read_text())
    for _, name, _ in environments(services):
        if name.startswith("AIRFLOW__"):
            section, option = name.removeprefix("AIRFLOW__").lower().split("__")
            assert option in sections[section]["options"], name


def test_every_other_variable_is_known_to_who_gets_it(services: dict[str, Any]) -> None:
    spec = find_spec("mlflow")
    assert spec and spec.origin
    folder = Path(spec.origin).parent
    mlflow = "".join(
        (folder / f).read_text() for f in ("environment_variables.py", "cli/__init__.py", "utils/cli_args.py")
    )
    ours = "".join(p.read_text() for package in ("jobs", "dags") for p in (ROOT / package).rglob("*.py"))
    script = (ROOT / "config/compose/databases.sh").read_text()
    # The script makes the names of the databases' passwords.
    made = {f"{name.upper()}_DB_PASSWORD" for name in re.findall(r"for name in ([\w ]+);", script)[0].split()}
    for service, name, _ in environments(services):
        if name.startswith("AIRFLOW__") or name in KNOWN_ELSEWHERE or (service == "postgres" and name in made):
            continue
        where = mlflow if name.startswith("MLFLOW_") else ours
        assert f'"{name}"' in where or f"``{name}``" in where, f"{service}: nobody reads {name}"


def test_programs_that_are_started_exist(services: dict[str, Any]) -> None:
    for name, said in services.items():
        program = said["command"][0] if "command" in said and said["image"] == OURS else "mkdir"
        if "/pyspark/" in program:
            assert (jars.spark_home() / program.split("/pyspark/")[1]).exists(), name
        else:
            assert program in {"airflow", "mlflow", "nightjar", "bash", "mkdir"}, name


def spark_conf() -> dict[str, str]:
    lines = (ROOT / "config/compose/spark.conf").read_text().splitlines()
    return dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))


def test_spark_on_a_cluster_reads_and_writes_as_the_embedded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for jar in jars.JARS:
        (tmp_path / jar.file).touch()
    monkeypatch.setenv("NIGHTJAR_JARS", str(tmp_path))
    monkeypatch.delenv("NIGHTJAR_SHUFFLE_PARTITIONS", raising=False)
    state = State(tmp_path / "home")
    state.prepare()
    embedded, cluster = spark.configuration(state), spark_conf()
    own = {"spark.sql.shuffle.partitions", "spark.sql.warehouse.dir"}
    for key, value in embedded.items():
        same = key.startswith(("spark.sql.", "spark.hadoop.", "spark.databricks.", "spark.scheduler."))
        if same and not key.startswith("spark.sql.ui.") and key not in own:
            assert cluster[key] == value, key
    assert {Path(path).name for path in cluster["spark.jars"].split(",")} == {jar.file for jar in jars.JARS}
    for of in ("driver", "executor"):
        assert Path(cluster[f"spark.{of}.extraClassPath"]).name == jars.LOCAL_FILES.file


def test_addresses_point_at_services_and_their_ports(services: dict[str, Any]) -> None:
    conf = spark_conf()
    environment = services["airflow-scheduler"]["environment"]
    assert environment["NIGHTJAR_SPARK"] == f"sc://spark-connect:{conf['spark.connect.grpc.binding.port']}"
    assert conf["spark.driver.host"] == "spark-connect"
    assert conf["spark.master"] == services["spark-worker"]["command"][-1] == "spark://spark-master:7077"
    assert (
        environment["MLFLOW_TRACKING_URI"].split("://")[1]
        in services["mlflow"]["environment"]["MLFLOW_SERVER_ALLOWED_HOSTS"]
    )


def test_secrets_are_random_private_and_never_replaced(tmp_path: Path) -> None:
    first, second = tmp_path / "one.env", tmp_path / "two.env"
    compose_env.write_env(first)
    compose_env.write_env(second)
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    values = dict(line.split("=", 1) for line in first.read_text().splitlines())
    assert set(values) == set(compose_env.SECRETS)
    assert len(set(values.values())) == len(values)
    assert all(len(value) >= 20 for value in values.values())
    assert not set(values.values()) & {line.split("=", 1)[1] for line in second.read_text().splitlines()}
    # Docker compose would read a dollar as a variable, and an address would end at a slash or an at sign.
    assert not any(re.search(r"[$/@:#\s]", value) for value in values.values())
    before = first.read_text()
    with pytest.raises(SettingsError, match="exists"):
        compose_env.write_env(first)
    assert first.read_text() == before


def test_logins_come_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "passwords.json"
    with pytest.raises(SettingsError, match="AIRFLOW_VIEWER_PASSWORD"):
        compose_env.write_passwords(path, {"AIRFLOW_ADMIN_PASSWORD": "one"})
    compose_env.write_passwords(path, {"AIRFLOW_ADMIN_PASSWORD": "one", "AIRFLOW_VIEWER_PASSWORD": "two"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert yaml.safe_load(path.read_text()) == {"admin": "one", "viewer": "two"}


def test_the_file_of_secrets_is_ignored() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    # What goes into the image is named; nothing else does.
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()


def test_inline_python_of_health_checks_is_python(services: dict[str, Any]) -> None:
    for name, said in services.items():
        test = said.get("healthcheck", {}).get("test", [])
        if "-c" in test:
            assert ast.parse(test[test.index("-c") + 1]), name


def compose_client() -> list[str] | None:
    """``docker compose`` where the plugin is there, else ``docker-compose``."""
    if shutil.which("docker"):
        seen = subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=30, check=False)
        if seen.returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def test_the_compose_client_accepts_it(tmp_path: Path) -> None:
    client = compose_client()
    if client is None:
        pytest.skip("There is no docker compose on this machine.")
    env_file = tmp_path / ".env"
    compose_env.write_env(env_file)
    command = [*client, "--project-directory", str(ROOT), "-f", str(COMPOSE), "--env-file"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NIGHTJAR")}
    done = subprocess.run(
        [*command, str(env_file), "config"], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    config = yaml.safe_load(done.stdout)
    secret = dict(line.split("=", 1) for line in env_file.read_text().splitlines())["MLFLOW_DB_PASSWORD"]
    assert secret in config["services"]["mlflow"]["environment"]["MLFLOW_BACKEND_STORE_URI"]
    (tmp_path / "empty").touch()
    refused = subprocess.run(
        [*command, str(tmp_path / "empty"), "config"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )
    assert refused.returncode != 0
    assert "make compose-env" in refused.stderr
