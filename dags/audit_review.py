"""
## audit_review: what the audits saw, as findings that somebody answers

Looks back over a week (or a quarter), makes a finding of every difference between groups, spread, health figure,
drift or skew that was bad, with severity, owner and the day by which it is to be answered. Takes in the flags of
bias that people dropped, and lists the model versions that need an ethics review. A finding that is open already is
not made again. See table `audit.finding`, `nightjar findings` and `nightjar answer`.

| parameter | meaning |
|---|---|
| `ds` | the last day that it looks at, as `2024-03-14`; empty: the day that the schedule gives |
| `kind` | `weekly` or `quarterly`; empty: quarterly in the first week of a quarter, else weekly |
| `market` | the market; default: `NIGHTJAR_MARKET`, else `demo` |

**Schedule**: Monday at noon in UTC, for the week that ended on Sunday; off unless the installation says
`NIGHTJAR_SCHEDULE=on`.
"""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from typing import Any

from airflow.sdk import CronTriggerTimetable, Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException


def kind_of(day: str) -> str:
    """Quarterly in the first week of a quarter."""
    ds = date.fromisoformat(day)
    return "quarterly" if ds.month in (1, 4, 7, 10) and ds.day <= 7 else "weekly"


def failed(context: Any) -> None:
    """When a task has failed for good: a page to its owner."""
    from jobs import steps

    params, ti = context["params"], context["ti"]
    error = " ".join(str(context.get("exception") or "no reason given").split())[:500]
    day = params["ds"] or context.get("ds")
    steps.run_failed(ti.dag_id, day, params["market"], ti.task_id, context["task"].owner, error)


@task(execution_timeout=timedelta(minutes=30))
def review() -> list[dict[str, Any]]:
    """Make findings of what the audits saw; returns the new ones, as the log shows them."""
    from jobs import steps

    context = get_current_context()
    params = context["params"]
    if context["dag_run"].run_type == "scheduled" and os.environ.get("NIGHTJAR_SCHEDULE", "off") != "on":
        raise AirflowSkipException("The schedule is off: start audit_review by hand, or set NIGHTJAR_SCHEDULE=on.")
    day = steps.resolve_ds(params, context.get("ds"))
    found = steps.review(day, params["market"], params["kind"] or kind_of(day))
    return [{name: str(row[name]) for name in ("finding", "severity", "owner", "due", "said")} for row in found]


@dag(
    # Its day is the Sunday before, whose night is done by then: the week from Monday to Sunday.
    schedule=CronTriggerTimetable("0 12 * * 1", timezone="UTC", interval=timedelta(days=1)),
    start_date=datetime(2000, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "ds": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Day",
            description="The last day of the review; or empty.",
        ),
        "kind": Param(None, type=["null", "string"], enum=[None, "weekly", "quarterly"], title="Kind"),
        "market": Param(
            os.environ.get("NIGHTJAR_MARKET", "demo"), type="string", pattern="^[A-Za-z_][A-Za-z0-9_]*$", title="Market"
        ),
    },
    default_args={
        "owner": "quality",
        "retries": 1,
        "retry_delay": timedelta(seconds=20),
        "on_failure_callback": failed,
    },
    tags=["nightjar", "audit"],
    description="Findings of what the audits saw, each with an owner and a day.",
    doc_md=__doc__,
    is_paused_upon_creation=False,
)
def audit_review() -> None:
    review()


audit_review()
