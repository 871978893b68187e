"""The nightly reports in Airflow's own pages: for who may read the DAG ``nightly``, and below the reports' folder only.

Without a login the answer is 401, for a user without access to the DAG 403.
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
PREFIX = "/nightjar/reports"
MARKET = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PAGE = re.compile(r"index\.html|\d{4}-\d{2}-\d{2}\.html")
RUN_ID = re.compile(r"[A-Za-z0-9_.:+~-]+")

app = FastAPI(title="Nightjar reports", dependencies=[Depends(requires_access_dag(method="GET", param_dag_id=DAG))])


def folder() -> Path:
    """Where the reports of all markets are."""
    return Path(os.environ.get("NIGHTJAR_HOME", ".nightjar")).resolve() / "reports"


def found(market: str, page: str) -> Path:
    """The file of a page.

    Names are matched against what the report writes, so no name leads out of the folder; a link that leads
    out of it is refused as well.
    """
    root = folder()
    path = root / market / page
    if not MARKET.fullmatch(market) or not PAGE.fullmatch(page) or not path.is_file():
        raise HTTPException(404, "There is no such report.")
    if not path.resolve().is_relative_to(root):
        raise HTTPException(404, "There is no such report.")
    return path


@app.get("/")
def start() -> Response:
    """The index of the market that the installation is for."""
    return RedirectResponse(f"{PREFIX}/{os.environ.get('NIGHTJAR_MARKET', 'demo')}/index.html")


@app.get("/run/{run_id}")
def of_run(run_id: str) -> Response:
    """The report of a run of the DAG, by the release that it made; the index where it made none."""
    if not RUN_ID.fullmatch(run_id):
        raise HTTPException(404, "There is no such run.")
    for path in sorted(folder().glob("*/????-??-??.json"), reverse=True):
        release = json.loads(path.read_text(encoding="utf-8")).get("release") or {}
        if release.get("run_id") == run_id:
            return RedirectResponse(f"{PREFIX}/{path.parent.name}/{path.stem}.html")
    return start()


@app.get("/{market}/{page}")
def page(market: str, page: str) -> Response:
    """A page as it was written."""
    return FileResponse(found(market, page), media_type="text/html")


class NightjarReports(AirflowPlugin):
    """Adds the pages, a link to them in the menu, and one at each run of the DAG."""

    name = "nightjar_reports"
    fastapi_apps = [{"app": app, "url_prefix": PREFIX, "name": "Nightjar reports"}]
    external_views = [
        {
            "name": "Nightly reports",
            "href": f"{PREFIX}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "nightjar-reports",
        },
        {
            "name": "Nightly report",
            "href": f"{PREFIX}/run/{{RUN_ID}}",
            "destination": "dag_run",
            "url_route": "nightjar-report",
        },
    ]
