from __future__ import annotations

import re

import pytest
import yaml

from jobs.errors import SettingsError
from jobs.session import ROOT
from jobs.settings import Market, load_market, load_settings, market_file, save_market


def test_a_market_is_read_as_it_was_written(home):
    market = Market(
        "shop",
        "Asia/Shanghai",
        "CNY",
        ("click", "purchase"),
        ("gender",),
        ("food",),
        {"candidates.fused": {"budget": 50}},
        {"west": "Asia/Urumqi"},
    )
    assert save_market(market) == market == load_market("shop")
    assert load_market("shop").hash == market.hash


@pytest.mark.parametrize("name", ["my shop", "../etc", "", "a-b", "1st"])
def test_a_market_s_name_is_a_plain_word(name):
    with pytest.raises(SettingsError, match="a name has letters, digits and underscores only"):
        Market(name)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../UTC"])
def test_an_unknown_time_zone_is_named(zone):
    with pytest.raises(SettingsError, match=f"Market demo: '{zone}' is no IANA time zone"):
        Market("demo", zone)


def test_an_unknown_time_zone_of_a_region_is_named_with_it():
    with pytest.raises(SettingsError, match="Market demo: 'Mars/Olympus' of region west is no IANA time zone"):
        Market("demo", region_timezones={"east": "Asia/Shanghai", "west": "Mars/Olympus"})
    with pytest.raises(SettingsError, match="Market demo: region_timezones maps regions to IANA time zones"):
        Market("demo", region_timezones=("Asia/Shanghai",))


@pytest.mark.parametrize("days", [-1, 8, 2.5, "3"])
def test_rows_may_be_late_by_a_week_at_most(days):
    with pytest.raises(SettingsError, match=f"Market demo: late_days is a number of days from 0 to 7; it is {days!r}"):
        Market("demo", late_days=days)


def test_a_missing_market_says_how_to_make_one(home):
    with pytest.raises(SettingsError, match="There is no market 'nowhere' .* run `nightjar simulate` or `nightjar im"):
        load_market("nowhere")


def test_an_unknown_option_of_a_market_is_named_with_its_file(home):
    save_market(Market("demo"))
    path = market_file("demo")
    path.write_text(yaml.safe_dump({"name": "demo", "time_zone": "UTC"}))
    with pytest.raises(SettingsError, match=rf"{path}: unknown option \['time_zone'\]; a market has"):
        load_market("demo")


def test_a_market_without_a_name_is_refused():
    with pytest.raises(SettingsError, match="demo.yaml: a market needs a name"):
        Market.from_mapping({}, "demo.yaml")


def test_an_edited_market_is_the_operator_s(home):
    save_market(Market("demo"))
    path = market_file("demo")
    path.write_text(path.read_text().replace("currency: USD", "currency: EUR"))
    assert save_market(Market("demo")).currency == "EUR"
    assert load_market("demo").currency == "EUR"


def test_a_market_cannot_change_its_time_zone(home):
    save_market(Market("demo"))
    with pytest.raises(SettingsError, match="Market demo has time zone UTC, not Asia/Tokyo: its days are cut already"):
        save_market(Market("demo", "Asia/Tokyo"))


def test_places_are_below_home_by_default(home):
    save_market(Market("demo"))
    found = load_settings("demo")
    assert (found.lake, found.landing) == (home / "lake", home / "landing")
    assert found.table_path("silver.events") == home / "lake" / "demo" / "silver" / "events"
    assert found.locks.parent.parent == home / "locks" and found.locks.name == "demo"
    assert found.artifacts == home / "artifacts" / "demo"


def test_the_environment_moves_the_places_and_picks_the_market(home, monkeypatch):
    save_market(Market("shop"))
    monkeypatch.setenv("NIGHTJAR_LAKE", str(home / "elsewhere"))
    monkeypatch.setenv("NIGHTJAR_LANDING", str(home / "in"))
    monkeypatch.setenv("NIGHTJAR_MARKET", "shop")
    found = load_settings()
    assert (found.market.name, found.lake, found.landing) == ("shop", home / "elsewhere", home / "in")


def test_an_argument_wins_over_the_environment(home, monkeypatch):
    save_market(Market("demo"))
    monkeypatch.setenv("NIGHTJAR_MARKET", "shop")
    assert load_settings("demo").market.name == "demo"


@pytest.mark.parametrize("mode", ["auto", "manual", "dry_run"])
def test_the_installation_says_who_promotes_a_model(home, monkeypatch, mode):
    save_market(Market("demo"))
    assert load_settings("demo").promotion == "auto"
    monkeypatch.setenv("NIGHTJAR_PROMOTION", mode)
    assert load_settings("demo").promotion == mode


def test_an_unknown_promotion_is_refused_and_not_taken_for_auto(home, monkeypatch):
    save_market(Market("demo"))
    monkeypatch.setenv("NIGHTJAR_PROMOTION", "Manual")
    with pytest.raises(SettingsError, match="NIGHTJAR_PROMOTION is 'Manual': set it to one of auto, manual, dry_run"):
        load_settings("demo")


def test_every_variable_that_is_read_is_documented():
    read = re.compile(r"""(?:environ\.get\(|environ\[|_path_of\()\s*["'](NIGHTJAR_[A-Z_]+)["']""")
    rooms = ("jobs", "dags", "models", "quality", "plugins")
    sources = [path.read_text() for room in rooms for path in (ROOT / room).rglob("*.py")]
    known = {name for source in sources for name in read.findall(source)}
    table = (ROOT / "docs/operations.md").read_text().split("## Variables")[1]
    assert known == set(re.findall(r"^\| `(NIGHTJAR_[A-Z_]+)`", table, re.MULTILINE))
