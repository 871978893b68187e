"""What the report says first, what it compares, and that each of its figures is one of a table."""

from __future__ import annotations

import datetime as dt
import doctest
import json
from dataclasses import replace

import pytest

from jobs import holds, ops
from jobs.lake import Lake
from jobs.landing import GONE_WITHOUT
from jobs.ops import DATA_QUALITY
from jobs.report import night_report, render_html, render_text, section, write_report
from jobs.report.plots import bars, line
from jobs.report.section import all_sections
from jobs.report.sections.badcases import in_words
from jobs.report.sections.changes import figure
from jobs.report.sections.sources import of_day
from jobs.settings import Market, Settings
from jobs.steps import catalog
from quality import attribution, business_metrics, counterfactual, drift, gmv, health, off_policy, recall_audit
from quality.experiments import readout

DAY = dt.date(2024, 3, 15)
YESTERDAY, WEEK_BEFORE = DAY - dt.timedelta(days=1), DAY - dt.timedelta(days=7)


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("shop"))


@pytest.fixture
def lake(settings):
    return Lake(settings)


def built(lake, day, table="silver.events", rows=100, code="c1", params="p1", config="m1", status="published"):
    shared = {"ds": day, "run_id": "r", "attempt": "a", "table": table, "status": status, "rows": rows, "seconds": 2.0}
    more = {"files": 3, "bytes": 5 * 1024 * 1024, "peak_memory": 300 * 1024 * 1024}
    hashes = {"code_version": code, "params_hash": params, "config_hash": config}
    message = "CheckFailed: 3 rows" if status == "failed" else None
    lake.append(ops.RUN, [{**shared, **more, **hashes, "message": message, "at_ms": 1}])


def released(lake, day, sequence, kind="nightly"):
    row = {
        "ds": day,
        "release_id": f"{day}-x",
        "kind": kind,
        "sequence": sequence,
        "tables": "{}",
        "run_id": "manual__1",
    }
    lake.append(ops.RELEASE, [{**row, "at_ms": sequence}])


def metric(lake, day, name, value):
    row = {"ds": day, "metric": name, "version": 1, "dimension": "all", "value_group": "all", "in_force": True}
    lake.append(business_metrics.CONTRACT, [{**row, "value": value, "n": 9}])


def broken(lake, day, verdict="fail", waiver=None):
    row = {
        "ds": day,
        "run_id": "r",
        "gate": "silver",
        "table": "silver.events",
        "check": "between(x)",
        "success": False,
    }
    more = {"verdict_if_failed": verdict, "observed": "3 of 9 rows breaking it", "waiver": waiver, "at_ms": 1}
    lake.append(DATA_QUALITY, [{**row, **more}])


def verdict(settings):
    return night_report(settings, DAY)["verdict"]


def test_a_night_without_lists_is_not_well_and_says_so_first(settings):
    assert verdict(settings) == {"level": "not well", "said": "No lists were released. 1 failed."}
    page = render_html(night_report(settings, DAY))
    assert page.index("No lists were released.") < page.index("<nav")


def test_a_night_with_lists_is_well(settings, lake):
    released(lake, DAY, 1)
    assert verdict(settings)["said"] == "The lists are released and served. Nothing needs attention."


def test_lists_that_are_not_current_are_said_to_be_so(settings, lake):
    released(lake, DAY, 1)
    released(lake, DAY + dt.timedelta(days=1), 2)
    assert "readers get those of another release" in verdict(settings)["said"]


def test_what_failed_comes_before_what_wants_a_look(settings, lake):
    released(lake, DAY, 1)
    holds.hold(lake, "wrong prices", "vera")
    broken(lake, DAY)
    report = night_report(settings, DAY)
    assert [(p["severity"], p["section"]) for p in report["problems"]] == [("fail", "gates"), ("warn", "release")]
    assert report["verdict"]["said"] == "The lists are released and served. 1 failed and 1 to look at."
    gate = report["problems"][0]
    assert (gate["owner"], gate["figure"], gate["threshold"]) == ("platform", "3 of 9 rows breaking it", "between(x)")


