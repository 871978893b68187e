"""The audit process: reviews make findings of what audits saw, people flag bias, and each is tracked to an answer."""

from __future__ import annotations

import datetime as dt
import getpass
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs import ops
from jobs.contract import digest
from jobs.errors import SettingsError
from jobs.lake import Lake
from jobs.publishing import now_ms
from jobs.settings import Settings

WEEKLY, QUARTERLY = "weekly", "quarterly"
SPAN = {WEEKLY: 7, QUARTERLY: 92}
DUE = {"high": 7, "medium": 14, "low": 30}
log = logging.getLogger(__name__)
OPEN, ANSWERED, FLAG, FLAGS = "open", "answered", "bias_flag", "flags"
FLAG_FIELDS = {"subject", "said", "person"}


@dataclass(frozen=True)
class Rule:
    """Which rows of an audit become findings: their verdicts, and on how many days of the review at least."""

    kind: str
    table: str
    columns: tuple[str, ...]
    verdicts: tuple[str, ...]
    severity: str
    least_days: int = 1


RULES = (
    Rule("fairness", "audit.fairness", ("attribute", "metric", "horizon_days"), ("warn",), "high"),
    # such lists are only out where somebody waived the gate's failure
    Rule("counterfactual", "audit.counterfactual", ("attribute", "surface"), ("different",), "high"),
    Rule("diversity", "audit.diversity", ("subject", "metric"), ("warn",), "medium"),
    Rule("health", "audit.health", ("metric", "dimension", "value_group"), ("warn",), "medium", least_days=2),
    Rule("drift", "audit.drift", ("table", "feature"), ("drift",), "low", least_days=2),
    Rule("skew", "audit.skew", ("feature",), ("skew",), "medium"),
)


def current(lake: Lake) -> dict[str, dict[str, Any]]:
    """The newest row of every finding, by id."""
    rows = sorted(lake.rows(ops.FINDING.name).to_pylist(), key=lambda r: r["at_ms"])
    return {row["finding"]: row for row in rows}


def review(settings: Settings, ds: dt.date, kind: str, owner_of: Any) -> list[dict[str, Any]]:
    """Make findings of the days up to ``ds``, take in dropped flags, and see which models need an ethics review.

    A finding that is open already is not made again; one that was answered is opened again when the audit
    still sees its cause on a day that it had not judged yet when it was answered.

    Parameters
    ----------
    kind
        weekly or quarterly: how far it looks back.
    owner_of
        From a table's name to who answers for it.

    Returns
    -------
    list of dict
        The new rows of ``audit.finding``.

    Raises
    ------
    SettingsError
        The kind is neither.
    """
    if kind not in SPAN:
        raise SettingsError(f"A review is weekly or quarterly, not {kind!r}.")
    lake = Lake(settings)
    take_in_flags(settings)
    known = current(lake)
    days = [ds - dt.timedelta(days=n) for n in range(SPAN[kind])]
    made = [row for rule in RULES for row in findings(lake, rule, days, kind, owner_of(rule.table))]
    fresh = [row for row in made if is_news(known.get(row["finding"]), row)]
    at_ms = now_ms()
    rows = [{k: v for k, v in row.items() if k != "last_seen"} | {"ds": ds, "at_ms": at_ms} for row in fresh]
    lake.append(ops.FINDING, rows)
    lake.append(ops.ETHICS_REVIEW, due_reviews(lake, ds, at_ms))
    return rows


def is_news(known: dict[str, Any] | None, made: dict[str, Any]) -> bool:
    """Whether a finding is new, or is seen on a day after the last that its answer knew."""
    return known is None or (known["status"] == ANSWERED and made["last_seen"] > known["ds"])


