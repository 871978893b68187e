"""A run of the DAG hands each step its day, market, run and try, and nothing else."""

from __future__ import annotations

from typing import Any

from jobs.catalog import discover

DAY = "2024-03-14"


def calls(night: dict[str, Any], name: str) -> list[tuple[list[Any], dict[str, Any]]]:
    return [(args, kwargs) for called, args, kwargs in night["calls"] if called == name]


def test_a_run_without_a_logical_date_succeeds_and_skips_training_that_is_not_due(night: dict[str, Any]) -> None:
    states = night["tasks"]
    assert night["state"] == "success"
    assert states.pop("candidates.train") == "skipped"
    assert set(states.values()) == {"success"}
    assert calls(night, "training_due") == [([DAY, "shop"], {})]


def test_groups_are_built_in_order_with_what_identifies_the_attempt(night: dict[str, Any]) -> None:
    built = calls(night, "run_group")
    groups = ["bronze", "silver", "features", "examples", "fit", "candidates", "serving", "audit"]
    assert [args for args, _ in built] == [[group, DAY] for group in groups]
    assert built[0][1] == {"market": "shop", "run_id": night["run_id"], "task_id": "ingest.bronze", "try_number": 1}
    assert [args for args, _ in calls(night, "run_gate")] == [["silver", DAY], ["features", DAY]]
    assert calls(night, "publish_release")[0][0] == [DAY]


def test_the_model_is_pinned_after_training_and_before_the_lists(night: dict[str, Any]) -> None:
    names = [(name, *args[:1]) for name, args, _ in night["calls"]]
    assert names.index(("training_due", DAY)) < names.index(("pin_model", DAY)) < names.index(("run_group", "fit"))
    assert names[-1] == ("write_report", DAY)
    assert calls(night, "write_report") == [([DAY, "shop", night["run_id"]], {})]


def test_events_of_assets_carry_day_market_and_rows(night: dict[str, Any]) -> None:
    events = night["events"]
    assert set(events) == set(discover().nodes)
    assert events["bronze.events"] == {"ds": DAY, "market": "shop", "rows": 5}
    assert events["silver.events"]["rows"] == 4
    served = {"ds": DAY, "market": "shop", "rows": 9, "release_id": "r1", "kind": "nightly"}
    assert events["serving.recommendations"] == served


def test_a_task_that_failed_for_good_leaves_a_report_and_pages_its_owner_once(stopped_night: dict[str, Any]) -> None:
    assert stopped_night["state"] == "failed"
    calls = [(args, kwargs) for name, args, kwargs in stopped_night["calls"] if name == "task_failed"]
    [([day, market, task, owner, error, run_id], _)] = calls
    assert (day, market, task) == ("2024-03-14", "shop", "ingest.silver_gate")
    assert run_id == stopped_night["run_id"]
    assert "platform" in owner
    assert error == "Stopped: silver, 2024-03-14."
    assert not [name for name, *_ in stopped_night["calls"] if name == "publish_release"]