def test_a_waived_failure_is_shown_with_who_waived_it(settings, lake):
    released(lake, DAY, 1)
    broken(lake, DAY, waiver="waived by vera until 2024-03-16: known")
    report = night_report(settings, DAY)
    assert report["gates"][0]["verdict"] == "passed with warnings"
    assert [p["severity"] for p in report["problems"]] == ["warn"]
    assert "waived by vera until 2024-03-16: known" in render_text(report)
    assert "waived by vera until 2024-03-16: known" in render_html(report)


def test_audits_that_did_not_run_are_not_taken_for_good_ones(settings, lake):
    released(lake, DAY, 1)
    built(lake, DAY)
    [problem] = night_report(settings, DAY)["problems"]
    assert problem["section"] == "audits" and "audit.fairness" in problem["said"]


def test_a_build_that_failed_names_its_owner(settings, lake):
    built(lake, DAY, status="failed")
    problem = next(p for p in night_report(settings, DAY)["problems"] if p["section"] == "tables")
    assert (problem["severity"], problem["owner"]) == ("fail", "platform") and "CheckFailed: 3 rows" in problem["said"]


def test_a_night_is_compared_with_yesterday_the_week_before_and_the_last_good_one(settings, lake):
    for sequence, day in enumerate((WEEK_BEFORE, YESTERDAY, DAY), start=1):
        released(lake, day, sequence)
    built(lake, WEEK_BEFORE, rows=100, code="c0")
    built(lake, YESTERDAY, rows=400, params="p0", config="m0")
    built(lake, DAY, rows=200)
    broken(lake, YESTERDAY, waiver="waived by vera until 2024-03-14: known")
    for day, value in ((WEEK_BEFORE, 50.0), (YESTERDAY, 80.0), (DAY, 60.0)):
        metric(lake, day, "dau", value)
    changes = night_report(settings, DAY)["changes"]
    # yesterday a failure was waived, so it was no good night
    assert changes["references"] == {
        "yesterday": "2024-03-14",
        "a week before": "2024-03-08",
        "last good night": "2024-03-08",
    }
    causes = {c["what"]: (c["yesterday"], c["a week before"]) for c in changes["causes"]}
    assert causes == {
        "code": ("same", "was c0"),
        "configuration": ("was m0", "same"),
        "parameters": ("changed: silver.events", "same"),
        "model": ("same", "same"),
    }
    [figure], [volume] = changes["metrics"], changes["volumes"]
    assert figure == {
        "what": "dau",
        "night": 60.0,
        "before": {"yesterday": 80.0, "a week before": 50.0, "last good night": 50.0},
    }
    assert volume["what"] == "silver.events" and volume["night"] == 200
    text = render_text(night_report(settings, DAY))
    assert "-25.0 %" in text and "+20.0 %" in text and "+100.0 %" in text


def test_figures_have_their_course_and_gmv_its_parts(settings, lake):
    for n in range(5):
        metric(lake, DAY - dt.timedelta(days=n), "dau", 100.0 - n)
    part = {"ds": DAY, "part": "lag_0", "impressions": 8, "clicks": 2, "orders": 1, "amount_minor": 1000}
    lake.append(gmv.CONTRACT, [{**part, "ctr": 0.25, "cvr": 0.5, "aov_minor": 1000.0, "gmv_minor": 1000}])
    report = night_report(settings, DAY)
    [dau] = report["metrics"]["metrics"]
    assert dau["value"] == 100 and dau["past"][-5:] == [96, 97, 98, 99, 100] and dau["past"][0] is None
    page = render_html(report)
    assert "dau, last four weeks: from 96.000 to 100.000" in page and "GMV taken apart" in page


