"""Each step at which an item may be left out is told, and a place in the list with its reasons."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace

import pytest

from jobs.cli import main
from jobs.errors import PublishError, SettingsError
from jobs.explain import as_sentences, explain
from jobs.lake import Lake
from jobs.settings import Market, Settings, save_market
from tests.unit.served_world import ANNA, BERT, CARL, DAY, ITEMS, RELEASE, plant, plant_release, served

I0, I1, I2, I3, I4, I5, I6, I7 = ITEMS


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Anna's list has i2, i1; of the others each ends at another step."""
    made = served(tmp_path_factory.mktemp("explained"))
    lake = Lake(made)
    consents = {ANNA: True, BERT: False, CARL: True}
    plant(
        lake,
        "features.user_profile",
        [{"user_id": u, "consent_personalisation": c, "region": "north"} for u, c in consents.items()],
    )
    plant(lake, "features.user_activity", [{"user_id": u} for u in (ANNA, BERT)])
    plant(lake, "features.item_stats", [{"item_id": i, "is_eligible": i not in (I0, I7)} for i in ITEMS])
    plant(lake, "ops.takedown", [{"item_id": I0, "original_id": "i0", "active": True, "at_ms": 1}])
    recalled = [("item_cf", I2, 1, I5), ("popular", I2, 4, None), ("popular", I5, 1, None), ("popular", I6, 2, None)]
    plant(
        lake,
        "candidates.recall",
        [
            {"channel": c, "user_id": ANNA, "item_id": i, "rank": r, "score": 1 / r, "seed_item_id": seed}
            for c, i, r, seed in recalled
        ],
    )
    fused = [{"user_id": ANNA, "item_id": i, "rank": n, "score": 0.1 / n} for n, i in enumerate((I2, I5), 1)]
    plant(lake, "candidates.fused", fused)
    plant(lake, "candidates.ranked", [{**row, "pctr": 0.5, "model_version": "m/2"} for row in fused])
    plant(lake, "silver.user_item_daily", [{"user_id": ANNA, "item_id": I3, "rejections": 1, "purchases": 0}])
    event = {"user_id": ANNA, "item_id": I4, "action": "block_author", "arrival_ds": DAY, "at_ms": 1}
    plant(lake, "silver.events", [{"event_id": "e1", **event}], ds=DAY - dt.timedelta(days=7))  # a week is over
    return made


def why(settings, item, user="anna"):
    return explain(settings, user, item, "feed")["verdict"]


def test_a_place_is_told_with_its_reason(settings):
    found = explain(settings, "anna", "i2", "feed")
    assert found["verdict"] == "It is shown at rank 1 (organic): Liked by 5 — viel."
    assert {c["channel"]: (c["rank"], c["seed"]) for c in found["channels"]} == {
        "item_cf": (1, "i5"),
        "popular": (4, None),
    }
    assert (found["fused"]["rank"], found["ranked"]["pctr"], found["ranked"]["model_version"]) == (1, 0.5, "m/2")


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("i0", "it was taken down"),
        ("i7", "it is not on offer (status None, stock None)"),
        ("i3", "2024-03-14: asked not to see it (1 times)"),
        ("i4", "no channel has it among the user's best"),
        ("i6", "channels found it, but it is not for the user's region or age, or beyond the budget of fusion"),
        ("i5", "it has rank 2 among the candidates, and that was not enough under the rules of the list"),
    ],
)
def test_the_first_step_at_which_it_ends_is_named(settings, item, said):
    assert why(settings, item) == f"It is not in a list of the user's own: {said}."


def test_who_may_not_have_a_list_is_told_so(settings):
    assert "does not consent" in why(settings, "i2", "bert")
    assert "was not active in 28 days" in why(settings, "i2", "carl")
    assert explain(settings, "carl", None, "feed")["list"] == []


def test_the_whole_list_is_in_order_with_titles(settings):
    found = explain(settings, "anna", None, "feed")
    assert [(r["rank"], r["item"], r["title"]) for r in found["list"]] == [(1, "i2", "Title i2"), (2, "i1", "Title i1")]
    assert found["release_id"] == RELEASE and "verdict" not in found
    assert any("i2  Title i2" in line for line in as_sentences(found))


