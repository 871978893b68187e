"""The client turns Airflow's answers into results and typed errors; a small server stands in for Airflow."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from jobs.services.airflow_api import AirflowClient, AirflowError, Conflict, Forbidden, NotFound, RunFailed
from jobs.services.state import free_port


class Fake(BaseHTTPRequestHandler):
    """Answers what a test has put into ``server.answers``: lists are answered one by one, the last for ever."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def log_message(self, *arguments: object) -> None:
        """Stay quiet."""

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        path = self.path.split("?")[0]
        self.server.seen.append((self.command, path, body, self.headers.get("Authorization")))
        queue = self.server.answers.get((self.command, path), [(404, {"detail": "nothing here"})])
        status, document = queue.pop(0) if len(queue) > 1 else queue[0]
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    fake = ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    fake.answers = {("POST", "/auth/token"): [(201, {"access_token": "one"}), (201, {"access_token": "two"})]}
    fake.seen = []
    thread = threading.Thread(target=fake.serve_forever, daemon=True)
    thread.start()
    yield fake
    fake.shutdown()
    fake.server_close()


@pytest.fixture
def client(server: ThreadingHTTPServer) -> AirflowClient:
    return AirflowClient(f"http://127.0.0.1:{server.server_address[1]}", "admin", "secret")


def instances(**states: str | None) -> dict[str, object]:
    tasks = [{"task_id": name, "state": state, "map_index": -1} for name, state in states.items()]
    return {"task_instances": tasks, "total_entries": len(tasks)}


def test_trigger_names_the_day_and_no_logical_date(server: ThreadingHTTPServer, client: AirflowClient) -> None:
    server.answers["POST", "/api/v2/dags/nightly/dagRuns"] = [(200, {"dag_run_id": "r"})]
    assert client.trigger("nightly", "2024-02-03", {"market": "demo"}) == "r"
    _, _, body, authorization = server.seen[-1]
    assert body["logical_date"] is None
    assert body["conf"] == {"ds": "2024-02-03", "market": "demo"}
    assert body["dag_run_id"].startswith("manual__2024-02-03__")
    assert authorization == "Bearer one"


def test_an_expired_token_is_renewed(server: ThreadingHTTPServer, client: AirflowClient) -> None:
    server.answers["PATCH", "/api/v2/dags/nightly"] = [(401, {"detail": "expired"}), (200, {})]
    client.unpause("nightly")
    assert server.seen[-1] == ("PATCH", "/api/v2/dags/nightly", {"is_paused": False}, "Bearer two")


@pytest.mark.parametrize(("status", "kind"), [(403, Forbidden), (404, NotFound), (409, Conflict), (422, AirflowError)])
def test_refusals_have_types(
    server: ThreadingHTTPServer, client: AirflowClient, status: int, kind: type[AirflowError]
) -> None:
    server.answers["POST", "/api/v2/backfills"] = [(status, {"detail": "because"})]
    with pytest.raises(kind, match="because") as caught:
        client.backfill("nightly", "2024-01-01", "2024-01-03")
    assert caught.value.status == status
    assert "secret" not in str(caught.value) + repr(client)


def test_wait_reports_changes_and_returns_states(server: ThreadingHTTPServer, client: AirflowClient) -> None:
    run = "/api/v2/dags/d/dagRuns/r"
    server.answers["GET", run] = [(200, {"state": "running"}), (200, {"state": "success"})]
    server.answers["GET", f"{run}/taskInstances"] = [
        (200, instances(a="running", b=None)),
        (200, instances(a="success", b="success")),
    ]
    changes: list[tuple[str, str]] = []
    result = client.wait("d", "r", on_change=lambda task, state: changes.append((task, state)), poll=0)
    assert changes == [("a", "running"), ("b", "none"), ("a", "success"), ("b", "success")]
    assert (result.state, result.tasks, result.failed) == ("success", {"a": "success", "b": "success"}, [])


def test_a_failed_run_names_its_tasks(server: ThreadingHTTPServer, client: AirflowClient) -> None:
    server.answers["GET", "/api/v2/dags/d/dagRuns/r"] = [(200, {"state": "failed"})]
    server.answers["GET", "/api/v2/dags/d/dagRuns/r/taskInstances"] = [(200, instances(a="success", b="failed"))]
    with pytest.raises(RunFailed, match="failed in b"):
        client.wait("d", "r")


def test_waiting_ends(server: ThreadingHTTPServer, client: AirflowClient) -> None:
    server.answers["GET", "/api/v2/dags/d/dagRuns/r"] = [(200, {"state": "queued"})]
    server.answers["GET", "/api/v2/dags/d/dagRuns/r/taskInstances"] = [(200, instances(a=None))]
    with pytest.raises(AirflowError, match="still queued"):
        client.wait("d", "r", timeout=0)


def test_an_unknown_dag_is_explained_by_import_errors(server: ThreadingHTTPServer, client: AirflowClient) -> None:
    errors = [{"filename": "nightly.py", "stack_trace": "Traceback\nImportError: no pyarrow\n"}]
    server.answers["GET", "/api/v2/importErrors"] = [(200, {"import_errors": errors})]
    with pytest.raises(AirflowError, match=r"nightly\.py: ImportError: no pyarrow"):
        client.wait_for_dag("nightly", timeout=0)


def test_no_server_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.services.airflow_api.TRANSIENT_TRIES", 1)
    with pytest.raises(AirflowError, match="nightjar up"):
        AirflowClient(f"http://127.0.0.1:{free_port()}", "admin", "x").login()
