"""The report of a night: gathered from the logs and audits with Delta reads alone, and written for people.

`night_report` gives plain data; `render_text` fits a terminal, `render_html` is one page without a network.
What a market does not have is said once, under "left out", and is nowhere a zero.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jobs import ops
from jobs.contract import LAYERS
from jobs.errors import ServiceError
from jobs.lake import Lake
from jobs.landing import FEEDS
from jobs.report_html import render_html
from jobs.report_text import render_text
from jobs.settings import Settings
from jobs.unsupported import unsupported

__all__ = ["night_report", "render_html", "render_text", "write_report"]

USERS, LIST_LENGTH = 3, 10
LEFT_OUT = {
    "users": "people's attributes: fairness by group and by tenure",
    "creators": "creators' names and stages",
    "impressions": "rates per showing and position; training draws its negatives from the items of the day",
    "events": "tracked actions; tastes come from orders alone",
    "orders": "purchases, amounts and conversion",
    "reviews": "ratings, and reasons that name them",
    "surveys": "NPS and stated interests",
    "campaigns": "campaign periods as a context",
    "curated": "slots filled by hand",
    "costs": "costs and margins",
    "consent": "stated consent; the market's default holds for everyone",
}


def night_report(settings: Settings, ds: dt.date | str) -> dict[str, Any]:
    """Everything that a person wants to know of the night of ``ds``.

    Parameters
    ----------
    settings
        Gives home, lake, landing zone and market.
    ds
        The night's day.

    Returns
    -------
    dict
        Plain data: ``market, ds, release, model, tables, gates, lists, evaluation, diversity, fairness,
        left_out, next``. A part that does not exist is None or empty.
    """
    day = dt.date.fromisoformat(ds) if isinstance(ds, str) else ds
    lake = Lake(settings)
    release = release_of(lake, day)
    evaluation = audited(lake, "audit.evaluation", day)
    return {
        "market": settings.market.name,
        "ds": str(day),
        "currency": settings.market.currency,
        "release": release,
        "model": model_of(lake, day),
        "tables": tables_of(lake, day),
        "gates": gates_of(lake, day),
        "lists": lists_of(lake, day, release),
        "evaluation": subjects_of(evaluation),
        "diversity": audited(lake, "audit.diversity", day),
        "fairness": audited(lake, "audit.fairness", day),
        "left_out": left_out(settings, lake, day),
        "next": next_steps(settings, day),
    }


def write_report(settings: Settings, ds: dt.date | str) -> Path:
    """Write the night's report as ``<home>/reports/<market>/<ds>.html`` and ``.json``.

    Returns
    -------
    Path
        The page.
    """
    report = night_report(settings, ds)
    page = settings.home / "reports" / settings.market.name / f"{report['ds']}.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    for path, text in ((page, render_html(report)), (page.with_suffix(".json"), json.dumps(report, indent=1))):
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    return page


def read(lake: Lake, table: str, day: dt.date, columns: list[str] | None = None, filters: Any = None) -> list[dict]:
    """Rows of one day of a table as plain data, dates as text; none where the table does not exist."""
    opened = lake.open(table)
    if opened is None:
        return []
    rows = opened.to_pyarrow_table(columns=columns, filters=[("ds", "=", day), *(filters or [])]).to_pylist()
    return [{k: str(v) if isinstance(v, dt.date) else v for k, v in row.items()} for row in rows]


def newest(rows: Iterable[dict[str, Any]], *by: str) -> list[dict[str, Any]]:
    """Of the rows with equal ``by`` those that were logged last."""
    latest: dict[tuple[Any, ...], int] = {}
    rows = list(rows)
    for row in rows:
        key = tuple(row[name] for name in by)
        latest[key] = max(latest.get(key, 0), row["at_ms"])
    return [row for row in rows if row["at_ms"] == latest[tuple(row[name] for name in by)]]


def tables_of(lake: Lake, day: dt.date) -> list[dict[str, Any]]:
    """The last build of every table for the day, in order of layer and name."""
    kept = ("table", "status", "rows", "seconds", "quarantined", "duplicates", "late", "message")
    rows = newest(read(lake, ops.RUN.name, day), "table")
    order = {layer: at for at, layer in enumerate(LAYERS)}
    rows.sort(key=lambda r: (order.get(r["table"].split(".")[0], len(order)), r["table"]))
    return [{name: row[name] for name in kept} for row in rows]


def gates_of(lake: Lake, day: dt.date) -> list[dict[str, Any]]:
    """Each gate's last verdict for the day, with every check that did not hold."""
    rows = newest(read(lake, "audit.data_quality", day), "gate", "table")
    gates = []
    for gate in sorted({r["gate"] for r in rows}, key=lambda g: min(r["at_ms"] for r in rows if r["gate"] == g)):
        of = [r for r in rows if r["gate"] == gate]
        broken = [
            {name: r[name] for name in ("table", "check", "observed", "verdict_if_failed")}
            for r in sorted(of, key=lambda r: (r["table"], r["check"]))
            if not r["success"]
        ]
        failed = any(b["verdict_if_failed"] == "fail" for b in broken)
        gates.append(
            {
                "gate": gate,
                "tables": len({r["table"] for r in of}),
                "checks": len(of),
                "broken": broken,
                "verdict": "failed" if failed else ("passed with warnings" if broken else "passed"),
            }
        )
    return gates


