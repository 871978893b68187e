"""A run of the DAG `backfill` whose work failed says so, and clears up; the live test has the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

CONF = {"from": "2024-03-13", "to": "2024-03-14", "tables": ["silver.events+"]}


@pytest.mark.parametrize(
    ("failing", "tasks"),
    [
        ("stage_backfill", {"stage": "failed", "approve": "upstream_failed", "swap": "upstream_failed"}),
        ("swap_backfill", {"stage": "success", "approve": "success", "swap": "failed"}),
    ],
)
def test_a_run_whose_work_failed_is_a_failed_run(
    run_dag: Callable[..., dict[str, Any]], failing: str, tasks: dict[str, str]
) -> None:
    run = run_dag("backfill", CONF, failing)
    assert run["state"] == "failed"
    assert run["tasks"] == {**tasks, "clean_up": "success"}
    assert [name for name, *_ in run["calls"]][-1] == "discard_backfill"
    [(args, _)] = [(args, kwargs) for name, args, kwargs in run["calls"] if name == "run_failed"]
    [task] = [name for name, state in tasks.items() if state == "failed"]
    assert args[:5] == ["backfill", "2024-03-14", "shop", task, "platform"] and args[5].startswith("Stopped: ")
