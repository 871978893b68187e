"""Read the DAG files as Airflow does and print what came of it as JSON; run by the tests in a process of its own.

So no test process holds Airflow, its settings or its warnings.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import pendulum

DAGS = Path(__file__).resolve().parents[2] / "dags"
HEAVY = (
    "faiss",
    "great_expectations",
    "jax",
    "keras",
    "matplotlib",
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "pyspark",
    "xgboost",
)
# Airflow's own provider of sensors imports a name that Airflow has moved.
AIRFLOWS_OWN = "The `airflow.utils.operator_helpers.determine_kwargs` attribute is deprecated"


def describe(dag) -> dict:
    tasks = {
        task.task_id: {
            "owner": task.owner,
            "retries": task.retries,
            "retry_delay_s": task.retry_delay.total_seconds(),
            "timeout_s": task.execution_timeout.total_seconds() if task.execution_timeout else None,
            "doc": task.doc_md or "",
            "pool": task.pool,
            "trigger_rule": str(task.trigger_rule.value),
            "upstream": sorted(task.upstream_task_ids),
            "outlets": [asset.name for asset in task.outlets],
            "uris": [asset.uri for asset in task.outlets],
            "on_failure": [callback.__name__ for callback in task.on_failure_callback],
        }
        for task in dag.topological_sort()
    }
    return {
        "tasks": tasks,
        "timetable": type(dag.timetable).__name__,
        "schedule": getattr(dag.timetable, "expression", None),
        "next": first_run(dag.timetable),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "tags": sorted(dag.tags),
        "doc": dag.doc_md or "",
        "params": {name: dag.params.get_param(name).schema for name in dag.params},
    }


def first_run(timetable) -> dict | None:
    """When the first run after Saturday, the 2nd of March 2024 starts, and the day that it is given."""
    from airflow.serialization.encoders import coerce_to_core_timetable
    from airflow.timetables.base import TimeRestriction

    since = TimeRestriction(pendulum.datetime(2024, 3, 2), None, catchup=True)
    made = coerce_to_core_timetable(timetable).next_dagrun_info(last_automated_data_interval=None, restriction=since)
    return made and {"at": made.run_after.isoformat(), "ds": str(made.logical_date.date())}


def main() -> None:
    # Airflow and the parts of it that DAG files use: not our time, though the files import them.
    from airflow.dag_processing.dagbag import DagBag

    before = set(sys.modules)
    warnings.filterwarnings("error")
    warnings.filterwarnings("ignore", message=AIRFLOWS_OWN)
    started = time.monotonic()
    bag = DagBag(DAGS, bundle_path=DAGS)
    seconds = time.monotonic() - started
    loaded = {name.split(".")[0] for name in sys.modules}
    ours = {"jobs", "features", "models", "quality"}
    print(
        json.dumps(
            {
                "errors": bag.import_errors,
                "warnings": {str(k): list(v) for k, v in bag.captured_warnings.items()},
                "seconds": seconds,
                "heavy": sorted(loaded & set(HEAVY)),
                "ours": sorted({name.split(".")[0] for name in set(sys.modules) - before} & ours),
                "dags": {dag_id: describe(dag) for dag_id, dag in bag.dags.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