def release_of(lake: Lake, day: dt.date) -> dict[str, Any] | None:
    """The newest release made for the day, and whether it is the one that readers get."""
    rows = lake.rows(ops.RELEASE.name).to_pylist()
    of_day = [r for r in rows if r["ds"] == day and r["kind"] != "rollback"]
    if not of_day:
        return None
    row = max(of_day, key=lambda r: r["sequence"])
    moving = [r for r in rows if r["kind"] in ops.MOVES_POINTER]
    current = max(moving, key=lambda r: r["sequence"])["release_id"] if moving else None
    return {
        "release_id": row["release_id"],
        "kind": row["kind"],
        "current": row["release_id"] == current,
        "tables": json.loads(row["tables"] or "{}"),
        "at_ms": row["at_ms"],
    }


def model_of(lake: Lake, day: dt.date) -> dict[str, Any] | None:
    """The model pinned for the day with the figures of its gate; without a name popularity was used."""
    pins = [p for p in read(lake, ops.MODEL_PIN.name, day) if p["role"] == "ranker"]
    if not pins:
        return None
    pin = max(pins, key=lambda p: p["at_ms"])
    verdict = Path(pin["path"] or "", "gate.json")
    facts = json.loads(verdict.read_text()) if pin["path"] and verdict.is_file() else {}
    return {
        "model": pin["model"] or "",
        "version": pin["version"] or "",
        "reason": pin["reason"],
        "days": [facts[k] for k in ("first_day", "last_day") if k in facts],
        "metrics": facts.get("lines", []),
    }


