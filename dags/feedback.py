"""
## feedback: what people said and what was taken down since the last release leaves the lists

Reads the feedback that landed since the day of the current release, and the takedowns. What people no longer want to
see (not interested, blocked author, already purchased, purchases that do not repeat, withdrawn consent) and what was
taken down leaves what is served, as a release of kind `patch`: the same model and index, the next best candidates in
the places that become free, under the same checks as at night. A look that finds nothing new costs a second.

| parameter | meaning |
|---|---|
| `market` | the market; default: `NIGHTJAR_MARKET`, else `demo` |

**Schedule**: every 15 minutes (`NIGHTJAR_FEEDBACK_CRON`), where the installation says `NIGHTJAR_SCHEDULE=on`; else by
hand: *Trigger*. An item is taken down at once by `nightjar takedown ITEM --reason …`, without waiting for this.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

SCHEDULE = os.environ.get("NIGHTJAR_FEEDBACK_CRON", "*/15 * * * *")


def failed(context: Any) -> None:
    """When a task has failed for good: a page to its owner."""
    from jobs import steps

    params, ti = context["params"], context["ti"]
    error = " ".join(str(context.get("exception") or "no reason given").split())[:500]
    day = context.get("ds")
    steps.run_failed(ti.dag_id, day, params["market"], ti.task_id, context["task"].owner, error)


# Before the tasks of a night: that is minutes of work, and people wait for it.
@task(pool="heavy", priority_weight=1000, weight_rule="absolute", execution_timeout=timedelta(minutes=30))
def apply() -> str | None:
    """Patch what is served by what has arrived; returns the release that is served since, if there is any."""
    from jobs import steps

    context = get_current_context()
    ti = context["ti"]
    made = steps.apply_feedback(context["params"]["market"], context["run_id"], ti.task_id, ti.try_number)
    return made["release_id"]


@dag(
    schedule=SCHEDULE if os.environ.get("NIGHTJAR_SCHEDULE", "off") == "on" else None,
    start_date=datetime(2000, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "market": Param(
            os.environ.get("NIGHTJAR_MARKET", "demo"), type="string", pattern="^[A-Za-z_][A-Za-z0-9_]*$", title="Market"
        ),
    },
    default_args={
        "owner": "platform",
        "retries": 1,
        "retry_delay": timedelta(seconds=20),
        "on_failure_callback": failed,
    },
    tags=["nightjar", "feedback"],
    description="Feedback and takedowns leave the lists within minutes.",
    doc_md=__doc__,
    is_paused_upon_creation=False,
)
def feedback() -> None:
    apply()


feedback()
