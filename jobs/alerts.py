"""Alerts: failures that somebody owns page at once; everything else is one digest a night; none is sent twice.

The digest is of a whole night: what stops one pages alone, and its warnings are told when it is done. A page that the
receiver did not take is owed, and sent by the next look.

They go as JSON to a webhook: ``NIGHTJAR_ALERTS`` names its address, else the Airflow connection ``nightjar_alerts``
(its password is sent as a bearer token). Without either nothing is sent; the report says the same.
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any
from zoneinfo import ZoneInfo

import requests

from jobs import ops, releases
from jobs.contract import digest
from jobs.errors import ServiceError, SettingsError
from jobs.lake import Lake
from jobs.publishing import now_ms
from jobs.settings import Settings

log = logging.getLogger(__name__)
CONNECTION = "nightjar_alerts"
PAGE, DIGEST, LATE = "page", "digest", "late"
LATE_HOURS = 12
TIMEOUT_S = 10


@dataclass(frozen=True)
class Alert:
    """One thing to look at: who owns it, what it is about, the figure, its limit, and where to read on."""

    owner: str
    table: str
    said: str
    figure: str = ""
    threshold: str = ""
    link: str = ""

    @classmethod
    def of(cls, problem: Mapping[str, Any], link: str) -> Alert:
        """The alert of a problem of the night's report."""
        kept = ("owner", "said", "figure", "threshold")
        return cls(table=problem["subject"], link=link, **{name: problem[name] for name in kept})

    @property
    def key(self) -> str:
        """What makes it the same alert: not the figure, which moves from try to try."""
        return digest([self.owner, self.table, self.threshold])


@dataclass(frozen=True)
class Receiver:
    """A webhook; ``token`` is sent as a bearer token where there is one. Neither is ever shown."""

    url: str = field(repr=False)
    token: str = field(default="", repr=False)

    def send(self, message: Mapping[str, Any]) -> None:
        """Deliver a message.

        Raises
        ------
        ServiceError
            The receiver does not answer, or refuses.
        """
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            requests.post(self.url, json=message, headers=headers, timeout=TIMEOUT_S).raise_for_status()
        except requests.RequestException as error:
            # the error's own text may hold the address with its secrets
            raise ServiceError(
                f"The receiver of alerts did not take a message ({type(error).__name__}): look at NIGHTJAR_ALERTS, "
                f"or at the Airflow connection {CONNECTION}."
            ) from None


def receiver() -> Receiver | None:
    """Where alerts go, or None where nobody said."""
    if address := os.environ.get("NIGHTJAR_ALERTS"):
        return Receiver(_checked(address))
    return _of_connection() if "airflow.sdk" in sys.modules else None


def _of_connection() -> Receiver | None:
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = Connection.get(CONNECTION)
    except AirflowNotFoundException:
        return None
    return Receiver(_checked(found.host or ""), found.password or "")


def _checked(address: str) -> str:
    if not address.startswith(("http://", "https://")):
        raise SettingsError("The address for alerts must begin with http:// or https://.")
    return address


def alert_night(settings: Settings, report: Mapping[str, Any]) -> int:
    """Send the pages and the digest of a night that is done, as far as they were not sent before.

    Parameters
    ----------
    report
        What `jobs.report.night_report` gathered.

    Returns
    -------
    int
        Alerts sent.
    """
    day, link = dt.date.fromisoformat(report["ds"]), page_link(settings, report["ds"])
    sent = page_night(settings, report)
    # one digest a night, whatever a rerun finds
    if Lake(settings).rows(ops.ALERT.name, ds=day, kind=DIGEST).num_rows:
        return sent
    rest = [p for p in report["problems"] if not pages(p)]
    return sent + deliver(settings, day, DIGEST, [Alert.of(p, link) for p in rest])


def page_night(settings: Settings, report: Mapping[str, Any], also: Sequence[Alert] = ()) -> int:
    """Send the pages of a night, done or not, and ``also`` others; returns how many."""
    link = page_link(settings, report["ds"])
    owned = [Alert.of(p, link) for p in report["problems"] if pages(p)]
    return deliver(settings, dt.date.fromisoformat(report["ds"]), PAGE, [*also, *owned])


def pages(problem: Mapping[str, Any]) -> bool:
    """Whether somebody is to be woken: it failed, and somebody answers for it."""
    return problem["severity"] == "fail" and bool(problem["owner"])


def of_failure(settings: Settings, ds: str, task: str, owner: str, error: str, dag: str = "nightly") -> Alert:
    """The alert of a task that failed for good."""
    if dag != "nightly":
        said = f"Task {task} of the DAG {dag} failed on {ds}: {error}"
        return Alert(owner or ops.RUN.owner, f"{dag}.{task}", said, "failed", "success", dag_link(dag))
    said = f"Task {task} of the night of {ds} failed: {error}"
    return Alert(owner or ops.RUN.owner, task, said, "failed", "success", page_link(settings, ds))


