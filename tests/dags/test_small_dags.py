"""The DAGs of one task: what they hand their step, and that a failure pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.parametrize(
    ("day", "kind"),
    # Sundays, on which the scheduled weeks end: the first of a quarter closes the quarter before
    [("2024-04-07", "quarterly"), ("2024-04-14", "weekly"), ("2024-05-05", "weekly"), ("2024-10-06", "quarterly")],
)
def test_a_review_is_quarterly_in_the_first_week_of_a_quarter(
    run_dag: Callable[..., dict[str, Any]], day: str, kind: str
) -> None:
    run = run_dag("audit_review", {"ds": day})
    assert [args for name, args, _ in run["calls"] if name == "review"] == [[day, "shop", kind]]


@pytest.mark.parametrize(
    ("dag_id", "step", "owner"),
    [
        ("audit_review", "review", "quality"),
        ("feedback", "apply_feedback", "platform"),
        ("training", "fit_rankers", "model-life"),
        ("watch", "watch", "platform"),
    ],
)
def test_a_task_that_failed_for_good_pages_its_owner(
    run_dag: Callable[..., dict[str, Any]], dag_id: str, step: str, owner: str
) -> None:
    about = {"ds": "2024-03-14"} if dag_id in ("audit_review", "training") else {}
    run = run_dag(dag_id, about, step)
    assert run["state"] == "failed"
    [args] = [args for name, args, _ in run["calls"] if name == "run_failed"]
    (dag, day, market, _, whose, error) = args
    assert (dag, market, whose) == (dag_id, "shop", owner) and error.startswith("Stopped: ")
    assert day == about.get("ds")
