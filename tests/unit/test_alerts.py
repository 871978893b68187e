"""Alerts: what pages, what waits for the digest, and that nothing is sent twice; to a receiver on loopback."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from jobs import alerts, ops, steps
from jobs.errors import ServiceError, SettingsError
from jobs.lake import Lake
from jobs.settings import Market, Settings, save_market

DAY = "2024-03-02"
LINK = "http://127.0.0.1:8080/nightjar/reports/shop/2024-03-02.html"


class Receiver(HTTPServer):
    """Keeps what it is sent, and answers as it is told."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen, self.status = [], 204

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((self.path, self.headers.get("Authorization"), json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def receiver(monkeypatch):
    server = Receiver()
    thread = Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("NIGHTJAR_ALERTS", server.url)
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://127.0.0.1:8080/")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("shop"))


def problem(severity, subject, owner="quality", figure="5 of 9", threshold="between(x)"):
    said = f"{subject} is not as it should be."
    return {"severity": severity, "subject": subject, "said": said} | {
        "owner": owner,
        "figure": figure,
        "threshold": threshold,
    }


def report(*problems):
    return {"ds": DAY, "problems": list(problems)}


MIXED = report(problem("fail", "silver.events"), problem("fail", "nobody's", owner=""), problem("warn", "gini"))


def test_an_owned_failure_pages_and_the_rest_is_one_digest(settings, receiver):
    assert alerts.alert_night(settings, MIXED) == 3
    page, digest = [body for _, _, body in receiver.seen]
    assert (page["kind"], page["market"], page["ds"]) == ("page", "shop", DAY)
    assert page["alerts"] == [
        {
            "owner": "quality",
            "table": "silver.events",
            "said": "silver.events is not as it should be.",
            "figure": "5 of 9",
            "threshold": "between(x)",
            "link": LINK,
        }
    ]
    assert digest["kind"] == "digest" and [a["table"] for a in digest["alerts"]] == ["nobody's", "gini"]
    assert "gini is not as it should be." in digest["text"]


def test_nothing_is_sent_twice_and_a_new_failure_is(settings, receiver):
    alerts.alert_night(settings, MIXED)
    moved = problem("fail", "silver.events", figure="6 of 9")
    assert alerts.alert_night(settings, report(moved, problem("warn", "late news"))) == 0
    assert alerts.alert_night(settings, report(moved, problem("fail", "silver.items"))) == 1
    assert [body["kind"] for _, _, body in receiver.seen] == ["page", "digest", "page"]
    assert Lake(settings).rows(ops.ALERT.name).num_rows == 4


def test_a_good_night_is_silent(settings, receiver):
    assert alerts.alert_night(settings, report()) == 0 and receiver.seen == []


def test_an_owner_is_woken_once_for_what_has_one_cause(settings, receiver):
    task = alerts.of_failure(settings, DAY, "ingest.silver_gate", "quality", "Gate silver stops the publish")
    of_gate = report(problem("fail", "silver.events"), problem("fail", "release", owner="platform"))
    for _ in range(2):
        alerts.page_night(settings, of_gate, [task])
    (path, _, first), (_, _, second) = receiver.seen
    assert path == "/hook" and [a["table"] for a in first["alerts"]] == ["ingest.silver_gate", "silver.events"]
    assert "Gate silver stops the publish" in first["text"] and first["alerts"][0]["link"] == LINK
    assert {a["owner"] for a in second["alerts"]} == {"platform"}


def test_a_task_without_an_owner_is_the_platform_s(settings):
    assert alerts.of_failure(settings, DAY, "t", "", "x").owner == "platform"


def test_a_refused_message_is_an_error_without_the_address_and_is_sent_again(settings, receiver):
    receiver.status = 500
    with pytest.raises(ServiceError) as caught:
        alerts.alert_night(settings, MIXED)
    assert receiver.url not in str(caught.value) and "NIGHTJAR_ALERTS" in str(caught.value)
    receiver.status = 200
    assert alerts.alert_night(settings, MIXED) == 3


def test_the_digest_waits_until_the_night_is_done(settings, receiver):
    task = alerts.of_failure(settings, DAY, "ingest.silver_gate", "quality", "Gate silver stops the publish")
    assert alerts.page_night(settings, MIXED, [task]) == 2
    done = report(problem("warn", "gini"), problem("warn", "told of a whole night alone"))
    assert alerts.alert_night(settings, done) == 2
    page, digest = [body for _, _, body in receiver.seen]
    assert (page["kind"], digest["kind"]) == ("page", "digest")
    assert [a["table"] for a in digest["alerts"]] == ["gini", "told of a whole night alone"]


def test_a_page_that_was_not_taken_is_owed_and_sent_once_by_the_next_look(settings, receiver):
    owners = report(problem("fail", "a"), problem("fail", "b", owner="platform"))
    receiver.status = 503
    for _ in range(2):
        with pytest.raises(ServiceError):
            alerts.page_night(settings, owners)
    with pytest.raises(ServiceError):
        alerts.send_owed(settings)
    assert Lake(settings).rows(ops.ALERT_OWED.name).num_rows == 2 and Lake(settings).rows(ops.ALERT.name).num_rows == 0
    receiver.status, receiver.seen = 200, []
    assert [alerts.send_owed(settings) for _ in range(2)] == [2, 0]
    assert [(body["kind"], body["ds"], body["alerts"][0]["table"]) for _, _, body in receiver.seen] == [
        ("page", DAY, "a"),
        ("page", DAY, "b"),
    ]
    assert receiver.seen[0][2]["alerts"][0]["link"] == LINK
    # a rerun that finds the same sends nothing either
    assert alerts.page_night(settings, owners) == 0


@pytest.fixture
def installed(home, receiver):
    """A market of a real installation, as a step loads it."""
    return save_market(Market("shop"))


def test_a_night_that_was_stopped_pages_by_its_step_and_watch_pays_what_is_owed(installed, receiver):
    receiver.status = 500
    with pytest.raises(ServiceError):
        steps.task_failed(DAY, "shop", "ingest.silver", "platform", "boom", "manual__1")
    receiver.status, receiver.seen = 200, []
    # what stopped the night and that there is no release, to one owner; and that a newer night is late
    assert steps.watch("shop") == 3
    page, late = [body for _, _, body in receiver.seen]
    said = [alert["said"] for alert in page["alerts"]]
    assert said[0] == f"Task ingest.silver of the night of {DAY} failed: boom" and len(said) == 2
    assert (page["kind"], page["ds"], late["kind"]) == ("page", DAY, "late")


def test_a_task_of_another_dag_pages_once_a_day(installed, receiver):
    for _ in range(2):
        steps.run_failed("feedback", DAY, "shop", "apply", "platform", "boom")
    assert steps.run_failed("feedback", None, "shop", "apply", "platform", "boom") == 1
    first, today = [body for _, _, body in receiver.seen]
    assert first["alerts"][0]["said"] == f"Task apply of the DAG feedback failed on {DAY}: boom"
    assert first["alerts"][0]["link"] == "http://127.0.0.1:8080/dags/feedback"
    assert today["ds"] == str(dt.datetime.now(dt.UTC).date())


def test_the_report_that_cannot_be_written_pages_all_the_same(installed, receiver, monkeypatch):
    monkeypatch.setattr("jobs.report.night_report", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        steps.task_failed(DAY, "shop", "audit.report", "platform", "division by zero", "manual__1")
    assert [body["alerts"][0]["table"] for _, _, body in receiver.seen] == ["audit.report"]


def test_a_token_is_sent_as_a_bearer(receiver):
    alerts.Receiver(receiver.url, "s3cret").send({"a": 1})
    assert receiver.seen[0][1] == "Bearer s3cret"


def test_without_a_receiver_nothing_is_sent_or_recorded(settings, monkeypatch):
    monkeypatch.delenv("NIGHTJAR_ALERTS", raising=False)
    assert alerts.alert_night(settings, MIXED) == 0
    assert Lake(settings).rows(ops.ALERT.name).num_rows == 0


def test_an_address_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("NIGHTJAR_ALERTS", "file:///etc/passwd")
    with pytest.raises(SettingsError, match="http"):
        alerts.receiver()


@pytest.mark.parametrize(
    ("now", "due"),
    [
        # the 2nd ends at midnight; twelve hours later its night is late
        ("2024-03-03T11:59:00+00:00", "2024-03-01"),
        ("2024-03-03T12:00:00+00:00", "2024-03-02"),
    ],
)
def test_a_night_is_late_twelve_hours_after_its_day(settings, now, due):
    assert str(alerts.newest_due(settings, dt.datetime.fromisoformat(now))) == due


def test_days_end_in_the_market_s_time_zone(settings):
    tokyo = replace(settings, market=Market("shop", timezone="Asia/Tokyo"))
    # midnight of the 3rd is 15:00 of the 2nd in UTC
    assert str(alerts.newest_due(tokyo, dt.datetime.fromisoformat("2024-03-03T03:00:00+00:00"))) == "2024-03-02"


def test_a_late_night_is_said_once_and_a_released_one_never(settings, receiver):
    now = dt.datetime.fromisoformat("2024-03-03T12:00:00+00:00")
    assert [alerts.alert_late(settings, now) for _ in range(2)] == [1, 0]
    assert "The night of 2024-03-02 is late" in receiver.seen[0][2]["text"]
    later = now + dt.timedelta(days=1)
    row = {"ds": dt.date(2024, 3, 3), "release_id": "r", "kind": "nightly", "sequence": 1, "tables": "{}", "at_ms": 1}
    Lake(settings).append(ops.RELEASE, [row])
    assert alerts.alert_late(settings, later) == 0


def test_hours_that_are_no_number_are_refused(monkeypatch):
    monkeypatch.setenv("NIGHTJAR_LATE_HOURS", "soon")
    with pytest.raises(SettingsError, match="soon"):
        alerts.late_hours()
