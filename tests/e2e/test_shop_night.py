"""A real shop without showings, clicks, reviews and creators' names: imported, built through the gates, and served."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs import steps
from jobs.importer import import_data
from jobs.lake import Lake
from jobs.report import night_report
from jobs.report.night import Night
from jobs.report.sections import left_out
from jobs.session import connect
from jobs.settings import Market, Settings, load_settings
from tests.e2e.conftest import enter

ROOT = Path(__file__).parents[2]
SHOP = "completejourney"
DATA = ROOT.parent / "shared" / "data" / SHOP
FIRST, LAST_HISTORY, NIGHT = "2017-01-01", "2017-01-13", "2017-01-14"
FEEDS = ("impressions", "reviews", "surveys", "curated", "costs", "consent")
TABLES = ("badcases", "request_context", "review_signals", "sentiment", "user_follows", "user_needs", "user_terminal")


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"real data is not at {DATA}")
def test_a_real_shop_gets_lists_and_is_told_what_its_data_cannot_give(tmp_path, monkeypatch, spark_server):
    enter(tmp_path, monkeypatch)
    spark = connect(Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market(SHOP), spark_server))
    import_data(spark, tmp_path, ROOT / "mappings" / f"{SHOP}.yaml", DATA)
    settings = load_settings(SHOP)
    steps.build_days(FIRST, LAST_HISTORY, SHOP, "history", spark)
    spark.stop()
    steps.night(NIGHT, SHOP, "night")

    lake = Lake(settings)
    problems = [p for p in night_report(settings, NIGHT)["problems"] if p["severity"] == "fail"]
    assert problems == []
    for gate in ("silver", "features", "serving"):
        assert lake.rows("audit.data_quality", ds=NIGHT, gate=gate).num_rows > 0
    lists = lake.rows("serving.recommendations", ["user_id", "rank", "reasons"], ds=NIGHT).to_pylist()
    active = lake.rows("features.user_activity", ["user_id", "days_since_active"], ds=NIGHT).to_pylist()
    # consent was never asked for, so the market's default holds for everyone who shopped in 28 days
    assert {r["user_id"] for r in lists} == {r["user_id"] for r in active if r["days_since_active"] < 28}
    assert all(r["reasons"] for r in lists)
    said = left_out.gather(Night(settings, lake.days("serving.recommendations")[-1]))
    assert {s.split()[1] for s in said if s.startswith("Feed ")} == set(FEEDS)
    assert {s.split()[0].removeprefix("features.") for s in said if " has no row " in s} == set(TABLES)
    # nobody was shown anything, so no rate of clicks is made up
    [of_items] = [s for s in said if s.startswith("features.item_stats")]
    assert "ctr_28d" in of_items