def test_health_shows_index_parts_weights_and_what_is_beyond_its_line(settings, lake):
    past = {("dau", "all", "all"): {DAY - dt.timedelta(days=n): (50.0 if n == 0 else 100.0, 9) for n in range(29)}}
    lake.append(health.CONTRACT, list(health.figures(past, DAY, health.Params())))
    report = night_report(settings, DAY)
    assert report["health"]["index"] == 0
    assert {p["part"]: p["weight"] for p in report["health"]["parts"]} == {
        "users": 0.4,
        "ecosystem": 0.3,
        "business": 0.3,
    }
    problem = next(p for p in report["problems"] if p["section"] == "health")
    assert problem["subject"] == "dau" and problem["figure"] == "50" and problem["threshold"] == "90 to 110"
    # the figure says why the index fell, so it goes before it
    of_index = [p for p in report["problems"] if p["subject"].startswith("health ")]
    assert report["problems"].index(problem) < report["problems"].index(of_index[0])
    assert [(p["subject"], p["severity"], p["figure"], p["threshold"]) for p in of_index] == [
        ("health index", "warn", "0", "90"),
        ("health of users", "warn", "0", "80"),
    ]
    assert of_index[0]["said"] == "health index is 0 of 100, below its line, which 21 days before draw."
    text = render_text(report)
    assert "Health index 0 of 100 (warning line 90)" in text and "no feed has revenue of ads" in text


def test_what_moved_satisfaction_is_named(settings, lake):
    rows = [
        {"ds": ds, "dimension": d, "value_group": g, "n": 1000, "satisfied": s}
        for ds, s in ((DAY, 100), (WEEK_BEFORE, 300))
        for d, g in (("all", "all"), ("channel", "item_cf"))
    ]
    lake.append(attribution.CONTRACT, list(attribution.taken_apart(rows, DAY, WEEK_BEFORE)))
    text = render_text(night_report(settings, DAY))
    assert "Satisfaction moved: 10.00 % of the showings satisfied, 30.00 % on 2024-03-08" in text
    assert "channel: item_cf" in text and "-20.00" in text


def test_experiments_estimates_and_recall_are_shown_as_they_are(settings, lake):
    read = {"ds": DAY, "experiment": "ctas", "variant": "b", "segment_by": "all", "segment": "", "metric": "ctr"}
    figures = {"n_control": 500, "n": 300, "control_value": 0.1, "difference": 0.02, "needed": 900}
    lake.append(
        readout.CONTRACT,
        [{**read, **figures, "is_primary": True, "always_lo": -0.01, "always_hi": 0.05, "verdict": "sample ratio"}],
    )
    estimate = {"ds": DAY, "list_ds": YESTERDAY, "n": 90, "verdict": "refused", "reason": "support is too small"}
    lake.append(off_policy.CONTRACT, [{**estimate, "estimator": "ips", "effective_size": 9.0, "support": 0.1}])
    found = {
        "ds": DAY,
        "list_ds": YESTERDAY,
        "horizon_days": 1,
        "subject": "item_cf",
        "hits": 5,
        "unique_hits": 2,
        "n": 8,
    }
    lake.append(recall_audit.CONTRACT, [{**found, "k": k, "recall": k / 1000} for k in (50, 200)])
    report = night_report(settings, DAY)
    problem = next(p for p in report["problems"] if p["section"] == "experiments")
    assert problem["said"] == "Experiment ctas, variant b: its variants have other numbers of people than planned."
    text, page = render_text(report), render_html(report)
    for expected in ("0.020 [-0.010 0.050]", "support is too small", "recall@200", "0.200", "ctr (decides)"):
        assert expected in text and expected in page


def compared(lake, surface, overlap, displacement, verdict, pairs=100):
    limits = {"overlap_limit": 0.95, "displacement_limit": 1.0}
    figures = {"overlap": overlap, "overlap_lo": overlap - 0.01, "overlap_hi": min(overlap + 0.01, 1.0)}
    moved = {"displacement": displacement, "displacement_lo": displacement, "displacement_hi": displacement + 0.5}
    row = {"ds": DAY, "attribute": "gender", "surface": surface, "pairs": pairs, "identical": 0.25, "verdict": verdict}
    lake.append(counterfactual.CONTRACT, [row | figures | moved | limits])


