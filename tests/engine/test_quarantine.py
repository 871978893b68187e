"""Refused rows are taken in again after a repair, of the rule or of the row, and never twice."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pytest

from jobs import quarantine, steps
from jobs.contract import DayRange
from jobs.errors import LandingError
from jobs.landing import day_folder, feed
from jobs.tables import silver
from tests.engine.deliveries import event, land_events

D1, D2 = dt.date(2024, 3, 13), dt.date(2024, 3, 14)


@pytest.fixture
def runner(settings, monkeypatch):
    monkeypatch.setenv("NIGHTJAR_SPARK", settings.spark)
    land_events(settings, D1, [event(1, at="2024-03-13T09:00:00Z")])
    late = event(3, at="2024-03-13T23:59:00Z")
    land_events(
        settings, D2, [event(2), late, event(4, action="clikc"), event(5, dwell_ms="-1"), event(6, action="clikc")]
    )
    with steps.opened("demo", "first") as made:
        nodes = [made.catalog.node(name) for name in ("bronze.events", "silver.events")]
        steps.run_nodes(made, nodes, DayRange(D1, D2))
        yield made


def rules(runner):
    return {c["rule"]: c["rows"] for c in quarantine.counts(quarantine.refused(runner.lake, "silver.events"))}


def test_repaired_rows_are_taken_in_once_and_their_originals_stay_as_evidence(runner, tmp_path):
    assert rules(runner) == {"unknown_value:action": 2, "out_of_range:dwell_ms": 1}
    assert runner.lake.counts("silver.events") == {str(D1): 2, str(D2): 1}
    repaired = tmp_path / "repaired.jsonl"
    # one corrected, one that belongs to the day before, and one that was good all along
    rows = [event(4), event(6, at="2024-03-13T11:00:00Z"), event(2)]
    repaired.write_text("".join(json.dumps(r) + "\n" for r in rows))

    made = quarantine.replay(runner, "silver.events", DayRange.day(D2), repaired)
    assert made["delivered"] == 3
    assert made["rows"]["bronze.events"] == 8
    assert runner.lake.counts("silver.events") == {str(D1): 3, str(D2): 2}  # the good one is a duplicate
    assert rules(runner) == {"unknown_value:action": 2, "out_of_range:dwell_ms": 1}

    again = quarantine.replay(runner, "silver.events", DayRange.day(D2), repaired)
    assert again["delivered"] == 0
    assert runner.lake.counts("silver.events") == {str(D1): 3, str(D2): 2}


def test_a_repaired_rule_accepts_what_it_had_refused(runner, monkeypatch):
    events = feed("events")
    wider = tuple(replace(f, values=(*f.values, "clikc")) if f.name == "action" else f for f in events.fields)
    node = silver.node(replace(events, fields=wider))
    monkeypatch.setitem(runner.catalog.nodes, "silver.events", replace(node, module="jobs.tables.silver"))
    made = quarantine.replay(runner, "silver.events", DayRange.day(D2))
    assert {c["rule"]: c["rows"] for c in made["before"]} == {"unknown_value:action": 2, "out_of_range:dwell_ms": 1}
    assert {c["rule"]: c["rows"] for c in made["after"]} == {"out_of_range:dwell_ms": 1}
    assert runner.lake.counts("silver.events") == {str(D1): 2, str(D2): 3}


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "line 2 is no JSON"), ('["e4"]', "line 2 is no row"), ('{"event": "e4"}', "line 2 is no row of the feed")],
)
def test_a_broken_repair_lands_nothing(settings, tmp_path, line, said):
    repaired = tmp_path / "repaired.jsonl"
    repaired.write_text(json.dumps(event(4)) + "\n" + line + "\n")
    with pytest.raises(LandingError, match=said):
        quarantine.deliver(settings, "silver.events", D2, repaired)
    assert not day_folder(settings.landing, "demo", "events", D2).exists()


def test_a_repair_needs_its_one_day(runner, tmp_path):
    with pytest.raises(LandingError, match="one day of arrival"):
        quarantine.replay(runner, "silver.events", DayRange(D1, D2), tmp_path / "repaired.jsonl")
