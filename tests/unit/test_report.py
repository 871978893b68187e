"""The night's report: what it gathers from literal tables, and how it is shown."""

from __future__ import annotations

import datetime as dt
import json
import re
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from jobs import ops
from jobs.lake import Lake
from jobs.ops import DATA_QUALITY
from jobs.report import night_report, render_html, render_text, write_report
from jobs.settings import Market, Settings
from quality import diversity, evaluation, fairness

DAY = dt.date(2024, 3, 2)
NASTY = "<script>alert('x')</script> \x1b[31m & tea"
ANY_RUN = {"run_id": "r", "attempt": "a", "seconds": 1.5}


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("shop", groups=("gender",)))


def put(settings, table, rows, schema=None, by=("ds",)):
    write_deltalake(str(settings.table_path(table)), pa.Table.from_pylist(rows, schema=schema), partition_by=list(by))


def full(settings):
    lake = Lake(settings)
    lake.append(
        ops.RUN,
        [
            {**ANY_RUN, "ds": DAY, "table": "silver.events", "status": "failed", "message": "old", "at_ms": 1},
            {
                **ANY_RUN,
                "ds": DAY,
                "table": "silver.events",
                "status": "published",
                "rows": 1234567,
                "quarantined": 3,
                "duplicates": 2,
                "late": 1,
                "at_ms": 2,
            },
            {
                **ANY_RUN,
                "ds": DAY,
                "table": "bronze.events",
                "status": "published",
                "rows": 10,
                "message": "Undeclared columns, kept in extra: colour.",
                "at_ms": 3,
            },
            {
                **ANY_RUN,
                "ds": DAY - dt.timedelta(days=1),
                "table": "serving.similar",
                "status": "published",
                "at_ms": 4,
            },
        ],
    )
    check = {"run_id": "r", "gate": "silver", "rows": 9, "at_ms": 5, "ds": DAY}
    lake.append(
        DATA_QUALITY,
        [
            {
                **check,
                "table": "silver.events",
                "check": "between(x)",
                "verdict_if_failed": "fail",
                "success": False,
                "observed": "earlier",
                "at_ms": 4,
            },
            {**check, "table": "silver.events", "check": "between(x)", "verdict_if_failed": "fail", "success": True},
            {
                **check,
                "table": "silver.items",
                "check": "not_null(y)",
                "verdict_if_failed": "warn",
                "success": False,
                "observed": "2 of 9 rows breaking it",
            },
        ],
    )
    lake.append(
        ops.RELEASE,
        [
            {"ds": DAY, "release_id": "2024-03-02-abc", "kind": "nightly", "sequence": 1, "tables": "{}", "at_ms": 6},
            {"ds": DAY, "release_id": "2024-03-02-abc", "kind": "rollback", "sequence": 2, "tables": "{}", "at_ms": 7},
        ],
    )
    model = settings.home / "model"
    model.mkdir()
    (model / "gate.json").write_text(
        json.dumps(
            {
                "first_day": "2024-02-01",
                "last_day": "2024-02-20",
                "lines": [
                    {"metric": "gauc", "value": 0.71, "threshold": 0.5, "passed": True, "why": "orders within a user"},
                    {"metric": "rows_per_s", "value": 9.5, "threshold": 20.5, "passed": False, "fails": False},
                ],
            }
        )
    )
    lake.append(
        ops.MODEL_PIN,
        [
            {
                "ds": DAY,
                "role": "ranker",
                "model": "shop-ranker",
                "version": "3",
                "path": str(model),
                "run_id": "r",
                "at_ms": 6,
            }
        ],
    )
    lists(settings)
    audits(lake)


