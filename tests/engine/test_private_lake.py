"""A private lake reads another for what it did not build, and writes nothing to it."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from jobs import show, steps
from jobs.contract import DayRange, TableInput
from jobs.errors import ContractError, SettingsError
from jobs.lake import Lake
from jobs.landing import day_folder
from jobs.settings import load_settings
from tests.engine.deliveries import event, land_events

D1, D2, D3 = (dt.date(2024, 3, n) for n in (13, 14, 15))
NAMES = ("bronze.events", "silver.events")


def build(names, days):
    with steps.opened("demo", "run") as runner:
        return steps.run_nodes(runner, [runner.catalog.node(name) for name in names], days)


@pytest.fixture
def production(settings, monkeypatch):
    monkeypatch.setenv("NIGHTJAR_SPARK", settings.spark)
    land_events(settings, D1, [event(1, at="2024-03-13T09:00:00Z")])
    land_events(settings, D2, [event(2), event(3)])
    build(NAMES, DayRange(D1, D2))
    return Lake(settings)


@pytest.fixture
def mine(production, monkeypatch, home):
    monkeypatch.setenv("NIGHTJAR_LAKE", str(home / "lakes" / "mine"))
    monkeypatch.setenv("NIGHTJAR_READ_THROUGH", str(production.settings.lake))
    return Lake(load_settings("demo"))


def seen(lake):
    with steps.opened("demo", "reader") as runner:
        read = runner.read(TableInput("silver.events", days=3), DayRange.day(D3), "test")
        by_spark = sorted((str(r["ds"]), r["action"]) for r in read.collect())
    rows = lake.rows("silver.events", ["ds", "action"]).to_pylist()
    assert by_spark == sorted((str(r["ds"]), r["action"]) for r in rows)
    counts = {str(D1): 0, str(D2): 0} | lake.counts("silver.events")
    assert [sum(ds == str(d) for ds, _ in by_spark) for d in (D1, D2)] == [counts[str(D1)], counts[str(D2)]]
    return by_spark


def test_what_was_not_built_is_read_from_behind(mine, production):
    versions = {name: production.version(name) for name in NAMES}
    assert seen(mine) == [(str(D1), "click"), (str(D2), "click"), (str(D2), "click")]
    # a source of its own for one day: the private lake's day hides the other's
    part = day_folder(mine.settings.landing, "demo", "events", D2)
    for file in part.iterdir():
        file.unlink()
    part.rmdir()
    land_events(mine.settings, D2, [event(9, action="like")])
    assert build(NAMES, DayRange.day(D2)) == {"bronze.events": 1, "silver.events": 1}
    assert seen(mine) == [(str(D1), "click"), (str(D2), "like")]
    assert production.counts("silver.events") == {str(D1): 1, str(D2): 2}
    assert versions == {name: production.version(name) for name in NAMES}
    assert mine.settings.locks != production.settings.locks


def test_a_table_is_built_on_what_lies_behind_and_reconciles_with_it(mine, production):
    assert build(["silver.events"], DayRange(D1, D2)) == {"silver.events": 3}
    assert not mine.path("bronze.events").exists()


def test_a_day_that_came_out_empty_is_not_read_from_behind(mine, production):
    folder = day_folder(mine.settings.landing, "demo", "events", D2)
    for file in folder.iterdir():
        file.unlink()
    build(NAMES, DayRange.day(D2))
    assert seen(mine) == [(str(D1), "click")]


def test_a_table_that_was_built_behind_alone_is_shown(mine):
    shown = show.rows(mine, steps.catalog(), "silver.events", None, "action == 'click'", 20)
    assert list(shown["event_id"]) == ["e2", "e3"]  # its newest day
    with pytest.raises(ContractError, match="silver.orders was never built"):
        show.rows(mine, steps.catalog(), "silver.orders", None, None, 20)


def test_a_private_lake_trains_nothing_by_itself_and_promotes_nothing(mine):
    assert not steps.training_due(str(D2), "demo")
    assert steps.promote("demo", "1", passed=True) == {"champion": None, "refused": False}


def test_a_lake_does_not_read_through_to_itself(settings):
    with pytest.raises(SettingsError, match="read through to itself"):
        replace(settings, read_through=settings.lake)