def test_a_block_of_the_creator_counts_for_a_week(tmp_path):
    settings = served(tmp_path)
    lake = Lake(settings)
    event = {"user_id": ANNA, "item_id": I4, "action": "block_author", "arrival_ds": DAY, "at_ms": 1}
    plant(lake, "silver.events", [{"event_id": "e1", **event}], ds=DAY - dt.timedelta(days=6))
    # every planted item is the same creator's
    assert explain(settings, "anna", "i5", "feed")["blocks"] == ["2024-03-08: blocked its creator"]


def test_what_repeats_is_no_block_once_it_was_bought(tmp_path):
    settings = served(tmp_path)
    # i3 is of category a, i4 of b
    pairs = [{"user_id": ANNA, "item_id": i, "rejections": 0, "purchases": 2} for i in (I3, I4)]
    plant(Lake(settings), "silver.user_item_daily", pairs)

    def blocks(item, *repeat):
        market = replace(settings.market, repeat_categories=repeat)
        return explain(replace(settings, market=market), "anna", item, "feed")["blocks"]

    bought = ["2024-03-14: bought it (2 times)"]
    assert blocks("i3") == blocks("i4") == bought
    assert (blocks("i3", "a"), blocks("i4", "a")) == ([], bought)
    assert blocks("i3", "*") == blocks("i4", "*") == []


def test_a_bad_case_stops_an_item_for_a_week_for_one_or_for_everyone(tmp_path):
    settings = served(tmp_path)

    def case(number, item, age, user=None, stops=True):
        row = {"case_id": number, "type": "title_party", "item_id": item, "user_id": user, "stops": stops}
        return {**row, "ds": DAY - dt.timedelta(days=age)}

    cases = [case(1, I3, 6), case(2, I4, 7), case(3, I5, 0, ANNA), case(4, I6, 0, BERT), case(5, I7, 0, stops=False)]
    plant(Lake(settings), "features.badcases", cases)
    assert [explain(settings, "anna", f"i{n}", "feed")["blocks"] for n in range(3, 8)] == [
        ["2024-03-08: a bad case (title_party) stops it"],
        [],  # a week is over
        ["2024-03-14: a bad case (title_party) stops it"],
        [],  # another person's
        [],  # it is told and not acted on
    ]


def test_feedback_since_the_night_is_told(tmp_path):
    settings = served(tmp_path)
    lake = Lake(settings)
    both = [{"user_id": u, "consent_personalisation": True} for u in (ANNA, BERT)]
    plant(lake, "features.user_profile", both)
    plant(lake, "features.user_activity", [{"user_id": u} for u in (ANNA, BERT)])
    plant(lake, "features.item_stats", [{"item_id": i, "is_eligible": True} for i in ITEMS])
    kept = [{"user_id": ANNA, "item_id": I2}, {"user_id": BERT, "item_id": None}]
    plant(lake, "ops.withheld", kept, base_release_id=RELEASE)
    plant(lake, "ops.withheld", [{"user_id": ANNA, "item_id": None}], base_release_id="of another night")
    plant_release(lake, "patched", "patch", 2, base_release_id=RELEASE)
    refused = "refused it, blocked its creator or bought it since the lists were made"
    assert why(settings, "i2") == f"It is not in a list of the user's own: {refused}."
    assert why(settings, "i2", "bert").endswith("the user does not consent to personal lists.")
    assert explain(settings, "anna", None, "feed")["user"]["consents"]


def test_unknown_names_and_an_empty_lake_say_what_to_do(settings, tmp_path):
    with pytest.raises(SettingsError, match="knows no 'i99': give the source's id"):
        explain(settings, "anna", "i99", "feed")
    with pytest.raises(SettingsError, match="silver.users of 2024-03-14 knows no 'dora'"):
        explain(settings, "dora", None, "feed")
    with pytest.raises(PublishError, match="run a night first"):
        explain(Settings(tmp_path, tmp_path / "lake", tmp_path, Market("shop")), "anna", None, "feed")


def test_the_command_speaks_to_people_and_to_machines(settings, monkeypatch, capsys):
    monkeypatch.setenv("NIGHTJAR_HOME", str(settings.home))
    monkeypatch.setenv("NIGHTJAR_LAKE", str(settings.lake))
    save_market(settings.market, settings.home)
    command = ["explain", "--user", "anna", "--item", "i5", "--market", "shop"]
    assert main(command) == 0
    assert "channel popular: rank 1, score 1.0" in capsys.readouterr().out
    assert main([*command, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["ranked"]["rank"] == 2
