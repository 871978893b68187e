"""The DAGs are what the catalogue says, and reading them costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.errors import SettingsError

ORDER = [
    "ingest.landing_ready",
    "ingest.bronze",
    "ingest.silver",
    "ingest.silver_gate",
    "features.features",
    "features.features_gate",
    "features.examples",
    "candidates.train",
    "candidates.pin_model",
    "candidates.fit",
    "candidates.candidates",
    "publish.serving",
    "publish.release",
    "audit.audit",
    "audit.report",
]


@pytest.fixture
def nightly(parsed: dict[str, Any]) -> dict[str, Any]:
    return parsed["dags"]["nightly"]


def test_files_are_read_without_errors_or_warnings(parsed: dict[str, Any]) -> None:
    assert parsed["errors"] == {}
    assert parsed["warnings"] == {}
    assert set(parsed["dags"]) == {"audit_review", "backfill", "feedback", "nightly", "training", "watch"}


def test_reading_imports_no_engine_and_no_model_library(parsed: dict[str, Any]) -> None:
    assert parsed["heavy"] == []
    assert parsed["ours"] == []


def test_reading_takes_less_than_a_second(parsed: dict[str, Any]) -> None:
    assert parsed["seconds"] < 1


def test_a_missing_manifest_is_named_with_its_mend(parse: Callable[[bool], dict[str, Any]]) -> None:
    error = parse(False)["errors"]["nightly.py"].strip().splitlines()[-1]
    assert "There is no manifest at" in error
    assert "`nightjar manifest`" in error


def test_tasks_come_in_the_order_of_the_night(nightly: dict[str, Any]) -> None:
    assert list(nightly["tasks"]) == ORDER
    for before, after in zip(ORDER, ORDER[1:]):
        assert before in nightly["tasks"][after]["upstream"]


def test_every_group_of_the_catalogue_has_its_task(nightly: dict[str, Any], manifest: dict[str, Any]) -> None:
    names = [task.split(".")[1] for task in nightly["tasks"]]
    for group in manifest["groups"]:
        assert group["name"] in names
        gate = "release" if group["name"] == "serving" else f"{group['name']}_gate"
        assert (gate in names) == group["gate"]


def test_every_table_and_artifact_is_the_outlet_of_the_task_that_publishes_it(
    nightly: dict[str, Any], manifest: dict[str, Any]
) -> None:
    outlets = {name: task for task, said in nightly["tasks"].items() for name in said["outlets"]}
    assert set(outlets) == set(manifest["nodes"])
    for group in manifest["groups"]:
        gate = "release" if group["name"] == "serving" else f"{group['name']}_gate"
        for name in group["nodes"]:
            assert outlets[name].split(".")[1] == (gate if group["gate"] else group["name"])
    uris = [uri for said in nightly["tasks"].values() for uri in said["uris"]]
    assert len(uris) == len(set(uris))


def test_every_task_has_owner_retry_timeout_and_words(parsed: dict[str, Any]) -> None:
    for dag_id, dag in parsed["dags"].items():
        assert dag["doc"] and dag["tags"], dag_id
        for task_id, task in dag["tasks"].items():
            assert task["owner"] and task["owner"] != "airflow", task_id
            assert task["retries"] == 1 and task["retry_delay_s"] <= 60, task_id
            assert task["timeout_s"], task_id
            assert len(task["doc"]) > 20, task_id
            assert task["on_failure"] == ["failed"], f"{dag_id}.{task_id} fails without a page"


def test_spark_heavy_tasks_share_one_slot(nightly: dict[str, Any]) -> None:
    light = {task for task, said in nightly["tasks"].items() if said["pool"] == "default_pool"}
    # The task that waits for the training must not hold the slot that the training needs.
    assert light == {"ingest.landing_ready", "candidates.train", "candidates.pin_model", "audit.report"}
    assert {said["pool"] for said in nightly["tasks"].values()} == {"default_pool", "heavy"}


def test_the_night_goes_on_where_training_is_skipped_and_stops_where_it_failed(nightly: dict[str, Any]) -> None:
    rules = {task: said["trigger_rule"] for task, said in nightly["tasks"].items()}
    assert rules.pop("candidates.pin_model") == "none_failed_min_one_success"
    assert set(rules.values()) == {"all_success"}


def test_the_schedule_gives_the_day_of_the_data(nightly: dict[str, Any]) -> None:
    assert nightly["timetable"] == "CronDataIntervalTimetable"
    # Midnight: a backfill to a day ends at that day's midnight, so a run at two would be left out of it.
    assert nightly["schedule"] == "0 0 * * *"
    assert nightly["catchup"] is False
    assert nightly["max_active_runs"] == 1


def test_a_review_on_monday_looks_at_the_week_up_to_sunday(parsed: dict[str, Any]) -> None:
    # the 2nd of March 2024 is a Saturday
    assert parsed["dags"]["audit_review"]["next"] == {"at": "2024-03-04T12:00:00+00:00", "ds": "2024-03-03"}
    assert parsed["dags"]["nightly"]["next"] == {"at": "2024-03-03T00:00:00+00:00", "ds": "2024-03-02"}


def test_every_dag_takes_its_days_and_a_market(parsed: dict[str, Any]) -> None:
    for name, dag in parsed["dags"].items():
        for day in {"backfill": ("from", "to"), "feedback": (), "watch": ()}.get(name, ("ds",)):
            assert dag["params"][day]["format"] == "date"
            assert dag["params"][day]["type"] == ["null", "string"]
        assert dag["params"]["market"]["type"] == "string"


def test_feedback_runs_by_hand_unless_the_schedule_is_on(
    parsed: dict[str, Any], parse: Callable[..., dict[str, Any]]
) -> None:
    assert parsed["dags"]["feedback"]["schedule"] is None
    scheduled = parse(True, NIGHTJAR_SCHEDULE="on")["dags"]["feedback"]
    assert (scheduled["schedule"], scheduled["catchup"], scheduled["max_active_runs"]) == ("*/15 * * * *", False, 1)
    assert scheduled["tasks"]["apply"]["pool"] == "heavy"


@pytest.mark.parametrize(
    ("params", "ds", "day"),
    [
        ({"ds": "2024-03-14"}, "2024-03-20", "2024-03-14"),
        ({"ds": None}, "2024-03-20", "2024-03-20"),
        ({}, "2024-03-20", "2024-03-20"),
        ({"ds": "2024-03-14"}, None, "2024-03-14"),
    ],
)
def test_the_parameter_wins_over_the_day_of_the_schedule(params: dict[str, Any], ds: str | None, day: str) -> None:
    from jobs import steps

    assert steps.resolve_ds(params, ds) == day


@pytest.mark.parametrize(
    ("params", "ds"), [({"ds": None}, None), ({"ds": "14.3.2024"}, None), ({"ds": "2024-02-30"}, None)]
)
def test_a_run_without_a_day_says_how_to_give_one(params: dict[str, Any], ds: str | None) -> None:
    from jobs import steps

    with pytest.raises(SettingsError, match="2024-03-14"):
        steps.resolve_ds(params, ds)
