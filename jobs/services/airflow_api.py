"""A client of Airflow's REST API: start runs, watch them, order backfills."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import requests

from jobs.errors import ServiceError
from jobs.services import airflow
from jobs.services.state import State

DONE = frozenset({"success", "failed"})
TRANSIENT_TRIES = 5


class AirflowError(ServiceError):
    """Airflow refused a request, or did not do in time what it was asked.

    Attributes
    ----------
    status : int or None
        HTTP status of the refusal; None where there was no answer.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotFound(AirflowError):
    """There is no such DAG, run or task."""


class Forbidden(AirflowError):
    """The login is wrong, or its role may not do this."""


class Conflict(AirflowError):
    """Something is there already: a run of that id, or an open backfill of the DAG."""


class RunFailed(AirflowError):
    """A run ended without success; the message names its failed tasks."""


KINDS: Mapping[int, type[AirflowError]] = {401: Forbidden, 403: Forbidden, 404: NotFound, 409: Conflict}


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Parameters
    ----------
    tasks
        ``{task id: state}``; a mapped task has its index appended.
    """

    dag_id: str
    run_id: str
    state: str
    tasks: Mapping[str, str]

    @property
    def failed(self) -> list[str]:
        return sorted(task for task, state in self.tasks.items() if state == "failed")


@dataclass
class AirflowClient:
    """A client with a token that is renewed when it has expired.

    Parameters
    ----------
    url, user, password
        Of the API server; `connect` takes them from an installation.
    """

    url: str
    user: str
    password: str = field(repr=False)
    timeout: float = 30.0
    _session: requests.Session = field(default_factory=requests.Session, repr=False)

    def __post_init__(self) -> None:
        # A proxy of the environment must not see requests to this machine.
        self._session.trust_env = False

    def login(self) -> None:
        """Get a token.

        Raises
        ------
        Forbidden
            The user or the password is wrong.
        """
        body = {"username": self.user, "password": self.password}
        answer = self._send("POST", "/auth/token", body)
        self._check(answer)
        self._session.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> dict[str, Any]:
        """Send one request below ``/api/v2`` and return its JSON.

        Raises
        ------
        AirflowError
            The server refused, with Airflow's own words; `NotFound`, `Forbidden` and `Conflict` are its kinds.
        """
        if "Authorization" not in self._session.headers:
            self.login()
        answer = self._send(method, f"/api/v2{path}", body, query)
        if answer.status_code == 401:
            self.login()
            answer = self._send(method, f"/api/v2{path}", body, query)
        self._check(answer)
        return answer.json() if answer.content else {}

    def unpause(self, dag_id: str, *, paused: bool = False) -> None:
        """Let the scheduler run a DAG, or with ``paused=True`` stop it from doing so."""
        self.call("PATCH", f"/dags/{dag_id}", {"is_paused": paused})

    def ensure_pool(self, name: str, slots: int, description: str) -> None:
        """Make the pool where it is not there yet; an operator's own size stays."""
        try:
            self.call("GET", f"/pools/{name}")
        except NotFound:
            self.call("POST", "/pools", {"name": name, "slots": slots, "description": description})

    def wait_for_dag(self, dag_id: str, timeout: float = 120.0) -> None:
        """Wait until Airflow has read a DAG.

        Raises
        ------
        AirflowError
            It did not in time; the message quotes the import errors of DAG files, if there are any.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                self.call("GET", f"/dags/{dag_id}")
                return
            except NotFound:
                if time.monotonic() > deadline:
                    raise AirflowError(f"Airflow does not know the DAG {dag_id}. {self._import_errors()}") from None
            time.sleep(1)

    def trigger(
        self, dag_id: str, ds: str | None = None, conf: Mapping[str, Any] | None = None, *, run_id: str | None = None
    ) -> str:
        """Start a run and return its id.

        The day goes into ``conf`` as the parameter ``ds``. The run has no logical date: Airflow allows one run
        a logical date, and a day may be run again.
        """
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        body = {
            "logical_date": None,
            "dag_run_id": run_id or f"manual__{ds or 'today'}__{now}",
            "conf": {**({"ds": ds} if ds else {}), **(conf or {})},
        }
        return self.call("POST", f"/dags/{dag_id}/dagRuns", body)["dag_run_id"]

    def tasks(self, dag_id: str, run_id: str) -> dict[str, str]:
        """State of each task of a run; ``none`` for those that were not scheduled yet."""
        found: dict[str, str] = {}
        while True:
            path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
            page = self.call("GET", path, limit=100, offset=len(found))
            for task in page["task_instances"]:
                mapped = f"[{task['map_index']}]" if task["map_index"] >= 0 else ""
                found[task["task_id"] + mapped] = task["state"] or "none"
            if not page["task_instances"] or len(found) >= page["total_entries"]:
                return found

    def wait(
        self,
        dag_id: str,
        run_id: str,
        *,
        on_change: Callable[[str, str], None] = lambda task, state: None,
        timeout: float = 6 * 3600,
        poll: float = 1.0,
    ) -> RunResult:
        """Follow a run to its end.

        Parameters
        ----------
        on_change
            Called as ``on_change(task id, new state)``.

        Raises
        ------
        RunFailed
            The run failed.
        AirflowError
            It did not end in time.
        """
        seen: dict[str, str] = {}
        deadline = time.monotonic() + timeout
        while True:
            # The state of the run first: the tasks read after it are then at least as new.
            state = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"]
            tasks = self.tasks(dag_id, run_id)
            for task, now in tasks.items():
                if seen.get(task) != now:
                    on_change(task, now)
            seen = tasks
            if state in DONE:
                break
            if time.monotonic() > deadline:
                raise AirflowError(f"{dag_id} {run_id} is still {state} after {timeout:.0f} s.")
            time.sleep(poll)
        result = RunResult(dag_id, run_id, state, tasks)
        if state == "failed":
            raise RunFailed(f"{dag_id} {run_id} failed in {', '.join(result.failed) or 'no task of its own'}.")
        return result

    def log(self, dag_id: str, run_id: str, task: str, try_number: int = 1) -> str:
        """The log of one try of a task, as text."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task}/logs/{try_number}"
        content = self.call("GET", path, full_content=True)["content"]
        lines = content if isinstance(content, list) else [content]
        return "\n".join(_line(line) for line in lines)

    def backfill(
        self,
        dag_id: str,
        start: str,
        end: str,
        *,
        reprocess: Literal["none", "failed", "completed"] = "none",
        max_active_runs: int = 1,
        newest_first: bool = False,
        conf: Mapping[str, Any] | None = None,
    ) -> int:
        """Order Airflow to run the days from ``start`` to ``end``, both included; return the backfill's id.

        Raises
        ------
        Conflict
            Another backfill of this DAG is open.
        """
        body = {
            "dag_id": dag_id,
            "from_date": f"{start}T00:00:00Z",
            "to_date": f"{end}T00:00:00Z",
            "reprocess_behavior": reprocess,
            "max_active_runs": max_active_runs,
            "run_backwards": newest_first,
            "dag_run_conf": dict(conf or {}),
        }
        return int(self.call("POST", "/backfills", body)["id"])

    def wait_backfill(self, backfill_id: int, *, timeout: float = 12 * 3600, poll: float = 2.0) -> None:
        """Wait until Airflow has closed a backfill, some 20 seconds after its last run."""
        deadline = time.monotonic() + timeout
        while not self.call("GET", f"/backfills/{backfill_id}").get("completed_at"):
            if time.monotonic() > deadline:
                raise AirflowError(f"Backfill {backfill_id} is still open after {timeout:.0f} s.")
            time.sleep(poll)

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, query: Mapping[str, Any] | None = None
    ) -> requests.Response:
        for left in reversed(range(TRANSIENT_TRIES)):
            try:
                return self._session.request(method, f"{self.url}{path}", json=body, params=query, timeout=self.timeout)
            except requests.ConnectionError as error:
                # The supervisor may be starting the server again. A request that got through is not repeated:
                # only a refused connection ends here.
                if left == 0 or method not in ("GET", "PATCH") and path != "/auth/token":
                    raise AirflowError(f"Airflow does not answer at {self.url}: run `nightjar up`.") from error
                time.sleep(2)
            except requests.RequestException as error:
                raise AirflowError(f"{method} {path}: {type(error).__name__}.") from error
        raise AssertionError("unreachable")

    def _check(self, answer: requests.Response) -> None:
        if answer.ok:
            return
        try:
            detail = answer.json().get("detail")
        except (ValueError, AttributeError):
            detail = answer.text[:300]
        where = f"{answer.request.method} {answer.request.path_url}"
        kind = KINDS.get(answer.status_code, AirflowError)
        raise kind(f"Airflow refused {where} ({answer.status_code}): {detail}", answer.status_code)

    def _import_errors(self) -> str:
        errors = self.call("GET", "/importErrors").get("import_errors", [])
        return " ".join(f"{e['filename']}: {e['stack_trace'].strip().splitlines()[-1]}" for e in errors)


def _line(line: Any) -> str:
    """A log entry as text, with the error that it carries."""
    if not isinstance(line, dict):
        return str(line)
    errors = [f"{e.get('exc_type')}: {e.get('exc_value')}" for e in line.get("error_detail") or []]
    return "\n".join([str(line.get("event", line)), *errors])


def connect(home: Path | None = None, user: str = "admin") -> AirflowClient:
    """A client of an installation's Airflow, logged in as one of its generated users."""
    state = State(home)
    return AirflowClient(airflow.url(state), user, airflow.password(state, user))


def reserialize(home: Path | None = None) -> None:
    """Read all DAG files now; otherwise Airflow finds a new one within half a minute.

    Raises
    ------
    AirflowError
        The command failed.
    """
    command = [str(Path(sys.executable).parent / "airflow"), "dags", "reserialize"]
    env = airflow.airflow_env(home)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise AirflowError(f"`airflow dags reserialize` failed:\n{done.stderr.strip()[-1500:]}")
