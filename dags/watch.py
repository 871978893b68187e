"""
## watch: is the night late?

Every half hour it looks whether the newest day that should have lists by now has a release, and sends one warning
for a day that has none: also when `nightly` waits, hangs, or was never started. A night is late
`NIGHTJAR_LATE_HOURS` (12) hours after its day has ended in the market's time zone. Pages that the receiver of alerts
did not take when a task failed are sent again.

| parameter | meaning |
|---|---|
| `market` | the market; default: `NIGHTJAR_MARKET`, else `demo` |

It does nothing unless the installation says `NIGHTJAR_SCHEDULE=on` and where alerts go (docs/operations.md).
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task

SCHEDULED = os.environ.get("NIGHTJAR_SCHEDULE", "off") == "on"


def failed(context: Any) -> None:
    """When a task has failed for good: a page to its owner."""
    from jobs import steps

    params, ti = context["params"], context["ti"]
    error = " ".join(str(context.get("exception") or "no reason given").split())[:500]
    day = context.get("ds")
    steps.run_failed(ti.dag_id, day, params["market"], ti.task_id, context["task"].owner, error)


@task(execution_timeout=timedelta(minutes=5))
def late() -> int:
    """Send what is owed, and a warning where the newest night that is due has no release; returns how many."""
    from jobs import steps

    return steps.watch(get_current_context()["params"]["market"])


@dag(
    # Without a schedule of nights none is expected, and idle runs would only fill the page.
    schedule=CronTriggerTimetable("*/30 * * * *", timezone="UTC") if SCHEDULED else None,
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
    tags=["nightjar", "alerts"],
    description="A warning when a night is late.",
    doc_md=__doc__,
    is_paused_upon_creation=False,
)
def watch() -> None:
    late()


watch()
