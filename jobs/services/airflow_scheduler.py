"""Airflow's scheduler, with the libraries of the tasks in memory: its workers are forks, and so are their tasks.

A task that imports them itself needs two seconds of a core, sixteen times a night; a gate needs six. The project's own
modules are not among them, so that a task runs the code that is there when it starts.
"""

from __future__ import annotations

import importlib
import sys

PRELOADED = (
    "deltalake",
    "great_expectations",
    "mlflow",
    "pandas",
    "pyarrow.compute",
    "pyspark.sql.connect.session",
    "scipy.stats",
)


def main() -> None:
    """Load the libraries, then become ``airflow scheduler`` with the arguments given."""
    from airflow.__main__ import main as airflow

    for library in PRELOADED:
        importlib.import_module(library)
    sys.argv = ["airflow", "scheduler", *sys.argv[1:]]
    airflow()


if __name__ == "__main__":
    main()
