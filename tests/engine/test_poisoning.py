"""Point in time: impossible values in every source after a cut change no training row as of the cut.

Two ways of looking back. By *event time*, a row belongs to the day on which it happened: what happens after the
cut must not reach a row before it. By *arrival time*, a day is what had been delivered by then: a row that is
delivered after the cut must not be seen either, though it happened before (``nightjar run --as-arrived``).
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator

import pytest

from jobs import steps
from jobs.catalog import GROUPS, Catalog
from jobs.contract import DayRange
from jobs.errors import SettingsError
from jobs.lake import Lake
from jobs.landing import BY_NAME, FEEDS, day_folder, write_manifest
from jobs.releases import content_of
from jobs.settings import load_settings, save_market
from jobs.simulator import WorldConfig, demo_market, simulate
from models.ranking_features import FEATURES

pytestmark = pytest.mark.slow
FIRST, CUT, LAST = (dt.date(2024, 3, d) for d in (1, 5, 7))
SEEN, AFTER = DayRange(FIRST, CUT), DayRange(dt.date(2024, 3, 6), LAST)
TARGET = "training.examples"
HUGE = 10**11
"""No feature of the small world comes near to it."""


def poison(feed: str, number: int, at: str, user: str, item: str, creator: str) -> dict:
    """A row that is legal, and that nothing in the world could have brought about."""
    name = f"poison-{at}-{number}"
    values = {
        "string": "poison",
        "timestamp": at,
        "int": 1,
        "bigint": 10**12,
        "double": 5.0,
        "boolean": False,
    }
    row = {}
    for field in BY_NAME[feed].fields:
        value = field.values[0] if field.values else values[field.type]
        if not isinstance(value, str | bool) and field.high is not None:
            value = field.high if field.type == "double" else int(field.high)
        row[field.name] = value
    ids = {"user_id": user, "item_id": item, "creator_id": creator}
    row |= {name: value for name, value in ids.items() if name in row}
    # a key that takes values of a list alone keeps one of those: another would be refused
    free = [field.name for field in BY_NAME[feed].fields if not field.values]
    row |= {key: name for key in BY_NAME[feed].key if key not in ids and key in free}
    if feed == "events":
        row |= {"action": ("click", "view", "purchase", "not_interested")[number % 4], "impression_id": None}
    return row


def land_poison(settings, part: str, arrivals: DayRange, happened) -> None:
    """Deliver poison in every feed on each arrival day; ``happened`` gives the day of the facts in it."""
    users, items, creators = (ids_of(settings, feed) for feed in ("users", "items", "creators"))
    for arrival in arrivals:
        for feed in FEEDS:
            at = f"{happened(arrival) if feed.mode == 'facts' else arrival}T04:00:00Z"
            rows = [
                poison(feed.name, n, at, users[n % len(users)], items[n % len(items)], creators[n % len(creators)])
                for n in range(400)
            ]
            keyed = {tuple(row[k] for k in feed.key): row for row in rows}
            folder = day_folder(settings.landing, "demo", feed.name, arrival)
            (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in keyed.values()))
            write_manifest(folder, feed.name, arrival, {f"{part}.jsonl": len(keyed)}, part=part)


def ids_of(settings, feed: str) -> list[str]:
    return sorted(set(Lake(settings).rows(f"bronze.{feed}", [f"{feed[:-1]}_id"]).column(0).to_pylist()))


@pytest.fixture(scope="module")
def build(tmp_path_factory, spark_server) -> Iterator:
    """Builds the training rows and all that they are made from, through the runner: ``build(catalog, days)``.

    Gives back the hash of the rows of the days up to the cut; ``build.settings`` says where they are.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTJAR_HOME", str(tmp_path_factory.mktemp("poisoned")))
        patch.setenv("NIGHTJAR_SPARK", spark_server)
        # nothing arrives late by itself: what the cut knows is then also all that happened before it
        config = WorldConfig(users=60, items=240, creators=24, days=7, seed=3, late_rate=0, too_late_rate=0)
        save_market(demo_market(config))
        settings = load_settings("demo")
        whole = steps.catalog()
        catalog = Catalog({name: whole.node(name) for name in whole.upstream(TARGET)})

        def make(days: DayRange, catalog: Catalog = catalog, bronze: DayRange | None = None) -> str:
            with steps.opened("demo", f"build-{days}") as runner:
                runner.catalog = catalog
                for group in GROUPS:
                    nodes = [n for n in catalog.nodes.values() if n.contract.group == group.name]
                    of = bronze if group.name == "bronze" else days
                    if nodes and of:
                        runner.build_group([catalog.node(n) for n in catalog.order if catalog.node(n) in nodes], of)
                return content_of(runner, TARGET, SEEN)

        make.settings, make.config, make.catalog = settings, config, catalog
        yield make