def lists_of(lake: Lake, day: dt.date, release: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The first places of three users' lists, by original ids, with titles and main reasons.

    The users are the first, the middle and the last by surrogate key: a key is a hash, so they are a
    sample that any rerun draws again.
    """
    if release is None or lake.open("serving.recommendations") is None:
        return []
    of_release = [("release_id", "=", release["release_id"])]
    first = read(lake, "serving.recommendations", day, ["user_id"], [*of_release, ("rank", "=", 1)])
    users = sorted({row["user_id"] for row in first})
    chosen = list(dict.fromkeys(users[at] for at in (0, len(users) // 2, len(users) - 1)))[:USERS] if users else []
    if not chosen:
        return []
    columns = ["surface", "user_id", "rank", "item_id", "channel", "slot_type", "reasons"]
    rows = read(
        lake,
        "serving.recommendations",
        day,
        columns,
        [*of_release, ("user_id", "in", chosen), ("rank", "<=", LIST_LENGTH)],
    )
    people = names(lake, "silver.users", "user_id", day, chosen, "original_id")
    items = names(lake, "silver.items", "item_id", day, {r["item_id"] for r in rows}, "original_id", "title")
    rows.sort(key=lambda r: (r["surface"], r["user_id"], r["rank"]))
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for row in rows:
        item = items.get(row["item_id"], {})
        reasons = row["reasons"] or []
        found.setdefault((row["surface"], row["user_id"]), []).append(
            {
                "rank": row["rank"],
                "item": item.get("original_id", str(row["item_id"])),
                "title": item.get("title", ""),
                "channel": row["channel"],
                "slot_type": row["slot_type"],
                "reason": reasons[0]["text"] if reasons else "",
            }
        )
    return [
        {"surface": surface, "user": people.get(user, {}).get("original_id", str(user)), "items": shown}
        for (surface, user), shown in found.items()
    ]


def names(lake: Lake, table: str, key: str, day: dt.date, keys: Iterable[int], *columns: str) -> dict[int, dict]:
    """What a few keys are called, by key."""
    rows = read(lake, table, day, [key, *columns], [(key, "in", sorted(keys))])
    return {row[key]: row for row in rows}


def audited(lake: Lake, table: str, day: dt.date) -> list[dict[str, Any]]:
    """The audit's rows of the day in a fixed order, without ``ds``."""
    rows = [{k: v for k, v in row.items() if k != "ds"} for row in read(lake, table, day)]
    return sorted(rows, key=lambda r: [str(r[k]) for k in r if k not in ("value", "lo", "hi", "n")])


def subjects_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Evaluation folded to a row a subject: the lists first, then baselines, then candidates."""

    def place(key: tuple[str, int, str]) -> tuple[Any, ...]:
        list_ds, horizon, subject = key
        kind = 0 if subject == "served" else (1 if subject.startswith("baseline:") else 2)
        return horizon, list_ds, kind, subject

    found: dict[tuple[str, int, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["list_ds"], row["horizon_days"], row["subject"])
        figures = found.setdefault(
            key, {"list_ds": key[0], "horizon_days": key[1], "subject": key[2], "n": row["n"], "figures": {}}
        )["figures"]
        figures[f"{row['metric']}@{row['k']}"] = {name: row[name] for name in ("value", "lo", "hi")}
    return [found[key] for key in sorted(found, key=place)]


def left_out(settings: Settings, lake: Lake, day: dt.date) -> list[str]:
    """What the market's data does not have, and what is therefore not there; a sentence each."""
    from jobs.steps import catalog

    market = settings.market
    landing = settings.landing / market.name
    landed = {feed.name for feed in FEEDS if any((landing / feed.name).glob("ds=*/_manifest*.json"))}
    said = [
        f"Feed {feed.name} has never landed. Left out: {LEFT_OUT[feed.name]}."
        for feed in FEEDS
        if feed.name in LEFT_OUT and feed.name not in landed
    ]
    said += unsupported(lake, catalog(), landed, day)
    items = lake.open("silver.items")
    if items is not None:
        prices = items.to_pyarrow_table(columns=["price_minor"], filters=[("ds", "=", day)])["price_minor"]
        if len(prices) and prices.null_count == len(prices):
            said.append("No item has a price: price features and reasons that name a price are left out.")
    if not market.groups:
        said.append("The market names no groups of people: fairness by group is left out, save by tenure if known.")
    return said


def next_steps(settings: Settings, day: dt.date) -> list[dict[str, str]]:
    """Where to look next: pages that exist, services that answer, commands."""
    home, market = settings.home, settings.market.name
    steps = [{"what": f"{name}", "how": url} for name, url in services(home)]
    docs = home / "data_docs" / market / "index.html"
    if docs.is_file():
        steps.append({"what": "Every check of every gate", "how": docs.as_uri()})
    steps.append({"what": "This report as a page", "how": (home / "reports" / market / f"{day}.html").as_uri()})
    steps += [
        {"what": "Lists as people see them", "how": f"nightjar show serving.recommendations --ds {day} --limit 20"},
        {"what": "Rows that were refused, and why", "how": f"nightjar quarantine --ds {day}"},
        {"what": "All releases; go back to one", "how": "nightjar releases; nightjar rollback"},
        {"what": "What a table is made of", "how": "nightjar lineage serving.recommendations"},
    ]
    return steps


def services(home: Path) -> list[tuple[str, str]]:
    """Names and addresses of the services that answer and that a person can open."""
    from jobs.services import status

    try:
        running = status(home=home)
    except ServiceError:
        return []
    pages = {"airflow": "Airflow", "mlflow": "MLflow"}
    return [
        (pages[s.service], s.url)
        for s in running
        if s.service in pages and s.state == "ready" and s.url.startswith("http")
    ]
