"""Orders to take an item down, and what a rollback goes back to; no engine is needed for either."""

from __future__ import annotations

import datetime as dt

import pytest

from jobs import releases, steps
from jobs.errors import ContractError, PublishError, SettingsError
from jobs.feedback import arrived, fingerprint
from jobs.lake import Lake
from jobs.landing import BY_NAME, day_folder, incomplete, write_manifest
from jobs.patches import serves
from jobs.settings import save_market
from jobs.takedown import order, taken_down
from models import registry
from tests.unit.served_world import DAY, RELEASE, plant_release, served

NEXT = DAY + dt.timedelta(days=1)


@pytest.fixture
def settings(tmp_path):
    return served(tmp_path)


def test_the_newest_order_of_an_item_holds(settings):
    lake = Lake(settings)
    assert taken_down(lake) == ()
    made = order(settings, "i1", "recalled", "r1")
    assert (made["ds"], made["item_id"], made["active"]) == (DAY, 11, True)
    order(settings, "i2", "recalled", "r2")
    assert taken_down(lake) == (11, 12)
    order(settings, "i1", "a mistake", "r3", active=False)
    assert taken_down(lake) == (12,)


def test_an_order_after_a_rollback_holds_over_those_of_the_later_day(settings):
    lake = Lake(settings)
    plant_release(lake, "later", sequence=2, ds=NEXT)
    order(settings, "i1", "recalled", "r1")
    order(settings, "i1", "a mistake", "r2", active=False)
    order(settings, "i2", "recalled", "r3")
    plant_release(lake, RELEASE, "rollback", sequence=3)
    # of the day that is served again, the day before those
    assert order(settings, "i1", "recalled after all", "r4")["ds"] == DAY
    order(settings, "i2", "a mistake", "r5", active=False)
    assert taken_down(lake) == (11,)


def test_an_unknown_item_is_refused_and_nothing_is_recorded(settings):
    with pytest.raises(SettingsError, match="There is no item 'i99' in market shop"):
        order(settings, "i99", "recalled", "r1")
    assert Lake(settings).open("ops.takedown") is None


def test_a_release_says_in_which_tables_it_shows_an_item(settings):
    lake = Lake(settings)
    tables = [n.contract for n in steps.catalog().group("serving") if getattr(n.contract, "append", False)]
    now = releases.current(lake)
    assert serves(lake, tables, now, (12,)) == ["serving.recommendations"]
    assert serves(lake, tables, now, (10,)) == ["serving.similar_items"]  # the page of the item itself
    assert set(serves(lake, tables, now, (11, 16))) == {
        "serving.recommendations",
        "serving.similar_items",
        "serving.fallback",
    }
    assert serves(lake, tables, now, (17,)) == ["serving.fallback"]  # it is spare
    assert serves(lake, tables, now, (13,)) == serves(lake, tables, now, ()) == []


def test_the_release_before_is_the_night_s_and_not_a_patch_of_this_one(settings):
    lake = Lake(settings)
    with pytest.raises(PublishError, match="no earlier release"):
        releases.rollback_target(releases.history(lake), None)
    for sequence, (name, kind, base) in enumerate(
        [
            ("patched", "patch", RELEASE),
            ("tonight", "nightly", None),
            ("tonight-1", "patch", "tonight"),
            ("tonight-2", "patch", "tonight"),
        ],
        start=2,
    ):
        plant_release(lake, name, kind, sequence, base_release_id=base)
    rows = releases.history(lake)
    assert releases.current(lake)["release_id"] == "tonight-2"
    assert releases.rollback_target(rows, None)["release_id"] == "patched"
    assert releases.rollback_target(rows, RELEASE)["sequence"] == 1
    with pytest.raises(PublishError, match="no release 'gone'"):
        releases.rollback_target(rows, "gone")


def log(*rows):
    """Rows of ops.release, from ``kind release`` or ``kind release base``; the day is the release's digit."""
    made = []
    for sequence, (kind, release, *base) in enumerate((row.split() for row in rows), 1):
        day = DAY + dt.timedelta(days=int(release[1]))
        row = {"kind": kind, "release_id": release, "ds": day, "sequence": sequence}
        made.append(row | {"base_release_id": base[0] if base else None})
    return made


@pytest.mark.parametrize(
    ("rows", "target"),
    [
        (["nightly r1", "nightly r2", "nightly r3"], "r2"),
        # each further one goes a release further back, and never forward to what was gone back from
        (["nightly r1", "nightly r2", "nightly r3", "rollback r2"], "r1"),
        (["nightly r1", "nightly r2", "nightly r3", "rollback r2", "nightly r4"], "r2"),
        # r2 was passed over: it is newer than what was served before r4
        (["nightly r1", "nightly r2", "nightly r3", "rollback r1", "nightly r4"], "r1"),
        # of a rerun of the same day as well
        (["nightly r1", "nightly r2", "nightly r2b", "rollback r2"], "r1"),
        # the bad one published once more
        (["nightly r1", "nightly r2", "rollback r1", "nightly r2"], "r1"),
        # back to a release with patches: the newest of them, and those of the current one are passed over
        (["nightly r1", "patch r1-a r1", "nightly r2", "patch r2-a r2"], "r1-a"),
        (["nightly r0", "nightly r1", "nightly r2", "rollback r1-a r1", "patch r1-b r1"], "r0"),
        # to a backfill, which was never current: r2 and r3 are of later days
        (["nightly r1", "nightly r2", "nightly r3", "backfill r1b", "rollback r1b"], "r1"),
    ],
)
def test_the_default_target_was_served_before_and_is_nothing_that_was_gone_back_from(rows, target):
    assert releases.rollback_target(log(*rows), None)["release_id"] == target