def findings(lake: Lake, rule: Rule, days: list[dt.date], kind: str, owner: str) -> Iterator[dict[str, Any]]:
    """A finding for each thing that an audit found bad on enough of the days."""
    seen: dict[tuple[str, ...], list[dt.date]] = {}
    if lake.known(rule.table):
        for row in lake.rows(rule.table, ["ds", "verdict", *rule.columns], ds=days).to_pylist():
            if row["verdict"] in rule.verdicts:
                seen.setdefault(tuple(str(row[c]) for c in rule.columns), []).append(row["ds"])
    for key, found in sorted(seen.items()):
        bad = sorted(set(found))
        if len(bad) >= rule.least_days:
            named = ", ".join(f"{column} {value}" for column, value in zip(rule.columns, key))
            yield {
                "finding": digest([rule.kind, *key]),
                "kind": rule.kind,
                "review": kind,
                "status": OPEN,
                "severity": rule.severity,
                "owner": owner,
                "due": max(days) + dt.timedelta(days=DUE[rule.severity]),
                "subject": rule.table,
                "said": f"{named}: {rule.verdicts[0]} on {len(bad)} of {len(days)} days, last on {bad[-1]}.",
                "last_seen": bad[-1],
            }


# -- flags of people ---------------------------------------------------------------------------------


def flag(
    lake: Lake, ds: dt.date, subject: str, said: str, person: str | None = None, said_ms: int | None = None
) -> dict[str, Any]:
    """Open a finding for a bias that a person saw, again where it was answered before; returns the row that holds.

    Parameters
    ----------
    said_ms
        When it was said; now by default. What was said before an answer is answered by it.
    """
    person = person or getpass.getuser()
    row = {
        "ds": ds,
        "finding": digest([FLAG, subject, said, person]),
        "kind": FLAG,
        "review": "",
        "status": OPEN,
        "severity": "high",
        "owner": ops.FINDING.owner,
        "due": ds + dt.timedelta(days=DUE["high"]),
        "subject": subject,
        "said": said,
        "person": person,
        "at_ms": now_ms(),
    }
    known = current(lake).get(row["finding"])
    if known is not None and (known["status"] == OPEN or (said_ms is not None and said_ms <= known["at_ms"])):
        return known
    lake.append(ops.FINDING, [row])
    return row


def answer(lake: Lake, ds: dt.date, finding: str, text: str, person: str | None = None) -> dict[str, Any]:
    """Answer a finding.

    The row's day is the last that the finding's audit has judged, since that is what the answer is about, whenever it
    is given; a flag, which no audit saw, is answered on ``ds``.

    Raises
    ------
    SettingsError
        There is none of that id, or it is answered already.
    """
    known = current(lake).get(finding)
    if known is None:
        raise SettingsError(f"There is no finding {finding!r}; see `nightjar findings`.")
    if known["status"] == ANSWERED:
        raise SettingsError(f"Finding {finding} is answered already: {known['answer']}.")
    answered = {"status": ANSWERED, "answer": text, "person": person or getpass.getuser(), "at_ms": now_ms()}
    judged = [] if known["kind"] == FLAG else lake.days(known["subject"])
    row = {**known, **answered, "ds": max(judged, default=ds)}
    lake.append(ops.FINDING, [row])
    return row


def drop_folder(settings: Settings) -> Path:
    """Where others put files of flags: JSON lines with ``subject``, ``said`` and ``person``."""
    return settings.home / "flags" / settings.market.name


def take_in_flags(settings: Settings) -> int:
    """Open a finding for every line of the dropped files; a line that was taken in before opens none.

    A file that was written after a line of it was answered says that line again.
    A line that is no flag is quarantined (``ops.quarantine``, source ``flags``) with the reason, once; the others are
    taken in all the same.
    """
    lake, taken = Lake(settings), 0
    refused = {(row["file"], row["row"]) for row in lake.rows(ops.QUARANTINE.name, source=FLAGS).to_pylist()}
    for path in sorted(drop_folder(settings).glob("*.jsonl")):
        written_ms = path.stat().st_mtime_ns // 1_000_000
        day = dt.datetime.fromtimestamp(written_ms / 1000, dt.UTC).date()
        for at, text in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if not text.strip():
                continue
            line, wrong = read_flag(text)
            if line is not None:
                flag(lake, day, line["subject"], line["said"], line["person"], written_ms)
                taken += 1
            elif (path.name, text) not in refused:
                refused.add((path.name, text))
                row = {"ds": day, "source": FLAGS, "rule": wrong, "arrival_ds": day, "file": path.name, "row": text}
                lake.append(ops.QUARANTINE, [row | {"run_id": "review"}])
                log.warning("%s, line %d is quarantined: %s.", path.name, at, wrong)
    return taken


