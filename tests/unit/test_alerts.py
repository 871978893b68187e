"""Alerts: what pages, what waits for the digest, and that nothing is sent twice; to a receiver on loopback."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from jobs import alerts, ops
from jobs.errors import ServiceError, SettingsError
from jobs.lake import Lake
from jobs.settings import Market, Settings

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
        alerts.alert_night(settings, of_gate, [task])
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
