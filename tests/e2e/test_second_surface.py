"""A night of a market with a surface of its own beside the feed, and with a newcomer who only answered a survey."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from collections import Counter

import pytest
import yaml

from jobs import releases, steps
from jobs.export import export
from jobs.landing import day_folder, write_manifest
from jobs.settings import load_settings, market_file
from tests.e2e.conftest import NEXT, NIGHT, BuiltWorld

pytestmark = pytest.mark.slow
# the lists of NEXT, a Friday, are shown on a Saturday: each shelf is a weekend's
SHELF = {
    "length": 6,
    "ad_slots": [3],
    "quotas": {"long_tail": 5},
    "rules": {
        "eligibility": {},
        "negative_feedback": {},
        "repeats": {},
        "quality_floor": {"floor": 0.2},
        "explore": {"places": [6]},
        "category_share": {},
    },
    "contexts": {"weekend": {"when": {"is_weekend": True}, "length": 9, "quotas": {"long_tail": 20}}},
}
RANKS = [1, 2, 4, 5, 6, 7, 8, 9]
AT, NEWCOMER = f"{NEXT}T09:00:00Z", "newcomer"


def land(settings, feed: str, row: dict) -> None:
    """A further delivery of NEXT with one row."""
    folder = day_folder(settings.landing, "demo", feed, dt.date.fromisoformat(NEXT))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "further.jsonl").write_text(json.dumps(row) + "\n")
    write_manifest(folder, feed, dt.date.fromisoformat(NEXT), {"further.jsonl": 1}, part="further")


@pytest.fixture(scope="module")
def night(world, tmp_path_factory):
    """A copy of the built world, whose next night has the shelf; somebody looked at it the day before."""
    home = tmp_path_factory.mktemp("surfaces") / "home"
    shutil.copytree(world.home, home)
    with pytest.MonkeyPatch.context() as patch:
        BuiltWorld(home, None).enter(patch)
        file = market_file("demo", home)
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"surfaces": {"shelf": SHELF}}))
        settings = load_settings("demo")
        users = world.lake.rows("silver.users", ["original_id", "region", "device", "language"], ds=NIGHT).to_pylist()
        items = world.lake.rows("silver.items", ["original_id", "category"], ds=NIGHT).to_pylist()
        someone, something = users[0], items[0]
        usual = {name: someone[name] for name in ("region", "device", "language")}
        land(settings, "users", {"user_id": NEWCOMER, "registered_at": AT, "gender": "f", "birth_year": 1990, **usual})
        land(settings, "consent", {"user_id": NEWCOMER, "purpose": "personalisation", "granted": True, "at": AT})
        survey = {"survey_id": "first", "user_id": NEWCOMER, "at": AT, "kind": "interests"}
        land(settings, "surveys", survey | {"answer": something["category"]})
        seen = {"user_id": someone["original_id"], "item_id": something["original_id"], "at": AT, "surface": "shelf"}
        land(settings, "impressions", seen | {"impression_id": "on the shelf", "position": 1, "slot_type": "organic"})
        steps.night(NEXT, "demo", "night-2")
        yield BuiltWorld(home, settings)


def served(night, table: str):
    release = releases.current(night.lake)
    assert str(release["ds"]) == NEXT
    return night.lake.rows(table, ds=NEXT, release_id=release["release_id"]).to_pandas(integer_object_nulls=True)


def test_each_user_has_a_list_on_both_surfaces_that_breaks_no_rule(night):
    lists = served(night, "serving.recommendations")
    users = {surface: set(of["user_id"]) for surface, of in lists.groupby("surface")}
    assert set(users) == {"feed", "shelf"} and users["feed"] == users["shelf"]
    ranks = lists.sort_values("rank").groupby(["surface", "user_id"])["rank"].agg(list)
    assert all(found == list(range(1, 21)) for found in ranks["feed"])
    assert all(found == RANKS for found in ranks["shelf"])
    assert set(lists.loc[lists["surface"] == "shelf", "context"]) == {"weekend"}
    assert (lists["violations"].map(len) == 0).all()
    # 40 % of eight rows
    category = night.lake.rows("silver.items", ds=NEXT).to_pandas().set_index("item_id")["category"]
    shelf = lists[lists["surface"] == "shelf"]
    assert shelf.groupby(["user_id", shelf["item_id"].map(category)]).size().max() <= 3


def test_the_log_tells_what_was_decided_on_each_surface(night):
    log, lists = served(night, "serving.decision_log"), served(night, "serving.recommendations")
    decided = {(r.surface, r.user_id, p["rank"]): p["item_id"] for r in log.itertuples() for p in r.placed}
    assert decided == {(r.surface, r.user_id, r.rank): r.item_id for r in lists.itertuples()}
    shelf = log[log["surface"] == "shelf"]
    assert all([p["rank"] for p in row.placed if p["arm"]] == [6] for row in shelf.itertuples())
    assert {tuple(row.ad_slots) for row in shelf.itertuples()} == {(3,)}


def test_the_quota_of_the_user_s_context_is_the_larger_one_of_both_surfaces(night):
    fused = night.lake.rows("candidates.fused", ds=NEXT).to_pandas()
    place = fused["sources"].map(lambda found: next((s["rank"] for s in found if s["channel"] == "long_tail"), 0))
    # the feed asks for 10 and the weekend's shelf for 20
    assert ((place > 10) & (place <= 20)).any() and fused.loc[(place > 0) & (place <= 20), "in_quota"].all()
    assert not fused.loc[place > 20, "in_quota"].all()


def test_everyone_else_has_a_list_on_both_surfaces_and_all_of_it_is_exported(night, tmp_path):
    shared = served(night, "serving.fallback")
    assert set(shared.loc[shared["segment"] == "everyone", "surface"]) == {"feed", "shelf"}
    manifest = export(night.settings, tmp_path / "out", "jsonl")
    lines = [json.loads(line) for line in (tmp_path / "out" / "recommendations.jsonl").read_text().splitlines()]
    found = {(line["user_id"], line["surface"]): line["rows"] for line in lines}
    assert len(found) == len(lines) == 2 * manifest["users"]
    ranks = {True: set(), False: set()}
    for (_, surface), rows in found.items():
        if surface == "shelf":
            ranks[rows[0]["source"] == "personal"].add(tuple(r["rank"] for r in rows))
    # of a reader of a shared list no context is known
    assert ranks == {True: {tuple(RANKS)}, False: {(1, 2, 4, 5, 6)}}


def test_what_comes_back_from_the_new_surface_is_taken_in(night):
    rows = night.lake.rows(
        "silver.impressions", ["impression_id", "surface", "user_id", "item_id"], ds=NEXT
    ).to_pylist()
    (shown,) = [row for row in rows if row["surface"] == "shelf"]
    assert shown["impression_id"] == "on the shelf"
    pairs = night.lake.rows("silver.user_item_daily", ["user_id", "item_id", "shown_on"], ds=NEXT).to_pylist()
    (pair,) = [row for row in pairs if "shelf" in row["shown_on"]]
    assert (pair["user_id"], pair["item_id"]) == (shown["user_id"], shown["item_id"])


def test_who_only_answered_a_survey_has_personal_lists(night):
    users = night.lake.rows("silver.users", ["user_id", "original_id"], ds=NEXT).to_pylist()
    (newcomer,) = [row["user_id"] for row in users if row["original_id"] == NEWCOMER]
    lists = served(night, "serving.recommendations")
    assert Counter(lists.loc[lists["user_id"] == newcomer, "surface"]) == {"feed": 20, "shelf": 8}
    recall = night.lake.rows("candidates.recall", ["user_id", "channel"], ds=NEXT).to_pylist()
    assert {"interest_survey", "popular"} <= {row["channel"] for row in recall if row["user_id"] == newcomer}
