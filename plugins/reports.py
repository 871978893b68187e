"""The nightly reports and Data Docs in Airflow's own pages: for who may read the DAG ``nightly``, and nothing else.

Without a login the answer is 401, for a user without access to the DAG 403. Addresses are those of the files below
the installation's folder, so that links between pages hold in both places.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from airflow.api_fastapi.core_api.security import requires_access_dag
from airflow.plugins_manager import AirflowPlugin
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import FileResponse, RedirectResponse
from starlette.responses import Response

DAG = "nightly"
PREFIX = "/nightjar"
REPORTS = f"{PREFIX}/reports"
MARKET = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PAGE = re.compile(r"index\.html|\d{4}-\d{2}-\d{2}\.html")
RUN_ID = re.compile(r"[A-Za-z0-9_.:+~-]+")
POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""The library's pages ask other hosts for scripts, which must not run where somebody is logged in to Airflow."""

app = FastAPI(title="Nightjar reports", dependencies=[Depends(requires_access_dag(method="GET", param_dag_id=DAG))])


def folder(name: str) -> Path:
    """A folder of the installation that has a folder of pages a market."""
    return Path(os.environ.get("NIGHTJAR_HOME", ".nightjar")).resolve() / name


def found(root: Path, market: str, page: str) -> Path:
    """The file of a page below the market's folder; whatever leads out of it, by dots or by a link, is refused."""
    path = root / market / page
    if not MARKET.fullmatch(market) or path.suffix != ".html" or not path.is_file():
        raise HTTPException(404, "There is no such page.")
    if not path.resolve().is_relative_to(root / market):
        raise HTTPException(404, "There is no such page.")
    return path


@app.get("/reports/")
def start() -> Response:
    """The index of the market that the installation is for."""
    return RedirectResponse(f"{REPORTS}/{os.environ.get('NIGHTJAR_MARKET', 'demo')}/index.html")


@app.get("/reports/run/{run_id}")
def of_run(run_id: str) -> Response:
    """The report of a run of the DAG, which names its runs; the index where none does."""
    if not RUN_ID.fullmatch(run_id):
        raise HTTPException(404, "There is no such run.")
    for path in sorted(folder("reports").glob("*/????-??-??.json"), reverse=True):
        report = json.loads(path.read_text(encoding="utf-8"))
        # a report of an earlier version has the run of its release alone
        if run_id in report.get("run_ids", [(report.get("release") or {}).get("run_id")]):
            return RedirectResponse(f"{REPORTS}/{path.parent.name}/{path.stem}.html")
    return start()


@app.get("/reports/{market}/{page}")
def report(market: str, page: str) -> Response:
    """A page as it was written; only what the report writes is one."""
    if not PAGE.fullmatch(page):
        raise HTTPException(404, "There is no such page.")
    return FileResponse(found(folder("reports"), market, page), media_type="text/html")


@app.get("/data_docs/{market}/{page:path}")
def data_docs(market: str, page: str) -> Response:
    """A page of a market's Data Docs as the gate wrote it, without scripts and without other hosts."""
    path = found(folder("data_docs"), market, page)
    return FileResponse(path, media_type="text/html", headers={"Content-Security-Policy": POLICY})


class NightjarReports(AirflowPlugin):
    """Adds the pages, a link to them in the menu, and one at each run of the DAG."""

    name = "nightjar_reports"
    fastapi_apps = [{"app": app, "url_prefix": PREFIX, "name": "Nightjar reports"}]
    external_views = [
        {
            "name": "Nightly reports",
            "href": f"{REPORTS}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "nightjar-reports",
        },
        {
            "name": "Nightly report",
            "href": f"{REPORTS}/run/{{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "nightjar-report",
        },
    ]
