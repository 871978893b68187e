"""
## training: a challenger for the ranker, and its promotion

Fits the ranker on the examples up to `ds`, logs it to MLflow with metrics, plots, data versions and a model card, and
compares it with the champion line by line (the gate). A challenger that the gate refuses stays in the registry, and
the champion stays in use. The DAG `nightly` starts this one where no model exists, the newest is a week old, or its
features have drifted.

| parameter | meaning |
|---|---|
| `ds` | the last day of the data, as `2024-03-14`; needed |
| `market` | the market; default: `NIGHTJAR_MARKET`, else `demo` |
| `mode` | `auto` promotes what passes; `manual` asks a person; `dry_run` trains and compares only |

The default `mode` is that of the installation: `NIGHTJAR_PROMOTION`, else `auto`.

**Decide** (mode `manual`): *Required Actions*, or the task `approve`, shows the model card with the gate. **Approve**
makes the challenger champion, unless another one has become champion meanwhile. **Reject** keeps the champion, and the
reason goes to the version's tags.

**Run by hand**: *Trigger*, with `ds`. The examples of the days before must exist: `nightly` makes them.
A new champion is used from the next night on; nights that are pinned keep their model, reruns included.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
from airflow.sdk import Param, TriggerRule, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException


def failed(context: Any) -> None:
    """When a task has failed for good: a page to its owner."""
    from jobs import steps

    params, ti = context["params"], context["ti"]
    error = " ".join(str(context.get("exception") or "no reason given").split())[:500]
    day = params["ds"] or context.get("ds")
    steps.run_failed(ti.dag_id, day, params["market"], ti.task_id, context["task"].owner, error)


@task(pool="heavy", execution_timeout=timedelta(hours=4))
def fit_rankers(params: dict[str, Any] | None = None, ds: str | None = None) -> dict[str, Any]:
    """Fit, measure and register a challenger, and compare it with the champion."""
    from jobs import steps

    context = get_current_context()
    given = params or {}
    made = steps.fit_rankers(steps.resolve_ds(given, ds), given["market"], context["run_id"])
    # Names only: what was measured is in MLflow.
    return {"version": str(made["version"]), "passed": bool(made["passed"])}


@task(execution_timeout=timedelta(minutes=10))
def show_card(challenger: dict[str, Any]) -> str:
    """The model card with its gate, for a person to decide on; skipped where none is asked."""
    from jobs import steps

    params = get_current_context()["params"]
    if steps.promotion_mode(params["market"], params["mode"]) != "manual" or not challenger["passed"]:
        raise AirflowSkipException("Nobody is asked: the gate has refused it, or the mode decides.")
    return steps.model_card(params["market"], challenger["version"])


class Review(ApprovalOperator):
    """Ask whether the challenger shall be champion; a rejection is kept with the version, with its reason."""

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        # Before the approval's own: where it skips what comes after, it does not return.
        answer = HITLOperator.execute_complete(self, context, event)
        if self.APPROVE not in answer["chosen_options"]:
            from jobs import steps

            version = context["ti"].xcom_pull(task_ids="fit_rankers")["version"]
            steps.reject_model(context["params"]["market"], version, **said(answer, "rejected without a reason"))
        return super().execute_complete(context, event)


def said(answer: dict[str, Any] | None, otherwise: str) -> dict[str, str]:
    """Who answered, and the reason given."""
    if answer is None:
        return {}
    person = (answer["responded_by_user"] or {}).get("name", "nobody: the time was over")
    return {"reason": (answer["params_input"] or {}).get("reason") or otherwise, "approver": person}


# A challenger that nobody was asked about is decided by its gate and the mode; a rejection skips this.
@task(trigger_rule=TriggerRule.NONE_FAILED, execution_timeout=timedelta(minutes=30))
def promote(challenger: dict[str, Any]) -> None:
    """Make the challenger champion if it passed the gate, and the mode or a person lets it."""
    from jobs import steps

    context = get_current_context()
    params, answer = context["params"], context["ti"].xcom_pull(task_ids="approve")
    steps.promote(
        params["market"],
        challenger["version"],
        challenger["passed"],
        mode=params["mode"],
        **said(answer, "approved"),
    )


@dag(
    schedule=None,
    start_date=datetime(2000, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # A run that nobody answers must not stay open for ever.
    dagrun_timeout=timedelta(days=9),
    params={
        "ds": Param(None, type=["null", "string"], format="date", title="Day", description="The last day of the data."),
        "market": Param(
            os.environ.get("NIGHTJAR_MARKET", "demo"), type="string", pattern="^[A-Za-z_][A-Za-z0-9_]*$", title="Market"
        ),
        "mode": Param(
            None,
            type=["null", "string"],
            enum=[None, "auto", "manual", "dry_run"],
            title="Promotion",
            description="Default: that of the installation.",
        ),
    },
    default_args={
        "owner": "model-life",
        "retries": 1,
        "retry_delay": timedelta(seconds=20),
        "on_failure_callback": failed,
    },
    tags=["nightjar", "models"],
    description="Fit a challenger, compare it with the champion, promote it if it passes.",
    doc_md=__doc__,
    is_paused_upon_creation=False,
)
def training() -> None:
    challenger = fit_rankers()
    approve = Review(
        task_id="approve",
        doc_md="Shows the model card with the gate; approving promotes the challenger, rejecting keeps the champion.",
        subject="Make version {{ ti.xcom_pull(task_ids='fit_rankers')['version'] }} of the ranker of "
        "{{ params['market'] }} champion?",
        body="{{ ti.xcom_pull(task_ids='show_card') }}",
        params={"reason": Param("", type="string", title="Reason", description="Kept with the version.")},
        response_timeout=timedelta(days=7),
        execution_timeout=timedelta(days=8),
    )
    show_card(challenger) >> approve >> promote(challenger)


training()
