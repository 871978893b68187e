"""The night's report as one page: no script, no network, readable on a phone and by a screen reader."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from jobs.report.section import all_sections
from jobs.report.verdict import BAD, CARE, GOOD

STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d8dee4; --quiet: #57606a; --soft: #eef1f4;
  --bad: #b3261e; --care: #8a5300; --good: #1a6b33; --plot: #2f6fb3 }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #11151a; --line: #30363d; --quiet: #9aa4ae;
  --soft: #1b2128; --bad: #ff8a80; --care: #ffcc80; --good: #81c995; --plot: #7fb4ea } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 0 auto;
  max-width: 70rem; padding: 1rem; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; margin: .5rem 0 } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem }
.wide { overflow-x: auto; margin: 0 0 1rem }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
caption { text-align: left; color: var(--quiet); padding: .25rem 0 }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: normal }
thead th { color: var(--quiet); font-weight: 600 } tbody th { font-weight: 400 }
.number { text-align: right; white-space: nowrap } .figure { white-space: nowrap }
.bad { color: var(--bad); font-weight: 600 } .care { color: var(--care); font-weight: 600 } .good { color: var(--good) }
.verdict { border-left: .4rem solid; padding: .5rem 1rem; background: var(--soft); margin: 1rem 0 }
.verdict p { margin: .25rem 0; color: var(--ink); font-weight: 400 }
.problems { padding-left: 1.5rem } .problems li { margin: .4rem 0 } .facts { color: var(--quiet) }
.verdict strong { display: block } .verdict strong::first-letter { text-transform: uppercase }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; padding: 0; list-style: none }
a { color: inherit } a:focus-visible, .wide:focus-visible, summary:focus-visible { outline: 3px solid var(--plot) }
.skip { position: absolute; left: -99rem } .skip:focus { left: 1rem; top: 1rem; background: var(--paper) }
code { font-size: .95em } dt { font-weight: 600 } dd { margin: 0 0 .5rem }
svg { max-width: none; vertical-align: middle } svg path { fill: none; stroke: var(--plot); stroke-width: 1.5 }
svg .band { fill: var(--line) } svg .dot, .bars rect { fill: var(--plot) } svg text { fill: var(--ink);
  font-size: 13px }
"""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""Even a value that were not escaped could load nothing and send nothing."""
TONES = {
    "warn": "care",
    "fail": "bad",
    "failed": "bad",
    "too small": "care",
    "ok": "good",
    "passed": "good",
    "passed with warnings": "care",
    "drift": "bad",
    "skew": "bad",
    "low": "care",
    "silent": "bad",
    "frozen": "bad",
    "waived": "care",
    BAD: "bad",
    CARE: "care",
    GOOD: "good",
}
FIGURE = re.compile(r"-?\d[^a-z]*( to -?\d\S*)?$")
"""A figure with its interval or its lines, which is not broken across lines."""


class Markup(str):
    """HTML made by the report itself, which is not escaped again."""


def render_html(report: dict[str, Any]) -> str:
    """Render what `jobs.report.night_report` gathered, as a whole page; every value is escaped."""
    title = f"Night of {report['ds']}, market {report['market']}"
    made = [(s.name, s.title, s.html(report[s.name])) for s in all_sections() if s.name in report]
    parts = [(name, head, body) for name, head, body in made if body]
    links = "".join(f'<li><a href="#{name}">{escape(head)}</a></li>' for name, head, _ in parts)
    pieces = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(head)}</h2>{body}</section>\n'
        for name, head, body in parts
    )
    menu = f'<nav aria-label="Parts of the report"><ul>{links}<li><a href="index.html">All nights</a></li></ul></nav>'
    return whole_page(title, _verdict(report) + menu + pieces)


def whole_page(title: str, body: str) -> str:
    """A page with its style inside; ``body`` is HTML."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f'<style>{STYLE}</style></head><body>\n<a class="skip" href="#content">To the content</a>'
        f"<header><h1>{escape(title)}</h1></header>\n"
        f'<main id="content">\n{body}</main>\n</body></html>\n'
    )


def _verdict(report: dict[str, Any]) -> str:
    verdict = report["verdict"]
    head = f'<div class="verdict {TONES[verdict["level"]]}" role="status"><strong>{escape(verdict["level"])}</strong>'
    listed = "".join(f"<li>{_problem(p)}</li>" for p in report["problems"])
    made = f'<h2 id="problems">What to look at</h2><ol class="problems">{listed}</ol>' if listed else ""
    return f"{head}<p>{escape(verdict['said'])}</p></div>{made}"


def _problem(problem: Mapping[str, Any]) -> str:
    """A problem as a sentence that leads to its part of the page, with owner, figure and limit."""
    facts = [f"owner {problem['owner'] or 'nobody'}"]
    facts += [f"{name} {problem[key]}" for name, key in (("figure", "figure"), ("limit", "threshold")) if problem[key]]
    return (
        f'<strong class="{TONES[problem["severity"]]}">{escape(problem["severity"])}</strong> '
        f'<a href="#{escape(problem["section"])}">{escape(problem["said"])}</a> '
        f'<span class="facts">{escape("; ".join(facts))}</span>'
    )


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()) -> str:
    """A table with caption and scoped headers; the first cell of a row is its header; `Markup` is kept as it is."""

    def tag(name: str, scope: str, kind: str, text: str) -> str:
        scoped = f' scope="{scope}"' if scope else ""
        classed = f' class="{kind}"' if kind else ""
        return f"<{name}{scoped}{classed}>{text if isinstance(text, Markup) else escape(text)}</{name}>"

    def cell(at: int, value: Any) -> str:
        text = value if isinstance(value, Markup) else str(value)
        whole = "figure" if FIGURE.match(text) else ""
        kind = "number" if at in right else TONES.get(text, whole)
        return tag("td", "", kind, text) if at else tag("th", "row", kind, text)

    top = "".join(tag("th", "col", "number" if at in right else "", name) for at, name in enumerate(head))
    body = "".join(f"<tr>{''.join(cell(at, v) for at, v in enumerate(row))}</tr>" for row in rows)
    # a wide table scrolls by itself: with tabindex also for who has no mouse
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f"<table><caption>{escape(caption)}</caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def linked_table(caption: str, head: Sequence[str], rows: Sequence[Sequence[Any]], right: Sequence[int] = ()) -> str:
    """A table whose first cells are pairs of text and address."""
    linked = [[Markup(f'<a href="{escape(to)}">{escape(text)}</a>'), *rest] for (text, to), *rest in rows]
    return table(caption, head, linked, right)


def items(sentences: Sequence[str]) -> str:
    """A list of sentences; nothing for none."""
    return f"<ul>{''.join(f'<li>{escape(s)}</li>' for s in sentences)}</ul>" if sentences else ""


def folded(summary: str, body: str) -> str:
    """A piece that opens on demand; nothing for an empty one."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>" if body else ""