def lists(settings):
    reason = {"kind": "basic", "code": "c", "text": "because of tea", "evidence": "1"}
    put(
        settings,
        "serving.recommendations",
        [
            {
                "ds": DAY,
                "release_id": release,
                "surface": "feed",
                "user_id": user,
                "rank": rank,
                "item_id": 10 + rank,
                "channel": "item_cf",
                "slot_type": "organic",
                "reasons": [reason],
            }
            for release in ("2024-03-02-abc", "2024-03-02-other")
            for user in (5, 1, 9, 3, 7)
            for rank in (1, 2)
        ],
        by=("ds", "release_id"),
    )
    put(settings, "silver.users", [{"ds": DAY, "user_id": u, "original_id": f"U{u}"} for u in range(10)])
    put(
        settings,
        "silver.items",
        [
            {
                "ds": DAY,
                "item_id": 10 + i,
                "original_id": f"I{i}",
                "title": NASTY if i == 1 else "tea " * 40,
                "price_minor": None,
            }
            for i in range(4)
        ],
        pa.schema(
            [
                ("ds", pa.date32()),
                ("item_id", pa.int64()),
                ("original_id", pa.string()),
                ("title", pa.string()),
                ("price_minor", pa.int64()),
            ]
        ),
    )


def audits(lake):
    row = {"ds": DAY, "list_ds": DAY - dt.timedelta(days=1), "horizon_days": 1, "group": "all", "n": 812}
    lake.append(
        evaluation.CONTRACT,
        [
            {**row, "subject": subject, "metric": metric, "k": k, "value": 0.123456, "lo": 0.1, "hi": 0.15}
            for subject in ("channel:item_cf", "served", "baseline:popularity_7d")
            for metric, k in (("ndcg", 10), ("recall", 20), ("gini", 10))
        ],
    )
    lake.append(
        diversity.CONTRACT,
        [
            {
                "ds": DAY,
                "subject": "feed",
                "metric": "gini",
                "value": 0.7,
                "lo": 0.6,
                "hi": 0.8,
                "n": 5,
                "threshold": 0.6,
                "verdict": "warn",
            }
        ],
    )
    shared = {"ds": DAY, "attribute": "gender", "metric": "coverage", "k": 10, "horizon_days": 0, "list_ds": DAY}
    lake.append(
        fairness.CONTRACT,
        [
            {**shared, "group": "f", "kind": "group", "value": 0.5, "lo": 0.4, "hi": 0.6, "n": 300},
            {
                **shared,
                "group": "",
                "kind": "difference",
                "value": 0.05,
                "lo": -0.1,
                "hi": 0.2,
                "n": 600,
                "threshold": 0.15,
                "verdict": "ok",
            },
            {**shared, "group": "m", "kind": "group", "value": None, "n": 3, "verdict": "too small"},
        ],
    )


def test_the_last_build_of_every_table_counts(settings):
    full(settings)
    tables = night_report(settings, DAY)["tables"]
    assert [(t["table"], t["status"], t["rows"]) for t in tables] == [
        ("bronze.events", "published", 10),
        ("silver.events", "published", 1234567),
    ]


def test_what_is_worth_knowing_of_a_delivery_is_said(settings):
    full(settings)
    report, said = night_report(settings, DAY), "Undeclared columns, kept in extra: colour."
    assert f"bronze.events: {said}" in render_text(report) and said in render_html(report)


def test_the_last_verdict_of_every_gate_counts(settings):
    full(settings)
    assert night_report(settings, "2024-03-02")["gates"] == [
        {
            "gate": "silver",
            "tables": 2,
            "checks": 2,
            "verdict": "passed with warnings",
            "broken": [
                {
                    "table": "silver.items",
                    "check": "not_null(y)",
                    "observed": "2 of 9 rows breaking it",
                    "verdict_if_failed": "warn",
                    "waiver": None,
                    "owner": "platform",
                }
            ],
        }
    ]


def test_lists_of_three_users_have_their_own_names(settings):
    full(settings)
    found = night_report(settings, DAY)["lists"]
    # users 1, 3, 5, 7, 9: first, middle and last
    assert [each["user"] for each in found] == ["U1", "U5", "U9"]
    assert [(i["rank"], i["item"], i["reason"]) for i in found[0]["items"]] == [
        (1, "I1", "because of tea"),
        (2, "I2", "because of tea"),
    ]


