"""The DAG `backfill` in a real Airflow: it waits for a person, swaps when approved, clears up when refused."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
import time
from pathlib import Path

import pytest

from jobs import steps
from jobs.catalog import write_manifest
from jobs.contract import DayRange
from jobs.lake import Lake
from jobs.services import airflow_api, down, up
from jobs.settings import Market, load_settings, save_market
from tests.engine.deliveries import event, land_events

pytestmark = pytest.mark.slow
D1, D2 = dt.date(2024, 3, 13), dt.date(2024, 3, 14)
DAYS = DayRange(D1, D2)
WAITING = ("awaiting_input", "deferred")
NODES = ("bronze.events", "silver.events")


@pytest.fixture(scope="module")
def lake():
    """An installation with all that Airflow needs, and two built days of events."""
    home = Path(tempfile.mkdtemp(prefix="njb"))
    home.chmod(0o711)  # PostgreSQL's own account passes through it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTJAR_HOME", str(home))
        patch.delenv("NIGHTJAR_SPARK", raising=False)
        try:
            write_manifest(steps.catalog(), home / "manifest.json")
            save_market(Market("demo"))
            up(["spark", "airflow"], home=home)
            settings = load_settings("demo")
            land_events(settings, D1, [event(1, at="2024-03-13T09:00:00Z")])
            land_events(settings, D2, [event(2), event(3)])
            with steps.opened("demo", "history") as runner:
                steps.run_nodes(runner, [runner.catalog.node(name) for name in NODES], DAYS)
            yield Lake(settings)
        finally:
            down(home=home)
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def api(lake):
    made = airflow_api.connect(lake.settings.home)
    made.ensure_pool("heavy", 1, "Spark-heavy tasks")
    made.wait_for_dag("backfill")
    made.unpause("backfill")
    return made


def asked(api, run_id: str) -> str:
    """Wait until the run asks; returns what it shows."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        details = api.call("GET", f"/dags/backfill/dagRuns/{run_id}/hitlDetails")["hitl_details"]
        # the question is there a moment before the task waits for its answer
        if details and api.tasks("backfill", run_id)["approve"] in WAITING:
            return f"{details[0]['subject']}\n{details[0]['body']}"
        assert "failed" not in api.tasks("backfill", run_id).values(), api.log("backfill", run_id, "stage")[-3000:]
        time.sleep(2)
    raise AssertionError(f"{run_id} never asked: {api.tasks('backfill', run_id)}")


def start(api) -> str:
    conf = {"from": str(D1), "to": str(D2), "tables": ["bronze.events+"], "market": "demo"}
    return api.trigger("backfill", conf=conf)


def answer(api, run_id: str, option: str) -> dict[str, str]:
    path = f"/dags/backfill/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
    api.call("PATCH", path, {"chosen_options": [option], "params_input": {}})
    return api.wait("backfill", run_id, timeout=300).tasks


def stages(lake) -> set[Path]:
    return {path for name in NODES for path in (lake.path(name) / "stage").iterdir()}


def test_an_approval_swaps_the_days_in(lake, api):
    versions = {name: lake.version(name) for name in NODES}
    run_id = start(api)
    said = asked(api, run_id)
    assert "Swap in bronze.events+ of 2024-03-13 to 2024-03-14?" in said
    assert "| silver.events |" in said
    assert {name: lake.version(name) for name in NODES} == versions  # nothing changed while it waits
    tasks = answer(api, run_id, "Approve")
    assert set(tasks.values()) == {"success"}
    assert {name: lake.version(name) - 1 for name in NODES} == versions
    assert lake.counts("silver.events") == {str(D1): 1, str(D2): 2}


def test_a_refusal_changes_nothing_and_leaves_nothing(lake, api):
    versions, before = {name: lake.version(name) for name in NODES}, stages(lake)
    run_id = start(api)
    asked(api, run_id)
    assert stages(lake) > before
    tasks = answer(api, run_id, "Reject")
    assert (tasks["swap"], tasks["clean_up"]) == ("skipped", "success")
    assert {name: lake.version(name) for name in NODES} == versions
    assert stages(lake) == before
