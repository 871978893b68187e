"""Commands of Airflow's command line in the docs are understood by Airflow."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from tests.dags.conftest import run_script

ROOT = Path(__file__).parents[2]


def commands() -> list[list[str]]:
    """The words of each ``make airflow ARGS="…"`` in the docs."""
    text = "\n".join(page.read_text() for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
    given = re.findall(r'make airflow (ARGS="(?:[^"\\]|\\.)*")', text)
    return [shlex.split(shlex.split(each)[0].removeprefix("ARGS=")) for each in given]


def test_airflow_understands_the_documented_commands(tmp_path):
    found = commands()
    assert {tuple(words[:2]) for words in found} == {("dags", "trigger"), ("backfill", "create")}
    # what the text says may be added
    backfill = next(words for words in found if words[0] == "backfill")
    found += [[*backfill, "--reprocess-behavior", "completed"], [*backfill, "--dry-run"]]
    parsed = run_script(tmp_path, "parse_commands.py", json.dumps(found))
    assert {each["dag_id"] for each in parsed} == {"nightly"}
    assert [json.loads(each["conf"]) for each in parsed if each.get("conf")] == [{"ds": "2024-03-15"}]
