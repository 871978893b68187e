"""Where to look next: pages that exist, services that answer, commands.

The page is read as a file and in Airflow (`plugins/reports.py`), where a browser refuses to open a file. So it leads
to other pages of the installation by relative addresses, which are the same in both places.
"""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from urllib.parse import quote

from jobs.errors import ServiceError
from jobs.report.night import Night
from jobs.report.section import Section
from jobs.report.sections import model
from jobs.report.terminal import WIDTH, plain, wrapped

BY_AIRFLOW = ("manual__", "scheduled__", "backfill__")
PAGES = {"airflow": "Airflow", "mlflow": "MLflow"}
"""Services that a person can open, as they are called."""


def gather(night: Night) -> list[dict[str, str]]:
    """What there is to see and how; ``page`` is its address relative to the report's, where it is another page."""
    home, market, day = night.settings.home, night.settings.market.name, night.day
    steps = [{"what": what, "how": how} for what, how in of_services(night, dict(services(home)))]
    docs, own = Path("data_docs", market, "index.html"), Path("reports", market, f"{day}.html")
    if (home / docs).is_file():
        steps.append({"what": "Every check of every gate", "how": (home / docs).as_uri(), "page": f"../../{docs}"})
    steps.append({"what": "This report as a page", "how": (home / own).as_uri(), "page": own.name})
    commands = [
        ("Lists as people see them", f"nightjar show serving.recommendations --ds {day} --limit 20"),
        ("Rows that were refused, and why", f"nightjar quarantine --ds {day}"),
        ("All releases; go back to one", "nightjar releases; nightjar rollback"),
        ("What a table is made of", "nightjar lineage serving.recommendations"),
    ]
    return steps + [{"what": what, "how": how} for what, how in commands]


def of_services(night: Night, running: dict[str, str]) -> list[tuple[str, str]]:
    """The night's own pages in Airflow and MLflow, where these answer."""
    pinned, runs = model.gather(night), [run for run in night.run_ids if run.startswith(BY_AIRFLOW)]
    steps = list(running.items())
    if "Airflow" in running and runs:
        steps.append(("The run in Airflow", f"{running['Airflow']}/dags/nightly/runs/{quote(runs[-1])}"))
    if "MLflow" in running and pinned and pinned["model"]:
        named = f"{quote(pinned['model'])}/versions/{quote(pinned['version'])}"
        steps.append(("The model's version in MLflow", f"{running['MLflow']}/#/models/{named}"))
    return steps


def services(home: Path) -> list[tuple[str, str]]:
    """Names and addresses of the services that a person can open: as the installation says, or embedded and ready."""
    from jobs.services import status

    said = {
        "Airflow": os.environ.get("AIRFLOW__API__BASE_URL", "").rstrip("/"),
        "MLflow": os.environ.get("NIGHTJAR_MLFLOW_PAGES", "").rstrip("/"),
    }
    try:
        running = status(home=home)
    except ServiceError:
        running = []
    found = {
        PAGES[s.service]: s.url.rstrip("/")
        for s in running
        if s.service in PAGES and s.state == "ready" and s.url.startswith("http")
    }
    return sorted((found | {name: address for name, address in said.items() if address}).items())


def html(steps: list[dict[str, str]]) -> str:
    def how(step: dict[str, str]) -> str:
        address = step.get("page", step["how"])
        if "page" in step or address.startswith(("http://", "https://")):
            return f'<a href="{escape(address)}">{escape(address)}</a>'
        return f"<code>{escape(address)}</code>"

    return "<dl>" + "".join(f"<dt>{escape(s['what'])}</dt><dd>{how(s)}</dd>" for s in steps) + "</dl>"


def text(steps: list[dict[str, str]]) -> list[str]:
    lines: list[str] = []
    for step in steps:
        line = f"  {plain(step['what']):<34}{plain(step['how'])}"
        # an address is not cut, because then it would lead nowhere
        lines += [line] if len(line) <= WIDTH else [f"  {plain(step['what'])}", *wrapped(step["how"], "    ")]
    return lines


SECTION = Section("Where to look next", 180, gather, html, text)
