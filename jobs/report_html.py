"""The night's report as one page: no script, no network, readable on a phone and by a screen reader."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from jobs.report_text import EVALUATED, SPREAD, compared, horizons, interval, metric_name, number

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d8dee4; --quiet: #57606a;
  --bad: #b3261e; --care: #8a5300; --good: #1a6b33 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #11151a; --line: #30363d; --quiet: #9aa4ae;
  --bad: #ff8a80; --care: #ffcc80; --good: #81c995 } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 70rem; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; margin: .5rem 0 } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
caption { text-align: left; color: var(--quiet); padding: .25rem 0 }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: normal }
thead th { color: var(--quiet); font-weight: 600 } tbody th { font-weight: 400 }
.number { text-align: right; white-space: nowrap } .figure { white-space: nowrap }
.bad { color: var(--bad); font-weight: 600 } .care { color: var(--care); font-weight: 600 } .good { color: var(--good) }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0; list-style: none }
a { color: inherit } code { font-size: .95em } dt { font-weight: 600 } dd { margin: 0 0 .5rem }
"""
TONES = {
    "warn": "care",
    "fail": "bad",
    "failed": "bad",
    "too small": "care",
    "ok": "good",
    "passed": "good",
    "passed with warnings": "care",
}


def render_html(report: dict[str, Any]) -> str:
    """Render what `jobs.report.night_report` gathered, as a whole page; every value is escaped."""
    title = f"Night of {report['ds']}, market {report['market']}"
    made = [
        ("release", "Release and model", _release(report)),
        ("tables", "Tables", _tables(report)),
        ("gates", "Gates", _gates(report)),
        ("lists", "Lists of three users", _lists(report)),
        ("worth", "What the lists were worth", _evaluation(report)),
        ("spread", "Spread of the lists", _diversity(report)),
        ("fairness", "Groups of people", _fairness(report)),
        ("left-out", "Left out, because the data does not have it", _items(report["left_out"])),
        ("next", "Where to look next", _next(report)),
    ]
    parts = [(name, head, body) for name, head, body in made if body]
    links = "".join(f'<li><a href="#{name}">{escape(head)}</a></li>' for name, head, _ in parts)
    sections = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(head)}</h2>{body}</section>\n'
        for name, head, body in parts
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>\n<header><h1>{escape(title)}</h1>"
        f'<nav aria-label="Parts of the report"><ul>{links}</ul></nav></header>\n'
        f"<main>\n{sections}</main>\n</body></html>\n"
    )


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()) -> str:
    """A table with caption and scoped headers; the first cell of a row is its header."""

    def tag(name: str, scope: str, kind: str, text: str) -> str:
        scoped = f' scope="{scope}"' if scope else ""
        classed = f' class="{kind}"' if kind else ""
        return f"<{name}{scoped}{classed}>{escape(text)}</{name}>"

    def cell(at: int, value: Any) -> str:
        text = str(value)
        whole = "figure" if "[" in text and text[:1].isdigit() else ""
        kind = "number" if at in right else TONES.get(text, whole)
        return tag("td", "", kind, text) if at else tag("th", "row", kind, text)

    top = "".join(tag("th", "col", "number" if at in right else "", name) for at, name in enumerate(head))
    body = "".join(f"<tr>{''.join(cell(at, v) for at, v in enumerate(row))}</tr>" for row in rows)
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _items(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(s)}</li>' for s in sentences)}</ul>" if sentences else ""


def _release(report: dict[str, Any]) -> str:
    release, model = report["release"], report["model"]
    if release is None:
        said = '<p class="bad">No lists were released.</p>'
    else:
        served = "the one that readers get" if release["current"] else "not the one that readers get"
        said = f"<p>Release <code>{escape(release['release_id'])}</code> ({escape(release['kind'])}), {served}.</p>"
    if model is None:
        return said + "<p>No model was pinned.</p>"
    if not model["model"]:
        return said + "<p>Scored by popularity: no model existed yet.</p>"
    said += f"<p>Model {escape(model['model'])} version {escape(model['version'])}.</p>"
    rows = [
        [
            m["metric"],
            number(m["value"], 4),
            number(m["threshold"], 4),
            "passed" if m["passed"] else "failed",
            m.get("why", ""),
        ]
        for m in model["metrics"]
    ]
    head = ["metric", "value", "limit", "verdict", "meaning"]
    return said + (table("Figures of the model's gate", head, rows, (1, 2)) if rows else "")


