"""The reports in Airflow's pages: who gets them, and that nothing else is served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.dags.conftest import run_script

PREFIX = "/nightjar/reports"
DOCS = "/nightjar/data_docs"
ASKED = {
    "nobody is logged in": ("", f"{PREFIX}/shop/2024-03-02.html"),
    "the start without a login": ("", f"{PREFIX}/"),
    "no role": ("nobody", f"{PREFIX}/shop/2024-03-02.html"),
    "a page": ("viewer", f"{PREFIX}/shop/2024-03-02.html"),
    "the index": ("viewer", f"{PREFIX}/shop/index.html"),
    "the start": ("viewer", f"{PREFIX}/"),
    "a run": ("viewer", f"{PREFIX}/run/manual__1"),
    "the run before it": ("viewer", f"{PREFIX}/run/manual__0"),
    "the run of a patch": ("viewer", f"{PREFIX}/run/scheduled__patch"),
    "a run of an earlier version": ("viewer", f"{PREFIX}/run/manual__old"),
    "another run": ("viewer", f"{PREFIX}/run/manual__2"),
    "no such night": ("viewer", f"{PREFIX}/shop/2024-03-03.html"),
    "the data behind a page": ("viewer", f"{PREFIX}/shop/2024-03-02.json"),
    "out of the folder": ("viewer", f"{PREFIX}/..%2F..%2Fmarkets/index.html"),
    "dots as a market": ("viewer", f"{PREFIX}/%2E%2E/index.html"),
    "a link out of the folder": ("viewer", f"{PREFIX}/linked/index.html"),
    "Data Docs without a login": ("", f"{DOCS}/shop/index.html"),
    "Data Docs without a role": ("nobody", f"{DOCS}/shop/validations/silver/run 1/t.html"),
    "Data Docs": ("viewer", f"{DOCS}/shop/index.html"),
    "a validation": ("viewer", f"{DOCS}/shop/validations/silver/run%201/t.html"),
    "the records of gates": ("viewer", f"{DOCS}/shop/gates/1-silver.json"),
    "no such validation": ("viewer", f"{DOCS}/shop/validations/silver/run%201/u.html"),
    "another market by dots": ("viewer", f"{DOCS}/shop/%2E%2E/other/index.html"),
    "out of Data Docs": ("viewer", f"{DOCS}/shop/..%2F..%2F..%2Findex.html"),
    "a link out of Data Docs": ("viewer", f"{DOCS}/shop/linked.html"),
    "what the plugin declares": ("admin", "/api/v2/plugins"),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("plugin")
    reports = folder / "home" / "reports"
    write(reports / "shop" / "2024-03-02.html", "<p>the night")
    write(
        reports / "shop" / "2024-03-02.json",
        json.dumps({"run_ids": ["manual__0", "manual__1"], "release": {"run_id": "scheduled__patch"}}),
    )
    write(reports / "shop" / "2024-03-01.json", json.dumps({"release": {"run_id": "manual__old"}}))
    write(reports / "shop" / "2024-02-29.json", json.dumps({"release": None}))
    write(reports / "shop" / "index.html", "<p>all nights")
    write(folder / "home" / "index.html", "<p>secret")
    (reports / "linked").symlink_to(folder / "home")
    docs = folder / "home" / "data_docs"
    write(docs / "shop" / "index.html", "<p>all gates")
    write(docs / "shop" / "validations" / "silver" / "run 1" / "t.html", "<p>a table")
    write(docs / "shop" / "gates" / "1-silver.json", '"secret"')
    write(docs / "other" / "index.html", "<p>secret")
    (docs / "shop" / "linked.html").symlink_to(folder / "home" / "index.html")
    found = run_script(folder, "serve_reports.py", json.dumps(list(ASKED.values())))
    return dict(zip(ASKED, found, strict=True))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize("asked", ["nobody is logged in", "the start without a login", "Data Docs without a login"])
def test_without_a_login_there_is_nothing(answers: dict[str, Any], asked: str) -> None:
    assert answers[asked][0] == 401 and "<p>" not in answers[asked][2]


@pytest.mark.parametrize("asked", ["no role", "Data Docs without a role"])
def test_without_access_to_the_dag_there_is_nothing(answers: dict[str, Any], asked: str) -> None:
    assert answers[asked][0] == 403


def test_who_may_read_the_dag_reads_the_reports(answers: dict[str, Any]) -> None:
    assert answers["a page"][0] == 200 and answers["a page"][2] == "<p>the night"
    assert answers["the index"][2] == "<p>all nights"


def test_data_docs_are_read_where_the_reports_are_and_run_no_script(answers: dict[str, Any]) -> None:
    for asked, text in (("Data Docs", "<p>all gates"), ("a validation", "<p>a table")):
        status, _, said, policy = answers[asked]
        assert (status, said) == (200, text) and policy.startswith("default-src 'none'; style-src")


def test_a_run_leads_to_its_report_and_any_other_to_the_index(answers: dict[str, Any]) -> None:
    assert answers["a run"][:2] == [307, f"{PREFIX}/shop/2024-03-02.html"]
    # every run of the night finds its page, whatever release came of it; a patch is no night
    assert answers["the run before it"][:2] == [307, f"{PREFIX}/shop/2024-03-02.html"]
    assert answers["the run of a patch"][:2] == [307, f"{PREFIX}/demo/index.html"]
    assert answers["a run of an earlier version"][:2] == [307, f"{PREFIX}/shop/2024-03-01.html"]
    assert answers["another run"][:2] == [307, f"{PREFIX}/demo/index.html"]
    assert answers["the start"][:2] == [307, f"{PREFIX}/demo/index.html"]


@pytest.mark.parametrize(
    "asked",
    [
        "no such night",
        "the data behind a page",
        "out of the folder",
        "dots as a market",
        "a link out of the folder",
        "the records of gates",
        "no such validation",
        "another market by dots",
        "out of Data Docs",
        "a link out of Data Docs",
    ],
)
def test_nothing_but_pages_is_served(answers: dict[str, Any], asked: str) -> None:
    assert answers[asked][0] == 404 and "secret" not in answers[asked][2]


def test_the_plugin_links_each_run_to_its_report(answers: dict[str, Any]) -> None:
    status, _, text, _ = answers["what the plugin declares"]
    assert status == 200 and "nightjar_reports" in text
