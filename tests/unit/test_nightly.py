"""What `nightjar nightly` decides before it starts any engine: what to land, which nights, which history."""

from __future__ import annotations

import datetime as dt
from types import SimpleNamespace

import pytest

from jobs import nightly, steps
from jobs.cli import main
from jobs.contract import Table
from jobs.errors import LandingError, SettingsError
from jobs.lake import Lake
from jobs.landing import day_folder, landed_days, write_manifest
from jobs.nightly import FEATURE_DAYS, Request, history, land, plan_nights
from jobs.ops import RELEASE, RUN
from jobs.services.airflow_api import RunFailed
from jobs.settings import Market, load_settings, save_market
from jobs.simulator import WorldConfig, simulate, world_of

FIRST = dt.date(2024, 3, 1)


def day(n: int) -> dt.date:
    return FIRST + dt.timedelta(days=n)


def delivered(market: str, days: int) -> None:
    """Items land on each day."""
    settings = load_settings(save_market(Market(market)).name)
    for n in range(days):
        folder = day_folder(settings.landing, market, "items", day(n))
        folder.mkdir(parents=True)
        (folder / "items.csv").write_text("item_id,title,category\n")
        write_manifest(folder, "items", day(n), {"items.csv": 0})


@pytest.fixture
def simulated(home, monkeypatch):
    """The markets that were simulated."""
    found: list[str] = []
    monkeypatch.setattr(nightly, "_simulate", lambda request, market, say: found.append(market))
    return found


def test_a_new_installation_simulates_the_demo_once(home, simulated):
    assert land(Request(), print) == "demo" and simulated == ["demo"]
    delivered("demo", 1)
    assert land(Request(), print) == "demo" and simulated == ["demo"]


def test_a_day_of_a_simulated_market_is_simulated(home, simulated):
    delivered("demo", 1)
    (home / "truth" / "demo").mkdir(parents=True)
    assert land(Request(ds=day(9)), print) == "demo" and simulated == ["demo"]


def world(home, market: str, days: int = 2) -> WorldConfig:
    """A simulated market whose world is none of the defaults."""
    config = WorldConfig(users=20, items=220, creators=22, days=days, seed=3, market=market, requests_per_user_day=0.5)
    save_market(Market(market, timezone=config.timezone))
    simulate(config, home / "landing", home / "truth")
    return config


def test_the_next_day_of_a_world_is_of_that_world(home, monkeypatch):
    config = world(home, "town")
    assert land(Request(ds=day(2), market="town"), print) == "town"
    # that day and none of the 14 that a new world begins with
    assert landed_days(home / "landing", "town", "items") == [day(0), day(1), day(2)]
    assert vars(world_of(home / "truth", "town", days=2)) == vars(config)
    assert land(Request(days=4, market="town"), print) == "town"
    assert landed_days(home / "landing", "town", "items")[-1] == day(3)
    monkeypatch.setenv("NIGHTJAR_MARKET", "town")
    assert main(["simulate", "--from", str(day(4)), "--to", str(day(4))]) == 0
    assert landed_days(home / "landing", "town", "items")[-1] == day(4)


def test_a_world_of_other_users_than_asked_for_is_an_error_that_names_them(home, capsys):
    world(home, "town", days=1)
    for asked in (Request(market="town", users=500, ds=day(1)), Request(market="town", users=500)):
        with pytest.raises(SettingsError, match="town is the truth of a world with other users: use that"):
            land(asked, print)
    assert main(["simulate", "--market", "town", "--seed", "4", "--items", "220"]) == 1
    assert "a world with other seed: use" in capsys.readouterr().err
    # what is given and true is no contradiction
    assert land(Request(market="town", users=20, ds=day(1)), print) == "town"
    assert landed_days(home / "landing", "town", "items") == [day(0), day(1)]


