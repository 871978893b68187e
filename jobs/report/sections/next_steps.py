"""Where to look next: pages that exist, services that answer, commands."""

from __future__ import annotations

from html import escape
from pathlib import Path
from urllib.parse import quote

from jobs.errors import ServiceError
from jobs.report.night import Night
from jobs.report.section import Section
from jobs.report.sections import model, release
from jobs.report.terminal import WIDTH, plain, wrapped

BY_AIRFLOW = ("manual__", "scheduled__", "backfill__")
ADDRESSES = ("http://127.0.0.1", "http://localhost", "file://")


def gather(night: Night) -> list[dict[str, str]]:
    home, market, day = night.settings.home, night.settings.market.name, night.day
    steps = of_services(night, dict(services(home)))
    docs = home / "data_docs" / market / "index.html"
    if docs.is_file():
        steps.append(("Every check of every gate", docs.as_uri()))
    steps += [
        ("This report as a page", (home / "reports" / market / f"{day}.html").as_uri()),
        ("Lists as people see them", f"nightjar show serving.recommendations --ds {day} --limit 20"),
        ("Rows that were refused, and why", f"nightjar quarantine --ds {day}"),
        ("All releases; go back to one", "nightjar releases; nightjar rollback"),
        ("What a table is made of", "nightjar lineage serving.recommendations"),
    ]
    return [{"what": what, "how": how} for what, how in steps]


def of_services(night: Night, running: dict[str, str]) -> list[tuple[str, str]]:
    """The night's own pages in Airflow and MLflow, where these answer."""
    made, pinned = release.gather(night), model.gather(night)
    steps = list(running.items())
    if "Airflow" in running and made and made["run_id"].startswith(BY_AIRFLOW):
        steps.append(("The run in Airflow", f"{running['Airflow']}/dags/nightly/runs/{quote(made['run_id'])}"))
    if "MLflow" in running and pinned and pinned["model"]:
        named = f"{quote(pinned['model'])}/versions/{quote(pinned['version'])}"
        steps.append(("The model's version in MLflow", f"{running['MLflow']}/#/models/{named}"))
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
        (pages[s.service], s.url.rstrip("/"))
        for s in running
        if s.service in pages and s.state == "ready" and s.url.startswith("http")
    ]


def html(steps: list[dict[str, str]]) -> str:
    def how(said: str) -> str:
        if said.startswith(ADDRESSES):
            return f'<a href="{escape(said)}">{escape(said)}</a>'
        return f"<code>{escape(said)}</code>"

    return "<dl>" + "".join(f"<dt>{escape(s['what'])}</dt><dd>{how(s['how'])}</dd>" for s in steps) + "</dl>"


def text(steps: list[dict[str, str]]) -> list[str]:
    lines: list[str] = []
    for step in steps:
        line = f"  {plain(step['what']):<34}{plain(step['how'])}"
        # an address is not cut, because then it would lead nowhere
        lines += [line] if len(line) <= WIDTH else [f"  {plain(step['what'])}", *wrapped(step["how"], "    ")]
    return lines


SECTION = Section("Where to look next", 180, gather, html, text)
