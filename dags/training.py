"""
## training: a challenger for the ranker, and its promotion

Fits the rankers on the examples up to `ds`, logs them to MLflow with metrics, plots, data versions and a model
card, compares them with the champion, and promotes the challenger if it passes. A challenger that the gate
refuses stays in the registry, and the champion stays in use. The DAG `nightly` starts this one where no model
exists or the newest is a week old.

| parameter | meaning |
|---|---|
| `ds` | the last day of the data, as `2024-03-14`; needed |
| `market` | the market; default: `NIGHTJAR_MARKET`, else `demo` |
| `mode` | `auto` promotes what passes; `dry_run` trains and compares only |

**Run by hand**: *Trigger*, with `ds`. The examples of the days before must exist: `nightly` makes them.
A new champion is used from the next night on; nights that are pinned keep their model, reruns included.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task


@task(pool="heavy", execution_timeout=timedelta(hours=4))
def fit_rankers(params: dict[str, Any] | None = None, ds: str | None = None) -> dict[str, Any]:
    """Fit, measure and register a challenger, and compare it with the champion."""
    from jobs import steps

    context = get_current_context()
    given = params or {}
    made = steps.fit_rankers(steps.resolve_ds(given, ds), given["market"], context["run_id"])
    # Names only: what was measured is in MLflow.
    return {"version": str(made["version"]), "passed": bool(made["passed"])}


@task(execution_timeout=timedelta(minutes=30))
def promote(challenger: dict[str, Any]) -> None:
    """Make the challenger champion if it passed the gate and the mode lets it."""
    from jobs import steps

    params = get_current_context()["params"]
    steps.promote(params["market"], challenger["version"], challenger["passed"], mode=params["mode"])


@dag(
    schedule=None,
    start_date=datetime(2000, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    # The night that waits for this run must not wait for ever.
    dagrun_timeout=timedelta(hours=8),
    params={
        "ds": Param(None, type=["null", "string"], format="date", title="Day", description="The last day of the data."),
        "market": Param(
            os.environ.get("NIGHTJAR_MARKET", "demo"), type="string", pattern="^[A-Za-z_][A-Za-z0-9_]*$", title="Market"
        ),
        "mode": Param("auto", type="string", enum=["auto", "dry_run"], title="Promotion"),
    },
    default_args={"owner": "model-life", "retries": 1, "retry_delay": timedelta(seconds=20)},
    tags=["nightjar", "models"],
    description="Fit a challenger, compare it with the champion, promote it if it passes.",
    doc_md=__doc__,
    is_paused_upon_creation=False,
)
def training() -> None:
    promote(fit_rankers())


training()