def test_counterfactual_pairs_stand_beside_their_limits(settings, lake):
    released(lake, DAY, 1)
    compared(lake, "feed", 0.98, 0.125, "ok")
    compared(lake, "home", 0.5, 4.0, "different")
    compared(lake, "similar", 1.0, 0.0, "too small", pairs=3)
    nobody = {"ds": DAY, "attribute": "region", "surface": "", "pairs": 0, "verdict": "not known"}
    lake.append(counterfactual.CONTRACT, [nobody])
    report = night_report(settings, DAY)
    text, page = render_text(report), render_html(report)
    for said in (
        "gender, feed",
        "0.980 (0.970 to 0.990)",
        "at least 0.95",
        "0.125 (0.125 to 0.625)",
        "at most 1.00",
        "ok",
    ):
        assert said in page, said
        assert said in text, said
    assert [(p["severity"], p["said"], p["threshold"]) for p in report["problems"]] == [
        (
            "warn",
            "Lists follow gender (home): 0.500 of the items are the same, and an item moves by 4.000 places.",
            "at least 0.95; at most 1.00",
        ),
        ("warn", "3 pairs are too few to tell whether lists follow gender (similar).", ""),
        ("warn", "Whether lists follow region is not known: of whom it is known, nobody differs in it.", ""),
    ]


def drifted(lake, table, feature, reason):
    row = {"ds": DAY, "table": f"features.{table}", "feature": feature, "psi": 0.4, "n": 900, "owner": "people"}
    lake.append(drift.CONTRACT, [{**row, "verdict": "drift", "reason": reason}])


def test_warnings_of_one_kind_are_one_line_with_a_count(settings, lake):
    released(lake, DAY, 1)
    for table, feature in (("a", "x"), ("a", "y"), ("b", "x"), ("b", "z")):
        drifted(lake, table, feature, "psi")
    drifted(lake, "c", "x", "missing")
    report = night_report(settings, DAY)
    assert [(p["said"], p["owner"], p["figure"]) for p in report["problems"]] == [
        ("4 features drifted (psi): features.a.x, features.a.y, features.b.x and 1 more.", "people", "4"),
        ("features.c.x drifted (missing).", "people", "PSI 0.400"),
    ]
    assert report["verdict"]["said"].endswith("2 to look at.")
    # the section has every one of them
    assert all(f"<td>{name}</td>" in render_html(report) for name in ("features.a", "features.b", "features.c"))


def test_failures_page_each_by_itself(settings, lake):
    released(lake, DAY, 1)
    for table in ("silver.events", "silver.orders"):
        built(lake, DAY, table, status="failed")
    assert [p["subject"] for p in night_report(settings, DAY)["problems"] if p["severity"] == "fail"] == [
        "silver.events",
        "silver.orders",
    ]
    assert doctest.testmod(section).failed == 0


def test_the_index_lists_nights_of_any_version(settings, lake):
    folder = settings.home / "reports" / "shop"
    folder.mkdir(parents=True)
    (folder / "2024-03-01.json").write_text(json.dumps({"ds": "2024-03-01", "market": "shop", "release": None}))
    released(lake, DAY, 1)
    write_report(settings, night_report(settings, DAY))
    index = (folder / "index.html").read_text()
    assert index.index("2024-03-15.html") < index.index("2024-03-01.html") and f"{DAY}-x" in index


def written(settings, run_id=""):
    """A night's report as its run writes it; where it leads to, by what is there."""
    report = night_report(settings, DAY, run_id)
    write_report(settings, report)
    return {step["what"]: step.get("page", step["how"]) for step in report["next_steps"]}