def read_flag(text: str) -> tuple[dict[str, str] | None, str]:
    """A line as a flag; else None, and why it is none."""
    try:
        line = json.loads(text)
    except json.JSONDecodeError:
        return None, "no JSON"
    if not isinstance(line, dict):
        return None, f"no JSON object with {sorted(FLAG_FIELDS)}"
    if missing := sorted(name for name in FLAG_FIELDS if not line.get(name)):
        return None, f"without {', '.join(missing)}"
    return {name: str(line[name]) for name in FLAG_FIELDS}, ""


# -- ethics reviews ----------------------------------------------------------------------------------


def reviewed(lake: Lake) -> dict[tuple[str, str], dict[str, Any]]:
    """The newest ethics review of every model version."""
    rows = sorted(lake.rows(ops.ETHICS_REVIEW.name).to_pylist(), key=lambda r: r["at_ms"])
    return {(row["model"], row["version"]): row for row in rows}


def due_reviews(lake: Lake, ds: dt.date, at_ms: int) -> list[dict[str, Any]]:
    """A row for every pinned model version that was never up for review, with the fairness figures of its first day."""
    known = reviewed(lake)
    first: dict[tuple[str, str], dt.date] = {}
    for pin in lake.rows(ops.MODEL_PIN.name).to_pylist():
        key = (pin["model"], pin["version"])
        if pin["model"] and key not in known:
            first[key] = min(first.get(key, pin["ds"]), pin["ds"])
    return [
        {
            "ds": ds,
            "model": model,
            "version": version,
            "status": "due",
            "evidence": json.dumps(evidence(lake, day), sort_keys=True, default=str),
            "person": "",
            "at_ms": at_ms,
        }
        for (model, version), day in sorted(first.items())
    ]


def evidence(lake: Lake, day: dt.date) -> dict[str, Any]:
    """The audited differences between groups on the first day of a model."""
    if not lake.known("audit.fairness"):
        return {"ds": day, "fairness": []}
    rows = lake.rows("audit.fairness", ds=day, kind="difference").to_pylist()
    kept = ("attribute", "metric", "k", "horizon_days", "value", "lo", "hi", "n", "verdict")
    return {"ds": day, "fairness": [{name: r[name] for name in kept} for r in rows]}


def decide(
    lake: Lake, ds: dt.date, model: str, version: str, passed: bool, reason: str, person: str | None = None
) -> dict[str, Any]:
    """Record the outcome of an ethics review.

    Raises
    ------
    SettingsError
        That version is not up for review.
    """
    known = reviewed(lake).get((model, version))
    if known is None:
        listed = ", ".join(f"{m} {v}" for m, v in reviewed(lake)) or "none"
        raise SettingsError(f"Version {version} of {model} is not up for review; there are: {listed}.")
    status = "passed" if passed else "refused"
    row = {**known, "ds": ds, "status": status, "reason": reason, "person": person or getpass.getuser()}
    lake.append(ops.ETHICS_REVIEW, [row | {"at_ms": now_ms()}])
    return row


def overdue(rows: Iterable[dict[str, Any]], day: dt.date) -> list[dict[str, Any]]:
    """Open findings whose day has passed."""
    return [row for row in rows if row["status"] == OPEN and row["due"] < day]
