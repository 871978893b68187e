"""Each day keeps the weights it had, and a new one's are decided on the feedback up to it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from jobs import objectives, ops
from jobs.errors import ContractError
from jobs.lake import Lake
from jobs.report import night_report, render_html, render_text
from jobs.settings import Market, Settings
from jobs.tables.content_daily import CONTRACT

START = dt.date(2024, 3, 1)


RUNNING = {
    "layer": "ranking",
    "buckets": [0, 5000],
    "variants": {"control": 1, "b": 1},
    "starts": "2024-03-01",
    "ends": "2024-03-29",
    "primary": "ctr",
}


def day(n: int) -> dt.date:
    return START + dt.timedelta(days=n)


@pytest.fixture
def settings(tmp_path):
    """Three weeks of two kinds of content: from the 16th on videos are clicked more and bought less."""
    settings = Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("shop"))
    rows = []
    for n in range(24):
        clicks, bought = (1200, 60) if n >= 15 else (1000, 100)
        # a little scatter, the same in every week, so that intervals have a width
        clicks += 3 * (n % 5)
        shared = {"ds": day(n), "impressions": 10_000, "dwell_ms": 30_000 * clicks}
        rows.append({**shared, "content_type": "video", "clicks": clicks, "purchases": bought})
        article = {"content_type": "article", "clicks": 1000 + n % 3, "purchases": 0}
        rows.append({**shared, **article, "dwell_ms": 30_000 * (1000 + n % 3)})
    Lake(settings).append(CONTRACT, rows)
    return settings


def weights(rows, name="video"):
    return next((r["ctr"], r["cvr"], r["dwell"], r["move"]) for r in rows if r["content_type"] == name)


def test_a_day_keeps_its_weights_and_an_older_one_gets_those_before_it(settings):
    assert weights(objectives.pin(settings, day(14), "night 1")) == (0.6, 0.3, 0.1, "first")
    made = objectives.pin(settings, day(21), "night 2")
    # sales by click fell by half: a tenth of 0.6 goes from clicks to sales
    assert weights(made) == (0.54, 0.36, 0.1, "lowered")
    assert weights(made, "article") == (0.6, 0.3, 0.1, "held")
    log = Lake(settings).rows(ops.OBJECTIVE_WEIGHTS.name)
    # a rerun decides nothing anew
    assert weights(objectives.pin(settings, day(21), "again")) == (0.54, 0.36, 0.1, "lowered")
    assert Lake(settings).rows(ops.OBJECTIVE_WEIGHTS.name).num_rows == log.num_rows
    # a day between the two ranks as its day did, not as is known by now
    backfilled = objectives.pin(settings, day(18), "backfill")
    assert weights(backfilled) == (0.6, 0.3, 0.1, "first") and {r["ds"] for r in backfilled} == {day(18)}
    assert objectives.pin(settings, day(10), "older than any") == []
    # the next night goes on from the newest day
    following = objectives.pin(settings, day(22), "night 3")
    assert weights(following) == (0.54, 0.36, 0.1, "held")
    assert "6 more days" in next(r["reason"] for r in following if r["content_type"] == "video")


def test_the_row_says_on_what_it_was_decided(settings):
    objectives.pin(settings, day(14), "night 1")
    row = next(r for r in objectives.pin(settings, day(21), "night 2") if r["content_type"] == "video")
    # clicks 1200 of 10,000 showings against 1000, and the scatter; 60 sales of 1200 clicks against 100 of 1000
    assert row["ctr_rate"] == pytest.approx(0.12, rel=0.01) and row["cvr_rate"] == pytest.approx(0.05, rel=0.01)
    assert row["ctr_lo"] < row["ctr_change"] < row["ctr_hi"]
    assert row["ctr_change"] == pytest.approx(0.2, abs=0.01)
    assert row["cvr_change"] == pytest.approx(-0.5, abs=0.01) and row["dwell_change"] == pytest.approx(0, abs=0.001)
    assert (row["reference_ds"], row["moved_ds"]) == (day(14), day(21))
    assert row["reason"].startswith("CTR +19.6 % [") and row["reason"].endswith("10.0 % of the CTR weight go to cvr")


def test_a_person_takes_a_move_back_on_record(settings):
    objectives.pin(settings, day(14), "night 1")
    objectives.pin(settings, day(21), "night 2")
    with pytest.raises(ContractError, match="with a reason only"):
        objectives.reset(settings, day(21), "video", " ", "me")
    with pytest.raises(
        ContractError, match=r"no weights of content type 'song'; it has those of \['article', 'video'\]"
    ):
        objectives.reset(settings, day(21), "song", "why not", "me")
    objectives.reset(settings, day(21), "video", "it was a sale", "me")
    assert weights(objectives.pin(settings, day(21), "again")) == (0.6, 0.3, 0.1, "reset")
    assert len([r for r in Lake(settings).rows(ops.OBJECTIVE_WEIGHTS.name).to_pylist() if r["ds"] == day(21)]) == 3


def test_options_of_the_market_reach_the_law(settings):
    options = {"candidates.ranked": {"ctr": 0.5, "cvr": 0.5}, "models.objective_weights": {"least_purchases": 10_000}}
    shop = replace(settings, market=Market("shop", params=options))
    objectives.pin(shop, day(14), "night 1")
    # too few sales to judge, and dwell did not fall
    assert weights(objectives.pin(shop, day(21), "night 2")) == (0.5, 0.5, 0.1, "held")
    wrong = replace(settings, market=Market("shop", params={"models.objective_weights": {"speed": 1}}))
    with pytest.raises(ContractError, match=r"unknown option \['speed'\]"):
        objectives.pin(wrong, day(22), "night 3")


def test_the_report_shows_weights_and_what_moved_them(settings):
    objectives.pin(settings, day(14), "night 1")
    objectives.pin(settings, day(21), "night 2")
    report = night_report(settings, day(21))
    assert [r["content_type"] for r in report["objectives"]] == ["article", "video"]
    assert [p["subject"] for p in report["problems"] if p["section"] == "objectives"] == ["objectives of video"]
    assert "0.540 / 0.360 / 0.100" in render_text(report)
    assert "of the CTR weight go to cvr" in render_html(report)


@pytest.mark.parametrize(
    ("market", "in_force"),
    [
        ({}, False),
        ({"params": {"candidates.ranked": {"order_by": "fusion"}}}, True),
        # a variant alone is ordered by it
        ({"experiments": {"running": {"fused": {**RUNNING, "pipeline": {"b": {"order_by": "fusion"}}}}}}, True),
    ],
)
def test_weights_that_order_no_list_are_said_not_to_be_in_force(settings, market, in_force):
    settings = replace(settings, market=replace(settings.market, **market))
    objectives.pin(settings, day(14), "night 1")
    objectives.pin(settings, day(21), "night 2")
    report = night_report(settings, day(21))
    (problem,) = [p for p in report["problems"] if p["section"] == "objectives"]
    for said in (render_text(report), render_html(report), problem["said"]):
        assert ("not in force, no list is ordered by fusion" in said) is not in_force
    assert "Weights of the objectives: in force" in render_html(report) or not in_force
