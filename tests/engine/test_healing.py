"""Nights that take in what came late: rows within the market's limit, and files of a day that was taken in before."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pytest

from jobs import steps
from jobs.contract import DayRange
from jobs.errors import CheckFailed
from jobs.lake import Lake
from jobs.landing import day_folder, write_manifest
from jobs.planning import plan
from jobs.settings import market_file, save_market
from tests.engine.deliveries import event, land_events

D1, D2, D3, D6 = (dt.date(2024, 3, n) for n in (1, 2, 3, 6))


def night(ds):
    with steps.opened("demo", f"night-{ds}") as runner:
        return steps.run_nodes(runner, [runner.catalog.node(n) for n in ("bronze.events", "silver.events")], ds)


def on(day, number):
    return event(number, at=f"{day}T10:00:00Z")


def late_part(settings, day, rows):
    folder = day_folder(settings.landing, "demo", "events", day)
    (folder / "late.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    write_manifest(folder, "events", day, {"late.jsonl": len(rows)}, part="late")


@pytest.fixture
def lake(settings, monkeypatch):
    monkeypatch.setenv("NIGHTJAR_SPARK", settings.spark)
    return Lake(settings)


def test_a_row_is_late_by_as_many_days_as_the_market_says(settings, lake):
    market_file("demo").unlink()
    save_market(replace(settings.market, late_days=5))
    land_events(settings, D1, [on(D1, 1)])
    night(DayRange.day(D1))
    # on the 6th there came a row of that day, one 5 days late, and one 6 days late
    land_events(settings, D6, [on(D6, 2), on(D1, 3), on(dt.date(2024, 2, 29), 4)])
    assert night(DayRange.day(D6))["silver.events"] == 3
    assert lake.counts("silver.events") == {str(D1): 2, str(D6): 1}
    refused = lake.rows("ops.quarantine", ["ds", "rule"]).to_pylist()
    assert refused == [{"ds": D6, "rule": "late"}]


def test_a_full_file_that_its_manifest_calls_empty_stops_the_night(settings, lake):
    folder = day_folder(settings.landing, "demo", "events", D1)
    folder.mkdir(parents=True)
    (folder / "part.jsonl").write_text(json.dumps(on(D1, 1)) + "\n")
    write_manifest(folder, "events", D1, {"part.jsonl": 0})
    with pytest.raises(CheckFailed, match=f"bronze.events {D1}: the manifests of events promise 0 rows, 1 were read"):
        night(DayRange.day(D1))


def test_a_file_that_landed_after_its_night_is_read_by_the_next_and_planned(settings, lake, caplog):
    for n, day in enumerate((D1, D2, D3)):
        land_events(settings, day, [on(day, n)])
    night(DayRange.day(D1))
    night(DayRange.day(D2))
    late_part(settings, D1, [on(D1, 10), on(D1, 11)])

    def planned(table):
        (found,) = plan(lake, steps.catalog(), table, DayRange.day(D3))
        return found.days

    caplog.clear()
    assert planned("bronze.events") == planned("silver.events") == DayRange(D1, D3)
    assert planned("bronze.orders") == DayRange(D3, D3)
    assert f"{D1} landed anew since bronze.events took it in: it is built again." in caplog.text
    night(DayRange.day(D3))
    assert lake.counts("bronze.events") == lake.counts("silver.events") == {str(D1): 3, str(D2): 1, str(D3): 1}
    caplog.clear()
    assert planned("bronze.events") == planned("silver.events") == DayRange.day(D3)
    assert caplog.text == ""
