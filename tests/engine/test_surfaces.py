"""A surface of the market's own: what comes back from it is taken in as what comes back from a shipped one."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pytest
import yaml

from jobs import quarantine, steps
from jobs.contract import DayRange
from jobs.landing import day_folder, write_manifest
from jobs.settings import market_file

DAY = dt.date(2024, 3, 14)
AT = {"at": "2024-03-14T10:00:00Z", "user_id": "u1", "item_id": "i1"}
OF_FEED = {
    "impressions": {**AT, "position": 1},
    "events": {**AT, "action": "click"},
    "curated": {"item_id": "i1", "approver": "ann", "starts_at": AT["at"], "ends_at": AT["at"]},
}
KEYS = {"impressions": "impression_id", "events": "event_id", "curated": "curated_id"}


@pytest.fixture
def runner(settings, monkeypatch):
    """A market with the surface ``basket``; each feed tells of a row there, one in the feed and one nowhere."""
    monkeypatch.setenv("NIGHTJAR_SPARK", settings.spark)
    market = replace(settings.market, surfaces={"basket": {"length": 4}})
    market_file("demo", settings.home).write_text(yaml.safe_dump(market.to_mapping()))
    for feed, row in OF_FEED.items():
        rows = [{**row, KEYS[feed]: where, "surface": where} for where in ("basket", "feed", "nowhere")]
        folder = day_folder(settings.landing, "demo", feed, DAY)
        folder.mkdir(parents=True)
        (folder / "part.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
        write_manifest(folder, feed, DAY, {"part.jsonl": len(rows)})
    with steps.opened("demo", "first") as made:
        yield made


def test_rows_of_a_market_s_own_surface_reach_silver(runner):
    for layer in ("bronze", "silver"):
        steps.run_nodes(runner, [runner.catalog.node(f"{layer}.{feed}") for feed in OF_FEED], DayRange.day(DAY))
    for feed, key in KEYS.items():
        rows = runner.lake.rows(f"silver.{feed}", [key, "surface"]).to_pylist()
        assert sorted((r[key], r["surface"]) for r in rows) == [("basket", "basket"), ("feed", "feed")]
        (refused,) = quarantine.counts(quarantine.refused(runner.lake, f"silver.{feed}"))
        assert (refused["rule"], refused["rows"]) == ("unknown_value:surface", 1)