def test_a_report_and_its_night_s_runs_lead_to_each_other(settings, lake, monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.shop/")
    run = "https://airflow.shop/dags/nightly/runs/"
    # a night that fails has a run, too, and no release; its rerun makes one
    assert written(settings, "manual__0")["The run in Airflow"] == f"{run}manual__0"
    released(lake, DAY, 1)
    assert written(settings, "manual__1")["The run in Airflow"] == f"{run}manual__1"
    # a patch is the work of another DAG
    patch = {"ds": DAY, "release_id": "p", "kind": "patch", "sequence": 2, "tables": "{}", "at_ms": 2}
    lake.append(ops.RELEASE, [{**patch, "run_id": "scheduled__of_feedback"}])
    assert written(settings)["The run in Airflow"] == f"{run}manual__1"
    # a rerun that finds its lists released already
    assert written(settings, "manual__2")["The run in Airflow"] == f"{run}manual__2"
    # who writes it by hand is no run of Airflow's
    assert written(settings, "night-1")["The run in Airflow"] == f"{run}manual__2"
    assert night_report(settings, DAY)["run_ids"] == ["manual__0", "manual__1", "manual__2", "night-1"]


def test_addresses_are_those_that_the_installation_says(settings, lake, monkeypatch):
    pin = {"ds": DAY, "role": "ranker", "model": "shop-ranker", "version": "3", "path": "", "run_id": "r", "at_ms": 6}
    lake.append(ops.MODEL_PIN, [pin])
    assert not {"Airflow", "MLflow"} & set(written(settings))
    monkeypatch.setenv("NIGHTJAR_MLFLOW_PAGES", "http://127.0.0.1:5000")
    steps = written(settings)
    assert steps["MLflow"] == "http://127.0.0.1:5000" and "Airflow" not in steps
    assert steps["The model's version in MLflow"] == "http://127.0.0.1:5000/#/models/shop-ranker/versions/3"


def test_pages_are_linked_as_they_lie_to_each_other(settings):
    docs = settings.home / "data_docs" / "shop" / "index.html"
    docs.parent.mkdir(parents=True)
    docs.touch()
    steps = written(settings)
    page = settings.home / "reports" / "shop" / f"{DAY}.html"
    for what, file in (("Every check of every gate", docs), ("This report as a page", page)):
        assert (page.parent / steps[what]).resolve() == file.resolve()
        assert f'<a href="{steps[what]}">' in page.read_text()
    # a browser opens no file from a page of Airflow's; a terminal does
    assert "file:" not in page.read_text() and docs.as_uri() in render_text(night_report(settings, DAY))


def test_what_brings_a_few_rows_a_day_is_not_silent_for_want_of_one():
    week = [str(DAY - dt.timedelta(days=n)) for n in range(1, 8)]
    rows = of_day(DAY, {"few": dict.fromkeys(week, 6), "many": dict.fromkeys(week, 7)})
    assert {r["name"]: r["silent"] for r in rows} == {"few": False, "many": True}


def test_a_feed_that_was_gone_without_is_named_unless_it_does_not_come_daily(settings, lake):
    said = {"run_id": "r", "status": "published", "message": GONE_WITHOUT, "at_ms": 1}
    for feed in ("orders", "reviews", "surveys"):
        lake.append(catalog().table(f"bronze.{feed}"), [{"ds": YESTERDAY, "file": "f"} for _ in range(3)])
        lake.append(ops.RUN, [{"ds": DAY, "table": f"bronze.{feed}", **said}])
    feeds = {"surveys": {"wait_hours": 0}, "orders": {"needed": True}}
    market = replace(settings.market, feeds=feeds)
    problems = [p for p in night_report(replace(settings, market=market), DAY)["problems"] if p["section"] == "sources"]
    assert [(p["subject"], p["severity"]) for p in problems] == [("feed orders", "fail"), ("feed reviews", "warn")]
    assert problems[1]["said"] == (
        "Feed reviews had not landed, and was gone without; the mean of the week before is 3 rows."
    )


def test_a_count_has_no_decimals_and_evidence_is_in_words():
    assert [figure(v) for v in (676.0, 0.5, 1.0, 12.25, 34355.4, None)] == [
        "676",
        "0.500",
        "1.000",
        "12.250",
        "34,355",
        "–",
    ]
    assert in_words('{"showings":3,"refused_ds":"2024-03-15"}') == "showings 3, refused ds 2024-03-15"
    assert in_words(None) == ""


def test_every_section_stands_nothing_at_all(settings):
    report = night_report(settings, DAY)
    assert {s.name for s in all_sections()} < set(report)
    json.dumps(report)


def test_a_line_has_words_and_no_point_for_a_day_without_a_value():
    made = line([1.0, None, 3.0, 2.0], "a & b", 0.0, 4.0)
    assert "<title>a &amp; b: from 1.000 to 2.000, least 1.000, most 3.000</title>" in made
    assert made.count("M") == 2 and 'class="band"' in made
    assert line([None, 1.0], "one value") == ""


def test_bars_are_as_long_as_their_values():
    made = bars([("x", 10, "ten"), ("y", 5, "five")], "lengths")
    assert 'width="300.0"' in made and 'width="150.0"' in made
    assert bars([("x", 0, "none")], "nothing") == ""
