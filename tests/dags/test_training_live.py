"""The DAG `training` in a real Airflow: a person sees card and gate, and decides who is champion."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import pytest

from jobs import steps
from jobs.catalog import write_manifest
from jobs.services import airflow_api, down, up
from jobs.services.airflow_api import RunFailed
from jobs.settings import Market, load_settings, save_market
from models import registry, training
from tests.models.test_training import LAST, OPTIONS, land_examples

pytestmark = pytest.mark.slow
WAITING = ("awaiting_input", "deferred")


@pytest.fixture(scope="module")
def settings():
    """An installation with Airflow, a registry and four days of examples."""
    home = Path(tempfile.mkdtemp(prefix="njt"))
    home.chmod(0o711)  # PostgreSQL's own account passes through it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTJAR_HOME", str(home))
        for name in ("NIGHTJAR_SPARK", "NIGHTJAR_PROMOTION", "NIGHTJAR_LAKE", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        try:
            write_manifest(steps.catalog(), home / "manifest.json")
            save_market(Market("demo", params=OPTIONS))
            up(["airflow", "mlflow"], home=home)
            made = load_settings("demo")
            land_examples(made)
            yield made
        finally:
            down(home=home)
            shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def api(settings):
    made = airflow_api.connect(settings.home)
    made.ensure_pool("heavy", 1, "Spark-heavy tasks")
    made.wait_for_dag("training")
    made.unpause("training")
    return made


def start(api) -> str:
    return api.trigger("training", str(LAST), {"market": "demo", "mode": "manual"})


def asked(api, run_id: str) -> dict[str, str]:
    """Wait until the run asks; returns what it shows."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        tasks = api.tasks("training", run_id)
        details = api.call("GET", f"/dags/training/dagRuns/{run_id}/hitlDetails")["hitl_details"]
        # the question is there a moment before the task waits for its answer
        if details and tasks["approve"] in WAITING:
            return details[0]
        assert "failed" not in tasks.values(), api.log("training", run_id, "fit_rankers", 2)[-3000:]
        time.sleep(2)
    raise AssertionError(f"{run_id} never asked: {api.tasks('training', run_id)}")


def answer(api, run_id: str, option: str, reason: str) -> dict[str, str]:
    path = f"/dags/training/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"
    api.call("PATCH", path, {"chosen_options": [option], "params_input": {"reason": reason}})
    return dict(api.wait("training", run_id, timeout=300).tasks)


def champion(settings) -> str | None:
    found = registry.champion_of(registry.client(settings), settings)
    return str(found.version) if found else None


def tags(settings, version: str) -> dict[str, str]:
    return registry.client(settings).get_model_version(registry.model_name(settings), version).tags


def test_a_challenger_waits_is_approved_and_becomes_champion(settings, api):
    run_id = start(api)
    said = asked(api, run_id)
    assert said["subject"] == "Make version 1 of the ranker of demo champion?"
    assert "## Gate" in said["body"] and "calibration_error" in said["body"] and "## By group" in said["body"]
    assert champion(settings) is None  # it waits
    tasks = answer(api, run_id, "Approve", "looks right")
    assert set(tasks.values()) == {"success"}
    assert champion(settings) == "1"
    assert {"state": "champion", "approver": "admin", "reason": "looks right"}.items() <= tags(settings, "1").items()


def test_a_rejection_keeps_the_champion_and_the_reason(settings, api):
    run_id = start(api)
    assert "version 2" in asked(api, run_id)["subject"]
    tasks = answer(api, run_id, "Reject", "too few new items")
    assert tasks["promote"] == "skipped" and "failed" not in tasks.values()
    assert champion(settings) == "1"
    said = {"state": "rejected", "approver": "admin", "reason": "too few new items"}
    assert said.items() <= tags(settings, "2").items()


def test_an_approval_that_came_too_late_is_refused(settings, api):
    """While version 3 waits, version 4 is trained and becomes champion."""
    run_id = start(api)
    assert "version 3" in asked(api, run_id)["subject"]
    training.train(settings, LAST, "by hand")
    assert registry.promote(settings, "4", "urgent", "ada") == {"champion": "4", "previous": "1"}
    with pytest.raises(RunFailed, match="failed in promote"):
        answer(api, run_id, "Approve", "looks right")
    assert "version 3 is not the challenger any more: 4 is" in api.log("training", run_id, "promote", 2)
    assert champion(settings) == "4" and tags(settings, "3")["state"] == "challenger"
