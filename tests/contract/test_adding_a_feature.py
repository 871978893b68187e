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

ROOT = Path(__file__).parents[2]
PACKAGES = ("jobs", "features", "models", "quality", "metrics", "mappings", "dags")
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
    """A copy of the project with the file of the page, and the line that lets rankers read it."""
    copy = tmp_path_factory.mktemp("copy")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "features" / "user_weekend.py").write_text(shown())
    ranking = copy / "models" / "ranking_features.py"
    part = f'    Part("{TABLE}", "user_", "user_id", ("{COLUMN}",)),\n'
    ranking.write_text(ranking.read_text().replace("PARTS = (\n", f"PARTS = (\n{part}", 1))
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