@pytest.fixture(scope="module")
def known(build) -> str:
    """The rows as of the cut, when nothing later had landed."""
    simulate(build.config, build.settings.landing, build.settings.home / "truth", FIRST, CUT)
    return build(SEEN, bronze=SEEN)


@pytest.fixture(scope="module")
def poisoned_after(build, known) -> str:
    """The same rows, rebuilt after two more days of which every source was poisoned."""
    simulate(build.config, build.settings.landing, build.settings.home / "truth", AFTER.first, LAST)
    land_poison(build.settings, "later", AFTER, happened=lambda arrival: arrival)
    return build(DayRange(FIRST, LAST), bronze=AFTER)


def examples(build) -> list[dict]:
    return Lake(build.settings).rows(TARGET).to_pylist()


def test_what_happens_after_the_cut_changes_no_row(known, poisoned_after):
    assert poisoned_after == known


def test_poison_of_the_day_of_the_showing_or_later_reaches_no_feature(build, poisoned_after):
    rows = [row for row in examples(build) if row["ds"] > CUT]
    # rows of the last day are showings of the first poisoned day, with features as of the cut
    assert {row["shown_ds"] for row in rows} == {CUT, AFTER.first}
    assert max(abs(row[name] or 0) for row in rows for name in FEATURES if name != "position") < HUGE
    # the poison was real: no rule refused it, and features of the poisoned days are full of it
    assert not [r for r in Lake(build.settings).rows("ops.quarantine").to_pylist() if "poison" in r["row"]]
    stats = Lake(build.settings).rows("features.item_stats", ds=AFTER.first).to_pylist()
    assert max(row["price_minor"] for row in stats) > HUGE
    activity = Lake(build.settings).rows("features.user_activity", ds=LAST).to_pylist()
    assert max(row["amount_minor_28d"] for row in activity) > HUGE


def test_what_arrives_after_the_cut_changes_no_row_by_arrival_time(build, known, poisoned_after, tmp_path, monkeypatch):
    land_poison(build.settings, "late", AFTER, happened=lambda arrival: arrival - dt.timedelta(days=2))
    # by event time the late rows belong to the days before the cut, and are seen there
    assert build(SEEN, bronze=AFTER) != known
    monkeypatch.setenv("NIGHTJAR_LAKE", str(tmp_path / "replay"))
    monkeypatch.setenv("NIGHTJAR_READ_THROUGH", str(build.settings.lake))
    with steps.opened("demo", "replay") as runner:
        rows = steps.run_as_arrived(runner, TARGET, SEEN)
        assert content_of(runner, TARGET, SEEN) == known
    assert {name.split(".")[0] for name in rows} == {"silver", "features", "training"}


def test_a_replay_of_arrivals_is_refused_in_a_lake_that_serves(build, known):
    with steps.opened("demo", "replay") as runner, pytest.raises(SettingsError, match="lake of its own"):
        steps.run_as_arrived(runner, TARGET, SEEN)
