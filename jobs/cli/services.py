"""The embedded services and this machine."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from jobs.cli.common import show


def register(add: Any) -> None:
    add("up", do_up, "Start the embedded services; prints addresses and the generated login.", "up")
    add("down", do_down, "Stop the embedded services.", "down")
    add("doctor", do_doctor, "What is missing on this machine and how to mend it.", "doctor")


def do_up(options: argparse.Namespace) -> None:
    from jobs import steps
    from jobs.catalog import write_manifest
    from jobs.nightly import ready
    from jobs.services import airflow, mlflow, up
    from jobs.services.state import State
    from jobs.settings import home_dir

    write_manifest(steps.catalog(), home_dir() / "manifest.json")
    up(on_event=lambda message: print(message, file=sys.stderr))
    ready(home_dir())
    state = State(home_dir())
    rows = {
        "airflow": airflow.url(state),
        "login": "admin",
        "password": airflow.password(state),
        "mlflow": mlflow.url(state),
    }
    show(
        options,
        rows,
        f"Airflow  {rows['airflow']}  login {rows['login']}  password {rows['password']}\n"
        f"MLflow   {rows['mlflow']}\nStop them with: make down",
    )


def do_down(options: argparse.Namespace) -> None:
    from jobs.services import down

    down()


def do_doctor(options: argparse.Namespace) -> int:
    from jobs.doctor import main as doctor

    return doctor()