def _tables(report: dict[str, Any]) -> str:
    rows = [
        [
            t["table"],
            number(t["rows"]),
            number(t["seconds"], 1),
            number(t["quarantined"]),
            number(t["duplicates"]),
            number(t["late"]),
            t["status"] + (f": {t['message']}" if t["message"] else ""),
        ]
        for t in report["tables"]
    ]
    head = ["table", "rows", "seconds", "quarantined", "duplicates", "late", "status"]
    return table("Last build of every table", head, rows, (1, 2, 3, 4, 5)) if rows else "<p>Nothing was built.</p>"


def _gates(report: dict[str, Any]) -> str:
    if not report["gates"]:
        return "<p>No gate ran.</p>"
    rows = [[g["gate"], g["verdict"], g["checks"], g["tables"]] for g in report["gates"]]
    kept = ("table", "verdict_if_failed", "check", "observed")
    broken = [[b[name] for name in kept] for g in report["gates"] for b in g["broken"]]
    made = table("Verdicts", ["gate", "verdict", "checks", "tables"], rows, (2, 3))
    return made + (table("Checks that did not hold", ["table", "verdict", "check", "found"], broken) if broken else "")


def _lists(report: dict[str, Any]) -> str:
    return "".join(
        table(
            f"User {each['user']}, {each['surface']}",
            ["place", "title", "item", "channel", "why"],
            [[i["rank"], i["title"], i["item"], i["channel"] or "", i["reason"]] for i in each["items"]],
        )
        for each in report["lists"]
    )


def _evaluation(report: dict[str, Any]) -> str:
    if not report["evaluation"]:
        return "<p>Not known yet: it takes lists, and a day after them.</p>"
    further = ("hit_rate@10", "map@10", "mrr@10")
    head = ["subject", "users", *EVALUATED, *further, *SPREAD]
    made = ""
    for list_ds, horizon, subjects in horizons(report):
        rows = [[s["subject"], number(s["n"]), *[interval(s["figures"].get(m)) for m in head[2:]]] for s in subjects]
        days = "next day" if horizon == 1 else f"next {horizon} days"
        made += table(f"Lists of {list_ds}, what their users took in the {days}; 95 % intervals", head, rows, (1,))
    return made


def _diversity(report: dict[str, Any]) -> str:
    rows = [
        [r["metric"], r["subject"], interval(r), number(r["n"]), number(r["threshold"], 2), r["verdict"] or ""]
        for r in report["diversity"]
    ]
    head = ["metric", "surface", "value, 95 % interval", "n", "limit", "verdict"]
    return table("Spread over items and categories", head, rows, (3, 4)) if rows else ""


def _fairness(report: dict[str, Any]) -> str:
    if not report["fairness"]:
        return ""
    gaps = [
        [r["attribute"], metric_name(r), interval(r), number(r["n"]), number(r["threshold"], 2), r["verdict"] or ""]
        for r in compared(report)
    ]
    groups = [
        [r["attribute"], r["group"], metric_name(r), interval(r), number(r["n"]), r["verdict"] or ""]
        for r in report["fairness"]
        if r["kind"] == "group"
    ]
    head = ["by", "metric", "greatest less least, 95 % interval", "users", "limit", "verdict"]
    return table("Differences between groups", head, gaps, (3, 4)) + table(
        "Each group", ["by", "group", "metric", "value, 95 % interval", "users", "verdict"], groups, (4,)
    )


def _next(report: dict[str, Any]) -> str:
    def how(text: str) -> str:
        if text.startswith(("http://127.0.0.1", "http://localhost", "file://")):
            return f'<a href="{escape(text)}">{escape(text)}</a>'
        return f"<code>{escape(text)}</code>"

    return "<dl>" + "".join(f"<dt>{escape(s['what'])}</dt><dd>{how(s['how'])}</dd>" for s in report["next"]) + "</dl>"
