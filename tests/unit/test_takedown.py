"""Orders to take an item down, and what a rollback goes back to; no engine is needed for either."""

from __future__ import annotations

import datetime as dt

import pytest

from jobs import releases
from jobs.errors import PublishError, SettingsError
from jobs.feedback import arrived, fingerprint
from jobs.lake import Lake
from jobs.landing import BY_NAME, day_folder, incomplete, write_manifest
from jobs.patches import serves
from jobs.steps import catalog
from jobs.takedown import order, taken_down
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


def test_an_unknown_item_is_refused_and_nothing_is_recorded(settings):
    with pytest.raises(SettingsError, match="There is no item 'i99' in market shop"):
        order(settings, "i99", "recalled", "r1")
    assert Lake(settings).open("ops.takedown") is None


def test_a_release_says_in_which_tables_it_shows_an_item(settings):
    lake = Lake(settings)
    tables = [n.contract for n in catalog().group("serving") if getattr(n.contract, "append", False)]
    now = releases.current(lake)
    assert serves(lake, tables, now, (12,)) == ["serving.recommendations"]
    assert serves(lake, tables, now, (10,)) == ["serving.similar_items"]  # the page of the item itself
    assert set(serves(lake, tables, now, (11, 16))) == {
        "serving.recommendations",
        "serving.similar_items",
        "serving.fallback",
    }
    assert serves(lake, tables, now, (17,)) == serves(lake, tables, now, ()) == []


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
