"""The decision log: users and tables in, lists with everything that was decided out."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

from jobs.contract import DayRange
from jobs.errors import ContractError
from jobs.runner import conform
from jobs.settings import Market
from models.decisions import CONTRACT, Params, build, learnt
from models.pool import SCALE, Shelf
from models.reranking_batches import plan_for
from models.shelf import save
from models.surfaces import surfaces

DS = "2024-03-10"
ITEMS = range(1, 31)
OLD, BLOCKED_BY, FAR, ADULT, NEAR = 5, 7, 11, 12, 13
USER, REFUSING, IDLE, COMMUTER, BABY = 1, 2, 3, 4, 5
OPTIONS = {
    "length": 6,
    "quotas": {},
    "ad_slots": [3],
    "rules": {
        "eligibility": {},
        "negative_feedback": {},
        "repeats": {},
        "repeat_guard": {"times": 3, "days": 3},
        "curated": {"places": [2]},
        "explore": {"places": [6], "arms": ["long_tail"]},
        "category_share": {"share": 0.6, "ceiling": 0.6},
    },
    "contexts": {"commute": {"when": {"commute_share": {"min": 0.5}}, "length": 3, "rules": {"explore": None}}},
}
MARKET = Market("demo", surfaces={"feed": None, "home": OPTIONS}, repeat_categories=("food",))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """Thirty items; even ones are shoes, odd ones food; from 20 on they are of the long tail."""
    n = len(ITEMS)
    rows = {
        "item_id": pa.array(ITEMS, pa.int64()),
        "category": ["food" if i % 2 else "shoes" for i in ITEMS],
        "creator": pa.array([BLOCKED_BY if i in (7, 8) else None for i in ITEMS], pa.int64()),
        "topic": pa.array([None] * n, pa.string()),
        "regions": ["north" if i == FAR else "south|west" if i == NEAR else None for i in ITEMS],
        "age_limit": pa.array([18 if i == ADULT else 0 for i in ITEMS], pa.int32()),
        "quality": [0.5] * n,
        "age_days": [100.0] * n,
        "effort": [0.5] * n,
        "on_offer": [i != 9 for i in ITEMS],
        "long_tail": [i >= 20 for i in ITEMS],
        "novice": [False] * n,
        "vector": [[1.0, 0.0] if i % 4 < 2 else [0.6, 0.8] for i in ITEMS],
    }
    folder = tmp_path_factory.mktemp("shelf")
    assert save(pa.table(rows), folder) == {"items": n, "dimension": 2, "with_vector": n}
    return folder


def decide(
    tables,
    shelf,
    market=MARKET,
    earlier=(),
    seen=(),
    curated=(),
    people=(USER, REFUSING, IDLE, COMMUTER, BABY),
    injected=(),
    own=(),
):
    ranked = [
        {"user_id": u, "item_id": i, "rank": i, "score": 1 / i}
        | {"channels": ["curated"] if i in injected else ["curated", "own_history" if i in own else "popular"]}
        for u in people
        if u != IDLE
        for i in (*ITEMS, *([999] if u == USER else []))
    ]
    ranked = [{**r, "rank": 31 if r["item_id"] == 999 else r["rank"]} for r in ranked]
    profile = [
        {"user_id": u, "consent_personalisation": u != REFUSING, "region": r, "age_years": a}
        for u, r, a in (
            (USER, "south", 40),
            (REFUSING, None, None),
            (IDLE, None, None),
            (COMMUTER, None, 17),
            (BABY, "north", None),
        )
    ]
    daily = [
        {"user_id": USER, "item_id": 2, "purchases": 1, "clicks": 1},  # shoes do not repeat
        {"user_id": USER, "item_id": 1, "purchases": 1, "clicks": 1},
        {"user_id": USER, "item_id": 3, "impressions": 3},
        {"user_id": IDLE, "item_id": 3, "impressions": 3},
    ]
    zero = {"impressions": 0, "clicks": 0, "purchases": 0, "targets": 0}
    said = [
        {"user_id": USER, "item_id": 8, "action": "block_author"},
        {"user_id": USER, "item_id": 4, "action": "not_interested"},
        {"user_id": USER, "item_id": 6, "action": "click"},
        {"user_id": COMMUTER, "item_id": 5, "action": "favourite"},
    ]
    contexts = [
        {"surface": where, "user_id": u, "context": "commute" if u == COMMUTER else "usual", "commute_share": 0.7}
        for where in surfaces(market)
        for u in people
    ]
    made = build(
        tables("candidates.ranked", ranked, DS),
        tables("candidates.contexts", contexts, DS),
        tables("features.user_profile", profile, DS),
        tables("silver.user_item_daily", [{**zero, **row} for row in [*daily, *seen]], DS),
        tables("silver.events", said, DS),
        tables("silver.curated", list(curated), DS),
        tables("serving.decision_log", list(earlier), "2024-03-08"),
        shelf,
        days=DayRange.day(DS),
        params=Params(),
        market=market,
    )
    rows = [r.asDict(recursive=True) for r in conform(CONTRACT, made).collect()]
    return {(r["user_id"] if r["surface"] == "home" else (r["surface"], r["user_id"])): r for r in rows}


@pytest.fixture(scope="module")
def decided(tables, shelf):
    return decide(tables, shelf)


def items_of(row) -> list[int]:
    return [p["item_id"] for p in row["placed"]]


def test_consenting_users_with_candidates_have_a_row(decided):
    assert set(decided) == {USER, COMMUTER, BABY}
    assert {r["surface"] for r in decided.values()} == {"home"} and str(decided[USER]["ds"]) == DS


def test_what_may_not_be_shown_is_removed_with_the_rule_and_the_reason(decided):
    gone = {
        e["item_id"]: (e["rule"], e["why"], e["rank_before"])
        for e in decided[USER]["effects"]
        if e["action"] == "removed"
    }
    assert gone == {
        2: ("repeats", "bought in the last 7 days", 2),
        3: ("repeat_guard", "shown 3 times or more in 3 days", 3),
        4: ("negative_feedback", "the user said not interested", 4),
        7: ("negative_feedback", "the user blocked its author", 7),
        8: ("negative_feedback", "the user blocked its author", 8),
        9: ("eligibility", "not on offer", 9),
        FAR: ("eligibility", "not for the user's region", 11),
    }
    of_baby = {e["item_id"] for e in decided[BABY]["effects"] if e["action"] == "removed"}
    assert of_baby == {9, ADULT, NEAR}


def test_places_have_their_order_scores_and_free_ranks(decided):
    row = decided[USER]
    # rank 3 is kept for an ad; three of a category are 60 % of the other five
    assert items_of(row)[:4] == [1, 5, 6, 10]
    assert [p["rank"] for p in row["placed"]] == [1, 2, 4, 5, 6] and row["ad_slots"] == [3]
    first = row["placed"][0]
    assert (first["rank_before"], first["score_before"], first["score_after"]) == (1, 1.0, 1.0)
    assert row["candidates"] == 30  # 999 is not on the shelf


def test_a_place_of_exploration_has_its_arm_and_propensity(decided):
    last = decided[USER]["placed"][-1]
    assert decided[USER]["policy"] == "thompson" and last["rank"] == 6
    assert last["arm"] in ("none", "long_tail")
    assert last["propensity"] == (0.5 if last["arm"] == "none" else 0.05)
    assert all(p["arm"] is None and p["propensity"] is None for p in decided[USER]["placed"][:-1])


def test_a_context_has_its_own_options(decided):
    row = decided[COMMUTER]
    assert (row["context"], row["policy"], row["ad_slots"]) == ("commute", "none", [3])
    assert [p["rank"] for p in row["placed"]] == [1, 2] and items_of(row) == [1, 2]
    assert row["signals"] == [1.0, 0.0, 0.7, 0.0, 0.0]


def test_the_style_match_is_the_mean_cosine_to_what_was_clicked_or_saved_in_the_category(decided):
    placed = {p["item_id"]: p for p in decided[USER]["placed"]}
    # of food the user clicked item 1 alone, which is not held against itself; of shoes item 2
    assert (placed[1]["style_items"], placed[1]["style_match"]) == (0, None)
    assert placed[5]["style_items"] == 1 and placed[5]["style_match"] == pytest.approx(1.0, abs=0.01)
    assert placed[10]["style_match"] == pytest.approx(1.0, abs=0.01)
    # who saved item 5 of food, and did nothing else: its vector is that of item 1, and item 2 is a shoe
    saved = [(p["item_id"], p["style_items"], p["style_match"]) for p in decided[COMMUTER]["placed"]]
    assert saved == [(1, 1, pytest.approx(1.0, abs=0.01)), (2, 0, None)]
    assert (decided[BABY]["placed"][0]["style_items"], decided[BABY]["placed"][0]["style_match"]) == (0, None)


def entry(ident: str, item: int, starts="2024-03-11", ends="2024-03-11", **more) -> dict:
    def ms(day: str, hour: int) -> int:
        return int(dt.datetime.fromisoformat(f"{day}T{hour:02}:00+00:00").timestamp() * 1000)

    given = {"surface": "home", "boost": 1.0, **more}
    return {"curated_id": ident, "item_id": item, "starts_at_ms": ms(starts, 9), "ends_at_ms": ms(ends, 18), **given}


def test_a_curated_entry_takes_its_place_on_its_days_and_surface(tables, shelf):
    entries = [
        entry("a", 25, boost=2.0),
        entry("b", 24, boost=5.0, surface="feed"),
        entry("c", 23, "2024-03-01", "2024-03-10", boost=9.0),
        entry("d", 22, "2024-03-12", "2024-03-14", boost=9.0),
        entry("e", 4, boost=9.0),  # refused by the user
    ]
    found = decide(tables, shelf, curated=entries)
    assert (found[USER]["placed"][1]["item_id"], found[USER]["placed"][1]["slot_type"]) == (25, "curated")
    assert found[BABY]["placed"][1]["item_id"] == 4


def test_a_cap_bounds_the_lists_that_an_entry_enters(tables, shelf):
    found = decide(tables, shelf, curated=[entry("a", 25, cap=2)])
    assert sum(p["slot_type"] == "curated" for r in found.values() for p in r["placed"]) == 2


@pytest.mark.parametrize(("cap", "lists"), [(None, 3), (1, 1), (0, 0)])
def test_what_operations_alone_put_in_enters_no_list_but_those_of_its_entry(tables, shelf, cap, lists):
    # both are the ranker's first ones
    entries = [entry("a", 1, cap=cap), entry("b", 5, surface="search")]
    found = decide(tables, shelf, curated=entries, injected=(1, 5))
    shown = [(p["item_id"], p["rank"], p["slot_type"]) for r in found.values() for p in r["placed"]]
    # the cap counts who refuses personal lists as well
    assert lists - 1 <= len([place for place in shown if place[0] == 1]) <= lists
    assert {place for place in shown if place[0] in (1, 5)} <= {(1, 2, "curated")}
    assert (5, "curated for other lists") in {(e["item_id"], e["why"]) for e in found[USER]["effects"]}


def test_a_further_surface_gives_a_further_row(tables, shelf):
    shelf_page = {"length": 2, "contexts": {"commute": {"when": {"commute_share": {"min": 0.5}}, "length": 4}}}
    market = Market("demo", surfaces={"feed": None, "home": OPTIONS, "other": shelf_page})
    found = decide(tables, shelf, market)
    assert set(found) == {USER, COMMUTER, BABY, *(("other", u) for u in (USER, COMMUTER, BABY))}
    assert items_of(found["other", USER]) == [1, 2] and items_of(found["other", COMMUTER]) == [1, 2, 3, 4]
    assert found["other", USER]["policy"] == "none" and found["other", USER]["effects"] == []


def test_an_item_of_the_user_s_own_is_known_by_its_channel(tables, shelf):
    market = Market("demo", surfaces={"feed": None, "home": {"length": 4, "rules": {"own_items": {"places": [2, 3]}}}})
    assert items_of(decide(tables, shelf, market, own=(7,), people=(USER,))[USER]) == [1, 7, 2, 3]


def test_a_surface_or_context_may_be_without_channels(tables, shelf):
    commute = {"when": {"commute_share": {"min": 0.5}}, "without": ["curated", "popular"]}
    home = {"length": 3, "rules": {}, "without": ["curated", "own_history"], "contexts": {"commute": commute}}
    other = {"length": 3, "contexts": {"commute": {"when": {"commute_share": {"min": 0.5}}}}}
    market = Market("demo", surfaces={"feed": None, "home": home, "other": other})
    found = decide(tables, shelf, market, own=(1, 2, 4), injected=(3,), people=(USER, COMMUTER))
    # 3 is curated alone; 1, 2 and 4 are the user's own as well; all others are popular as well
    assert items_of(found[USER]) == [5, 6, 7] and items_of(found[COMMUTER]) == [1, 2, 4]
    assert items_of(found["other", USER]) == items_of(found["other", COMMUTER]) == [1, 2, 3]
    removed = [(e["rule"], e["item_id"], e["why"]) for e in found[USER]["effects"] if e["action"] == "removed"]
    said = "found by channels alone that do not count here"
    assert removed == [("without", item, said) for item in (1, 2, 3, 4)]


def test_a_context_that_the_market_no_longer_has_is_named():
    with pytest.raises(ContractError, match="has context rain of surface home, which the market no longer has: build"):
        plan_for({}, "home", "rain")


# -- what was learnt -----------------------------------------------------------------------------


def test_showings_count_by_context_and_arm_weighted_by_propensity(tables):
    def placed(item, arm, propensity):
        return (1, item, "exploration", 1, None, None, propensity, arm, None, 0)

    log = [
        {
            "surface": "home",
            "user_id": 1,
            "context": "usual",
            "signals": [1.0, 0, 0, 0, 0.5],
            "placed": [placed(7, "none", 0.5), placed(8, None, None)],
        },
        {
            "surface": "home",
            "user_id": 2,
            "context": "usual",
            "signals": [1.0, 0, 0, 0, 0.5],
            "placed": [placed(7, "none", 0.25)],
        },
        {
            "surface": "home",
            "user_id": 3,
            "context": "usual",
            "signals": [1.0, 0, 0, 0, 0.5],
            "placed": [placed(7, "none", 0.25)],
        },
        {
            "surface": "home",
            "user_id": 4,
            "context": "usual",
            "signals": [1.0, 0, 0, 0, 0.5],
            "placed": [placed(7, "none", 0.25)],
        },
    ]
    seen = [
        {"ds": dt.date(2024, 3, 9), "user_id": 1, "item_id": 7, "impressions": 2, "targets": 1},
        {"ds": dt.date(2024, 3, 9), "user_id": 2, "item_id": 7, "impressions": 1, "targets": 0},
        {"ds": dt.date(2024, 3, 9), "user_id": 1, "item_id": 8, "impressions": 1, "targets": 1},
        {"ds": dt.date(2024, 3, 10), "user_id": 3, "item_id": 7, "impressions": 1, "targets": 1},  # a day too late
        {"ds": dt.date(2024, 3, 9), "user_id": 4, "item_id": 7, "impressions": 1, "targets": 1, "shown_on": ["search"]},
    ]
    seen = [{"shown_on": ["feed", "home"], **row} for row in seen]
    found = learnt(
        tables("serving.decision_log", log, "2024-03-08"), tables("silver.user_item_daily", seen, DS), Params()
    )
    rows = found.collect()
    assert [r["surface"] for r in rows] == ["home"] and len(rows[0]["evidence"]) == 1
    row = rows[0]["evidence"][0]
    assert (row["arm"], row["n"], row["weights"], row["squares"], row["rewards"]) == ("none", 2, 6, 20, 2)
    assert np.array(row["gram"]).reshape(5, 5)[0].tolist() == [6, 0, 0, 0, 3]
    assert row["moments"] == [2, 0, 0, 0, 1]


def test_what_was_learnt_reaches_the_policy(tables, shelf):
    """Two hundred people of the day before yesterday liked the arm none and nobody the long tail."""
    users = list(range(100, 300))
    log = [
        {
            "surface": "home",
            "user_id": u,
            "context": "usual",
            "signals": [1.0, 0.0, 0.0, 0.0, 0.0],
            "placed": [
                (6, 3, "organic", 1, None, None, 0.5, "none", None, 0),
                (5, 20, "exploration", 1, None, None, 0.5, "long_tail", None, 0),
            ],
        }
        for u in users
    ]
    seen = [
        {
            "ds": dt.date(2024, 3, 9),
            "user_id": u,
            "item_id": i,
            "impressions": 1,
            "shown_on": ["home"],
            "clicks": 0,
            "purchases": 0,
            "targets": int(i == 3),
        }
        for u in users
        for i in (3, 20)
    ]
    last = decide(tables, shelf, earlier=log, seen=seen)[USER]["placed"][-1]
    # the floor of both arms is 0.1; of ten candidates of the long tail each is as likely
    assert last["propensity"] == pytest.approx(0.9 if last["arm"] == "none" else 0.01, abs=1e-6)


# -- the shelf -----------------------------------------------------------------------------------


def test_the_shelf_keeps_what_it_was_given(shelf):
    loaded = Shelf.load(shelf)
    assert loaded.find(np.array([1, 30, 0, 31, 999])).tolist() == [0, 29, -1, -1, -1]
    assert loaded.names["category"][loaded.columns["category"][0]] == "food"
    assert loaded.columns["regions"][0] == -1 and loaded.vectors.dtype == np.int8
    assert loaded.vectors[1].tolist() == [round(0.6 * SCALE), round(0.8 * SCALE)]


def test_the_shelf_of_a_day_is_made_of_its_tables(tables, tmp_path):
    from models.shelf import build as build_shelf

    items = [
        {"item_id": 2, "category": "a", "creator_id": 9, "subcategory": "x", "duration_ms": 100},
        {"item_id": 1, "category": "b", "regions": "north", "age_limit": 18, "duration_ms": 300},
        {"item_id": 3, "category": "b"},
    ]
    stats = [{"item_id": 2, "quality": 0.7, "age_days": 3, "is_long_tail": True, "is_eligible": True}, {"item_id": 3}]
    facts = build_shelf(
        tables("silver.items", items, DS),
        tables("features.item_stats", stats, DS),
        tables("features.item_content", [{"item_id": 2, "vector": [0.0, 1.0]}], DS),
        tables("features.creator_stats", [{"creator_id": 9, "stage": "novice"}], DS),
        days=DayRange.day(DS),
        params=None,
        out=tmp_path,
    )
    assert facts == {"items": 3, "dimension": 2, "with_vector": 1}
    made = Shelf.load(tmp_path)
    assert made.ids.tolist() == [1, 2, 3] and made.vectors.tolist() == [[0, 0], [0, 127], [0, 0]]
    assert made.columns["effort"].tolist() == [1.0, 0.0, 0.5] and made.columns["age_limit"].tolist() == [18, 0, 0]
    assert made.columns["novice"].tolist() == [False, True, False]
    assert made.columns["on_offer"].tolist() == [False, True, False]
    assert np.isnan(made.columns["quality"][0]) and made.columns["quality"][1] == 0.7