def test_release_and_model(settings):
    full(settings)
    report = night_report(settings, DAY)
    assert report["release"]["release_id"] == "2024-03-02-abc"
    assert report["release"]["kind"] == "nightly" and report["release"]["current"]
    assert report["model"]["version"] == "3" and report["model"]["metrics"][0]["metric"] == "gauc"
    # what stops no promotion is not said to have failed
    assert "rows_per_s 9.5000, limit 20.5000: warn" in render_text(report)


def test_lists_come_before_baselines_and_candidates(settings):
    full(settings)
    subjects = night_report(settings, DAY)["evaluation"]
    assert [s["subject"] for s in subjects] == ["served", "baseline:popularity_7d", "channel:item_cf"]
    assert subjects[0]["figures"]["ndcg@10"] == {"value": 0.123456, "lo": 0.1, "hi": 0.15}


def test_what_the_data_lacks_is_said_once(settings):
    full(settings)
    (settings.landing / "shop" / "reviews" / "ds=2024-02-01").mkdir(parents=True)
    (settings.landing / "shop" / "reviews" / "ds=2024-02-01" / "_manifest.json").touch()
    said = night_report(settings, DAY)["left_out"]
    assert len(said) == len(set(said))
    assert not any("reviews" in s for s in said) and sum("impressions" in s for s in said) == 1
    assert sum("price" in s for s in said) == 1


def test_the_terminal_gets_no_wide_line_and_no_control_character(settings):
    full(settings)
    text = render_text(night_report(settings, DAY))
    assert max(map(len, text.splitlines())) <= 120
    assert "\x1b" not in text
    for expected in (
        "1,234,567",
        "2024-03-02-abc",
        "gauc 0.7100",
        "0.123 [0.100 0.150]",
        "because of tea",
        "U5",
        "passed with warnings",
        "Where to look next",
    ):
        assert expected in text


class Page(HTMLParser):
    """Tags and text of a page; a tag that is not closed is an error."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_escaped(settings):
    full(settings)
    page = Page(render_html(night_report(settings, DAY)))
    tags = [tag for tag, _ in page.seen]
    assert "script" not in tags and "link" not in tags and "img" not in tags
    assert {"header", "nav", "main", "h1", "caption"} <= set(tags) and tags.count("h1") == 1
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.seen if tag == "th")
    assert tags.count("table") == tags.count("caption")
    assert "<script>alert('x')</script>" in page.text
    for tag, attrs in page.seen:
        assert not {"src", "onclick"} & set(attrs)
        assert tag != "a" or re.match(r"#|http://127\.0\.0\.1|(index|2024-03-02)\.html$", attrs["href"])
    targets = {attrs["id"] for _, attrs in page.seen if "id" in attrs}
    assert {attrs["href"][1:] for tag, attrs in page.seen if tag == "a" and attrs["href"][0] == "#"} <= targets


def test_the_report_is_written_as_page_and_data(settings):
    full(settings)
    page = write_report(settings, night_report(settings, DAY))
    assert page == settings.home / "reports" / "shop" / "2024-03-02.html"
    assert json.loads(page.with_suffix(".json").read_text()) == json.loads(json.dumps(night_report(settings, DAY)))


def test_a_night_of_nothing_is_a_report_too(settings):
    report = night_report(settings, DAY)
    assert report["release"] is None and report["tables"] == [] and report["lists"] == []
    assert "No lists were released" in render_text(report) and "No gate ran" in render_text(report)
    Page(render_html(report))


def test_a_day_of_popularity_says_so(settings):
    Lake(settings).append(
        ops.MODEL_PIN, [{"ds": DAY, "role": "ranker", "model": "", "version": "", "path": "", "at_ms": 1}]
    )
    assert "popularity: no model existed yet" in render_text(night_report(settings, DAY))


def test_a_failed_table_tells_why(settings):
    Lake(settings).append(
        ops.RUN,
        [
            {
                **ANY_RUN,
                "ds": DAY,
                "table": "silver.events",
                "status": "failed",
                "message": "CheckFailed: 3 rows",
                "at_ms": 1,
            }
        ],
    )
    report = night_report(settings, DAY)
    assert "CheckFailed: 3 rows" in render_text(report) and "CheckFailed: 3 rows" in render_html(report)
