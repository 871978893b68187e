"""Run a DAG with stand-ins for its steps, and print what they were called with; one process, no Spark.

Its arguments are the DAG, its conf as JSON and, for a run that a step stops, the name of that step.
Nobody is there to be asked: a task ``approve`` counts as approved.
"""

from __future__ import annotations

import json
import sys
import types
from datetime import timedelta
from pathlib import Path
from typing import Any

CALLS: list[tuple[str, list[Any], dict[str, Any]]] = []


def stand_ins() -> types.ModuleType:
    steps = types.ModuleType("jobs.steps")

    def answer(name: str, value: Any) -> None:
        def step(*args: Any, **kwargs: Any) -> Any:
            CALLS.append((name, list(args), kwargs))
            return value(*args) if callable(value) else value

        setattr(steps, name, step)

    answer("resolve_ds", lambda params, ds: params.get("ds") or ds)
    answer("landing_complete", True)
    answer("run_group", lambda group, day: {"bronze.events": 5} if group == "bronze" else {})
    answer("run_gate", lambda group, day: {"silver.events": 4} if group == "silver" else {})
    answer("training_due", False)
    answer("pin_model", {"version": "3"})
    answer("publish_release", {"release_id": "r1", "kind": "nightly", "rows": {"serving.recommendations": 9}})
    answer("write_report", "report.html")
    answer("task_failed", "report.html")
    answer("stage_backfill", "| table |")
    answer("swap_backfill", {"silver.events": 4})
    answer("discard_backfill", True)
    answer("run_failed", 1)
    answer("apply_feedback", {"release_id": None})
    answer("review", [])
    answer("watch", 0)
    for name in sys.argv[3:]:
        answer(name, stops)
    return steps


def stops(*about: Any) -> None:
    raise RuntimeError(f"Stopped: {', '.join(map(str, about))}.")


def main() -> None:
    import jobs

    jobs.steps = sys.modules["jobs.steps"] = stand_ins()
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.db import initdb
    from airflow.utils.session import create_session
    from sqlalchemy import select

    initdb()
    DagBundlesManager().sync_bundles_to_db()
    dags = Path(__file__).resolve().parents[2] / "dags"
    bag = DagBag(dags, bundle_path=dags)
    dag = bag.dags[sys.argv[1]]
    for task in dag.tasks:
        task.retry_delay = timedelta()
    sync_bag_to_db(bag, "dags-folder", None)
    conf = json.loads(sys.argv[2])
    run = dag.test(run_conf=conf, logical_date=None, mark_success_pattern="^approve$")
    with create_session() as session:
        found = session.execute(
            select(AssetModel.name, AssetEvent.extra).join(AssetModel, AssetModel.id == AssetEvent.asset_id)
        ).all()
    states = {ti.task_id: str(ti.state) for ti in run.get_task_instances()}
    seen = {"state": str(run.state), "tasks": states, "run_id": run.run_id, "calls": CALLS}
    print(json.dumps({**seen, "events": {name: extra for name, extra in found}}, default=str))


if __name__ == "__main__":
    main()