@pytest.mark.parametrize("failing", [None, 0, 1])
def test_the_report_is_of_the_night_that_failed_else_of_the_last(home, monkeypatch, failing):
    nights, ran, reported = [day(8), day(9)], [], []

    def wait(dag, run_id, on_change):
        ran.append(run_id)
        if failing is not None and run_id == str(nights[failing]):
            raise RunFailed(f"The run of {run_id} failed.")

    airflow = SimpleNamespace(trigger=lambda dag, ds, conf: ds, wait=wait, tasks=lambda dag, run_id: {})
    monkeypatch.setattr("jobs.services.up", lambda *only, on_event: None)
    monkeypatch.setattr(nightly, "land", lambda request, say: save_market(Market("demo")).name)
    monkeypatch.setattr(nightly, "plan_nights", lambda settings, ds: nights)
    monkeypatch.setattr(nightly, "build_history", lambda settings, first, say: None)
    monkeypatch.setattr(nightly, "ready", lambda home: airflow)
    monkeypatch.setattr(nightly, "print_report", lambda settings, ds: reported.append(ds))
    assert nightly.nightly(Request()) == (0 if failing is None else 1)
    last = 1 if failing is None else failing
    assert reported == [nights[last]] and ran == [str(night) for night in nights[: last + 1]]


@pytest.mark.parametrize("market", ["shop", "demo"])
def test_nothing_is_ever_simulated_into_what_sources_landed(home, simulated, market):
    delivered(market, 2)
    assert land(Request(market=market, ds=day(1)), print) == market
    assert land(Request(market=market, ds=day(5)), print) == market
    assert simulated == []
    with pytest.raises(LandingError, match=f"Nothing has landed for 2024-03-06 in market {market}; landed are"):
        plan_nights(load_settings(market), day(5))


def test_a_market_that_nothing_landed_in_is_an_error_and_no_demo(home, simulated, monkeypatch):
    monkeypatch.setenv("NIGHTJAR_MARKET", "shop")
    assert land(Request(), print) == "shop" and simulated == []
    with pytest.raises(SettingsError, match="There is no market 'shop'"):
        load_settings("shop")
    save_market(Market("shop"))
    with pytest.raises(LandingError, match="Nothing has landed in market shop"):
        plan_nights(load_settings("shop"), None)


def test_the_landing_zone_is_where_the_environment_says(home, simulated, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("NIGHTJAR_LANDING", str(tmp_path_factory.mktemp("elsewhere")))
    delivered("demo", 1)
    assert land(Request(), print) == "demo" and simulated == []
    assert not (home / "landing").exists()


def published(settings, group: str, first: dt.date, last: dt.date) -> None:
    tables = [n.name for n in steps.catalog().group(group) if isinstance(n.contract, Table)]
    days = [first + dt.timedelta(days=n) for n in range((last - first).days + 1)]
    row = {"run_id": "r", "attempt": "a", "status": "published", "inputs": "{}", "at_ms": 1}
    Lake(settings).append(RUN, [{**row, "ds": ds, "table": table} for table in tables for ds in days])


def test_a_history_that_was_stopped_is_finished_group_by_group(home):
    delivered("shop", 45)
    settings, night = load_settings("shop"), day(40)
    least = night - dt.timedelta(days=FEATURE_DAYS)
    assert history(settings, night) == {"bronze": FIRST, "silver": FIRST, "features": least, "examples": least}
    for group in ("bronze", "silver"):
        published(settings, group, FIRST, day(39))
    assert history(settings, night) == {"features": least, "examples": least}
    published(settings, "features", least, day(39))
    assert history(settings, night) == {"examples": least}
    published(settings, "examples", least, day(39))
    assert history(settings, night) == {}
    # the next night but one lacks the day between them, in all groups
    for group in ("bronze", "silver", "features", "examples"):
        published(settings, group, night, night)
    assert history(settings, day(42)) == dict.fromkeys(("bronze", "silver", "features", "examples"), day(41))


def test_a_new_lake_runs_two_nights_and_a_later_one_the_night_asked_for(home):
    delivered("shop", 10)
    settings = load_settings("shop")
    assert landed_days(settings.landing, "shop", "items") == [day(n) for n in range(10)]
    assert plan_nights(settings, None) == [day(8), day(9)]
    assert plan_nights(settings, day(3)) == [day(2), day(3)]
    row = {"ds": day(8), "release_id": "x", "kind": "nightly", "sequence": 1, "run_id": "r", "at_ms": 1}
    Lake(settings).append(RELEASE, [row])
    assert plan_nights(settings, None) == [day(9)]
