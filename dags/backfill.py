"""
## backfill: rebuild a range of days aside, look at the difference, approve, swap

Rebuilds tables for `from` to `to` where no reader looks, in one go for the whole range, and runs their declared
checks. Then it waits, and shows for every table how many rows would be added, removed and changed. **Approve**
(*Required Actions*, or the task `approve`) swaps the days in, one commit a table; **Reject** deletes what was built.
`nightjar restore RUN_ID` puts the old days back.

| parameter | meaning |
|---|---|
| `from`, `to` | the first and the last day |
| `tables` | `TABLE`, or `TABLE+` with all that reads it, for every day that the change touches |
| `market` | the market; default: `NIGHTJAR_MARKET`, else `demo` |

Tables of bronze, silver, features and examples can be rebuilt; lists stay as they were served. What a backfill
comes to is shown beforehand by `nightjar plan TABLE+ --from … --to … --touched`.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import Param, dag, get_current_context, task

HEAVY = "heavy"


def run() -> dict[str, Any]:
    """What identifies the run, as arguments of a step."""
    context = get_current_context()
    return {"market": context["params"]["market"], "run_id": context["run_id"]}


def attempt() -> dict[str, Any]:
    """What identifies this try of this task."""
    ti = get_current_context()["ti"]
    return {**run(), "task_id": ti.task_id, "try_number": ti.try_number}


def failed(context: Any) -> None:
    """When a task has failed for good: a page to its owner."""
    from jobs import steps

    params, ti = context["params"], context["ti"]
    error = " ".join(str(context.get("exception") or "no reason given").split())[:500]
    day = params["to"] or context.get("ds")
    steps.run_failed(ti.dag_id, day, params["market"], ti.task_id, context["task"].owner, error)


@task(pool=HEAVY, execution_timeout=timedelta(hours=12))
def stage() -> str:
    """Rebuild the days aside, check them, and compare them with what is live."""
    from jobs import steps

    params = get_current_context()["params"]
    days = [steps.resolve_ds({}, params[name]) for name in ("from", "to")]
    return steps.stage_backfill(params["tables"], *days, **attempt())


@task(pool=HEAVY, execution_timeout=timedelta(hours=1))
def swap() -> None:
    """Publish what was staged; a day that another run has published meanwhile stops it."""
    from jobs import steps

    steps.swap_backfill(**attempt())


@task(execution_timeout=timedelta(minutes=30))
def clean_up() -> None:
    """Delete what was staged and not swapped in."""
    from jobs import steps

    steps.discard_backfill(**run())


@dag(
    schedule=None,
    start_date=datetime(2000, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=4,
    params={
        "from": Param(None, type=["null", "string"], format="date", title="From", description="The first day."),
        "to": Param(None, type=["null", "string"], format="date", title="To", description="The last day."),
        "tables": Param(
            ["silver.events+"],
            type="array",
            items={"type": "string"},
            minItems=1,
            title="Tables",
            description="One a line.",
        ),
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
    tags=["nightjar", "backfill"],
    description="Rebuild days aside, compare, approve, swap.",
    doc_md=__doc__,
    is_paused_upon_creation=False,
)
def backfill() -> None:
    approve = ApprovalOperator(
        task_id="approve",
        doc_md="Shows the difference; approving swaps the days in, rejecting deletes what was built.",
        subject="Swap in {{ params['tables'] | join(', ') }} of {{ params['from'] }} to {{ params['to'] }}?",
        body="{{ ti.xcom_pull(task_ids='stage') }}",
        response_timeout=timedelta(days=7),
        execution_timeout=timedelta(days=8),
    )
    # A rejection skips the swap; what was staged goes in any case. As a teardown it does not decide how the run ended.
    stage() >> approve >> swap() >> clean_up().as_teardown()


backfill()