def test_of_the_oldest_there_is_no_earlier_one():
    with pytest.raises(PublishError, match="no earlier release"):
        releases.rollback_target(log("nightly r1", "nightly r2", "rollback r1"), None)


@pytest.fixture
def three_nights(settings, monkeypatch):
    """Releases of versions 2, 3 and 4, the newest of which is served and its model the champion."""
    monkeypatch.setenv("NIGHTJAR_HOME", str(settings.home))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{settings.home / 'mlflow.db'}")
    save_market(settings.market, settings.home)
    for sequence, version in ((2, "3"), (3, "4")):
        plant_release(Lake(settings), f"night-{version}", sequence=sequence, model_version=version)
    api, name = registry.client(settings), registry.model_name(settings)
    api.create_registered_model(name)
    for _ in range(4):
        api.create_model_version(name, source=str(settings.home))
    api.set_registered_model_alias(name, "champion", "4")
    return settings


def served_now(settings):
    """What is served, by which model that was, and the champion."""
    now, champion = releases.current(Lake(settings)), registry.champion_of(registry.client(settings), settings)
    return now["release_id"], now["model_version"], str(champion.version)


def test_each_rollback_takes_pointer_and_champion_one_night_further_back(three_nights):
    assert served_now(three_nights) == ("night-4", "4", "4")
    steps.rollback("shop", "back-1", None, "wrong prices")
    assert served_now(three_nights) == ("night-3", "3", "3")
    steps.rollback("shop", "back-2", None, "wrong prices")
    assert served_now(three_nights) == (RELEASE, "2", "2")
    with pytest.raises(PublishError, match="no earlier release"):
        steps.rollback("shop", "back-3", None, "wrong prices")
    steps.rollback("shop", "back-4", "night-4", "it was right")
    assert served_now(three_nights) == ("night-4", "4", "4")


def test_the_same_command_finishes_what_failed_half_way(three_nights, monkeypatch):
    with monkeypatch.context() as broken:
        # MLflow fails, before or after it has changed the alias
        broken.setattr(registry, "restore_champion", fails)
        with pytest.raises(ContractError, match="half way"):
            steps.rollback("shop", "back-1", None, "wrong prices")
    assert served_now(three_nights) == ("night-4", "4", "4")
    with monkeypatch.context() as broken:
        broken.setattr(releases, "rollback", fails)
        with pytest.raises(ContractError, match="half way"):
            steps.rollback("shop", "back-2", None, "wrong prices")
    assert served_now(three_nights) == ("night-4", "4", "3")
    steps.rollback("shop", "back-3", None, "wrong prices")
    assert served_now(three_nights) == ("night-3", "3", "3")


def fails(*_):
    raise ContractError("half way")


def test_a_model_that_the_registry_lost_is_named_and_nothing_moves(three_nights):
    plant_release(Lake(three_nights), "lost", sequence=4, model_version="9")
    plant_release(Lake(three_nights), "bad", sequence=5, model_version="4")
    with pytest.raises(ContractError, match="nightjar_shop_ranker version 9 cannot be made champion again"):
        steps.rollback("shop", "back-1", None, "wrong prices")
    assert served_now(three_nights) == ("bad", "4", "4")


def deliver(settings, day, part):
    folder = day_folder(settings.landing, "shop", "events", day)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{part or 'day'}.jsonl").write_text("")
    write_manifest(folder, "events", day, {f"{part or 'day'}.jsonl": 0}, part)


def test_a_delivery_during_the_day_is_feedback_and_does_not_complete_the_day(settings):
    events = [BY_NAME["events"]]
    for day in (DAY, NEXT):
        deliver(settings, day, "intraday-1015")
        assert incomplete(settings.landing, "shop", day, events) == ["events"]
    before = fingerprint(arrived(settings, DAY), ())
    assert [f.path.parent.name for f in arrived(settings, DAY)["events"]] == [f"ds={NEXT}"]
    deliver(settings, NEXT, "intraday-1030")
    assert fingerprint(arrived(settings, DAY), ()) != before
    deliver(settings, NEXT, "")
    assert incomplete(settings.landing, "shop", NEXT, events) == []
    assert fingerprint(arrived(settings, DAY), ()) != fingerprint(arrived(settings, DAY), (1,))
