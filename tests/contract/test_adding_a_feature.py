"""The page on features tells the truth: the file that it shows is all that a new feature takes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dags.conftest import airflow_environment

ROOT = Path(__file__).parents[2]
PACKAGES = ("jobs", "features", "models", "quality", "metrics", "mappings", "dags", "plugins", "tests/dags")
TABLE, COLUMN = "features.user_weekend", "weekend_share_28d"
PROBE = """
import json
from jobs.catalog import discover
from models.examples import CONTRACT
catalog = discover()
print(json.dumps({
    "manifest": catalog.manifest(),
    "examples": [c.name for c in CONTRACT.columns],
    "watched": catalog.node("audit.feature_histograms").upstream,
}))
"""


def shown() -> str:
    """The first block of Python in the page."""
    return re.search(r"```python\n(.*?)```", (ROOT / "docs" / "features.md").read_text(), re.DOTALL)[1]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with the file of the page, and nothing else that is new."""
    copy = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "features" / "user_weekend.py").write_text(shown())
    return copy


def run(project: Path, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def found(project):
    return json.loads(run(project, "-c", PROBE).splitlines()[-1])


def test_the_manifest_has_it_with_its_columns_and_checks(found):
    node = found["manifest"]["nodes"][TABLE]
    assert [c["name"] for c in node["columns"]] == ["ds", "user_id", COLUMN]
    assert node["checks"][0]["kind"] == "between"
    assert TABLE in next(g["nodes"] for g in found["manifest"]["groups"] if g["name"] == "features")


def test_the_training_set_and_the_drift_audit_have_it(found):
    assert f"user_{COLUMN}" in found["examples"]
    assert TABLE in found["watched"]


def test_the_dictionary_has_it(project, tmp_path):
    said = run(project, "-m", "jobs.cli", "tables", TABLE, NIGHTJAR_HOME=str(tmp_path))
    assert COLUMN in said and "Weekend clicks by all clicks" in said


def test_the_dag_has_it_in_its_task_and_as_an_asset(project, tmp_path):
    run(project, "-m", "jobs.cli", "manifest", NIGHTJAR_HOME=str(tmp_path / "home"))
    there = {"PYTHONPATH": project, "AIRFLOW__CORE__DAGS_FOLDER": project / "dags"}
    there["AIRFLOW__CORE__PLUGINS_FOLDER"] = project / "plugins"
    environment = airflow_environment(tmp_path) | {name: str(place) for name, place in there.items()}
    parsed = json.loads(run(project, "tests/dags/parse_dags.py", **environment).splitlines()[-1])
    assert parsed["errors"] == {}
    gate = parsed["dags"]["nightly"]["tasks"]["features.features_gate"]
    assert TABLE in gate["outlets"] and f"nightjar://{TABLE.replace('.', '/')}" in gate["uris"]
    assert TABLE in parsed["dags"]["nightly"]["tasks"]["features.features"]["doc"]