def alert_late(settings: Settings, now: dt.datetime) -> int:
    """Warn where the newest day that should have lists by now has none.

    A night is late ``NIGHTJAR_LATE_HOURS`` (12) hours after the end of its day in the market's time zone.
    """
    day = newest_due(settings, now)
    if any(row["ds"] == day for row in releases.history(Lake(settings))):
        return 0
    hours = late_hours()
    said = f"The night of {day} is late: {hours} hours after the end of the day there is no release."
    made = Alert(ops.RELEASE.owner, ops.RELEASE.name, said, "no release", f"{hours} h", page_link(settings, str(day)))
    return deliver(settings, day, LATE, [made])


def newest_due(settings: Settings, now: dt.datetime) -> dt.date:
    """The newest day whose night is over its time at ``now``."""
    local = now.astimezone(ZoneInfo(settings.market.timezone)) - dt.timedelta(hours=late_hours())
    return local.date() - dt.timedelta(days=1)


def late_hours() -> int:
    """Hours after the end of its day from which a night is late."""
    given = os.environ.get("NIGHTJAR_LATE_HOURS", str(LATE_HOURS))
    if not given.isdigit():
        raise SettingsError(f"NIGHTJAR_LATE_HOURS is {given!r}, but must be a whole number of hours.")
    return int(given)


def dag_link(dag: str) -> str:
    """The page of a DAG in Airflow; empty where no Airflow is known."""
    base = os.environ.get("AIRFLOW__API__BASE_URL")
    return f"{base.rstrip('/')}/dags/{dag}" if base else ""


def page_link(settings: Settings, ds: str) -> str:
    """The night's page in Airflow where there is one, else its file."""
    market, base = settings.market.name, os.environ.get("AIRFLOW__API__BASE_URL")
    if base:
        return f"{base.rstrip('/')}/nightjar/reports/{market}/{ds}.html"
    return (settings.home / "reports" / market / f"{ds}.html").as_uri()


def deliver(settings: Settings, ds: dt.date, kind: str, alerts: Iterable[Alert]) -> int:
    """Send what was not sent for the day: one message an owner, a digest as one message.

    Returns
    -------
    int
        Alerts sent; 0 where there is no receiver.

    Raises
    ------
    ServiceError
        The receiver did not take a message. Pages are owed then (`send_owed`).
    """
    to, lake = receiver(), Lake(settings)
    if to is None:
        return 0
    known = {row["key"] for row in lake.rows(ops.ALERT.name, ["ds", "kind", "key"], ds=ds, kind=kind).to_pylist()}
    fresh = list({alert.key: alert for alert in alerts if alert.key not in known}.values())
    unsent = batches(kind, fresh)
    try:
        while unsent:
            to.send(message(settings, ds, kind, unsent[0]))
            rows = [{"owner": a.owner, "said": a.said, "key": a.key, "ds": ds, "kind": kind} for a in unsent.pop(0)]
            lake.append(ops.ALERT, [{**row, "at_ms": now_ms()} for row in rows])
    except ServiceError:
        if kind == PAGE:
            owe(lake, ds, [alert for batch in unsent for alert in batch])
        raise
    return len(fresh)


def owe(lake: Lake, ds: dt.date, alerts: Iterable[Alert]) -> None:
    """Keep the pages of a day that the receiver did not take."""
    known = {row["key"] for row in lake.rows(ops.ALERT_OWED.name, ["key"], ds=ds).to_pylist()}
    rows = [{"ds": ds, "key": a.key, **asdict(a), "at_ms": now_ms()} for a in alerts if a.key not in known]
    lake.append(ops.ALERT_OWED, rows)


def send_owed(settings: Settings) -> int:
    """Send the pages that a receiver did not take when they were due; returns how many.

    A task that failed for good has nobody who would try again: whatever looks next does (the DAG watch, a night that is
    done).
    """
    lake = Lake(settings)
    sent = {(row["ds"], row["key"]) for row in lake.rows(ops.ALERT.name, ["ds", "kind", "key"], kind=PAGE).to_pylist()}
    owed: dict[dt.date, list[Alert]] = {}
    for row in lake.rows(ops.ALERT_OWED.name).to_pylist():
        if (row["ds"], row["key"]) not in sent:
            owed.setdefault(row["ds"], []).append(Alert(**{each.name: row[each.name] for each in fields(Alert)}))
    return sum(deliver(settings, day, PAGE, of) for day, of in sorted(owed.items()))


def batches(kind: str, alerts: Sequence[Alert]) -> list[list[Alert]]:
    """The messages that alerts become: whoever is woken is woken once for what has one cause."""
    if kind == DIGEST:
        return [list(alerts)] if alerts else []
    return [[a for a in alerts if a.owner == owner] for owner in dict.fromkeys(a.owner for a in alerts)]


def message(settings: Settings, ds: dt.date, kind: str, alerts: Iterable[Alert]) -> dict[str, Any]:
    """A message as plain data; ``text`` is what chat programs show."""
    listed = list(alerts)
    head = {PAGE: "Page", DIGEST: "Digest", LATE: "Late"}[kind]
    text = "\n".join([f"{head}: market {settings.market.name}, night of {ds}", *(f"- {a.said}" for a in listed)])
    return {
        "kind": kind,
        "market": settings.market.name,
        "ds": str(ds),
        "text": text,
        "alerts": [asdict(a) for a in listed],
    }
