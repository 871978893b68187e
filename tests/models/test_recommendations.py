"""The served lists: reasons that hold, in the reader's language, and every row held against the rules."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from jobs.contract import DayRange
from jobs.runner import conform
from jobs.settings import Market
from models.recommendations import CONTRACT, Params, build

DS = "2024-03-10"
SEED = 99
STATS = {
    "is_eligible": True,
    "ratings_28d": 0,
    "price_drop": 0.0,
    "popularity": 0.5,
    "age_days": 70,
}
# what is particular of an item, its row and the user's list
ITEM = {
    14: {"brand": "acme"},
    15: {"brand": "dull"},
    20: {"duration_ms": 300_000},
    21: {"duration_ms": 600_000},
    24: {"category": "shoes"},
    34: {"creator_id": 7},
    35: {"creator_id": 8},
    36: {"creator_id": 9},
    40: {"brand": "acme"},
}
STAT = {
    16: {"price_drop": 0.05, "price_minor": 950, "highest_price_minor": 1000},
    17: {"price_drop": 0.049, "price_minor": 951, "highest_price_minor": 1000},
    18: {"rating_28d": 4.0, "ratings_28d": 3},
    19: {"rating_28d": 4.0, "ratings_28d": 2},
    22: {"people_7d": 5},
    23: {"target_users_7d": 4, "age_days": 6},
    25: {"popularity": 0.8},
    26: {"age_days": 7},
    40: {"price_drop": 0.5, "price_minor": 1, "highest_price_minor": 2, "rating_28d": 5.0, "ratings_28d": 50},
}
RANKED = {
    10: {"channels": ["item_cf", "own_history"], "seed_item_id": SEED},
    11: {"channels": ["item_cf"], "seed_item_id": SEED},
    12: {"channels": ["item_cf"]},
    13: {"channels": ["own_history"], "seed_item_id": 13},
    25: {"channels": ["popular_region"]},
    40: {"channels": ["item_cf"], "seed_item_id": SEED},
}
PLACED = {
    15: {"rank_before": 20},
    26: {"rank_before": 21},
    30: {"style_match": 0.853, "style_items": 3},
    31: {"style_match": 0.49, "style_items": 3},
    32: {"slot_type": "curated"},
    33: {"slot_type": "exploration", "arm": "long_tail", "propensity": 0.1},
    40: {"style_match": 0.9, "style_items": 1},
}
LISTED = [*range(10, 27), *range(30, 37), 40]
FOLLOWS = [
    {"user_id": 1, "creator_id": 7, "followed_ds": dt.date(2024, 2, 1)},
    {"user_id": 1, "creator_id": 8, "followed_ds": dt.date(2024, 3, 10)},
    {"user_id": 2, "creator_id": 9, "followed_ds": dt.date(2024, 3, 9)},
]
CREATORS = [{"creator_id": 7, "original_id": "c7", "name": "Nora"}, {"creator_id": 9, "original_id": "c9", "name": " "}]
PLACES = [
    "rank",
    "slot_type",
    "rank_before",
    "score_before",
    "score_after",
    "propensity",
    "arm",
    "style_match",
    "style_items",
]


def placed(rank: int, item: int, **more) -> tuple:
    row = {"rank": rank, "slot_type": "organic", "rank_before": rank, "score_before": 1.0, "score_after": 1.0, **more}
    values = [row.get(name) for name in PLACES]
    return (values[0], item, *values[1:])


def serve(
    tables,
    log,
    market,
    *,
    people=(),
    items=(),
    stats=(),
    ranked=(),
    daily=(),
    events=(),
    contexts=(),
    curated=(),
    badcases=(),
    follows=(),
    creators=(),
):
    told = [
        ("category", "shoes", 0.123),
        ("category", "c40", 0.09),
        ("brand", "acme", 0.5),
        ("brand", "dull", 0.09),
    ]
    made = build(
        tables("serving.decision_log", log, DS),
        tables("candidates.ranked", ranked, DS),
        tables("candidates.contexts", contexts, DS),
        tables("features.user_profile", people, DS),
        tables("features.item_stats", stats, DS),
        tables("silver.items", items, DS),
        tables("features.user_interests", [dict(user_id=1, kind=k, value=v, share=s) for k, v, s in told], DS),
        tables("features.user_follows", list(follows), DS),
        tables("silver.creators", list(creators), DS),
        tables("silver.user_item_daily", list(daily), DS),
        tables("silver.events", list(events), DS),
        tables("silver.curated", list(curated), DS),
        tables("features.badcases", list(badcases), DS),
        days=DayRange.day(DS),
        params=Params(),
        market=market,
    )
    return {(r["user_id"], r["item_id"]): r.asDict(recursive=True) for r in conform(CONTRACT, made).collect()}


def described(listed):
    """Items and their statistics, each of a category of its own unless `ITEM` says otherwise."""
    items = [
        {"item_id": i, "category": f"c{i}", "original_id": f"i{i}", "title": f"T{i}", **ITEM.get(i, {})}
        for i in (*listed, SEED)
    ]
    return items, [{"item_id": i, **STATS, **STAT.get(i, {})} for i in listed]


def entry(surface: str, item: int, day: str, cap: int | None = None) -> dict:
    noon = int(dt.datetime.fromisoformat(f"{day}T12:00+00:00").timestamp() * 1000)
    ident = f"{surface} {item} {day} {cap}"
    return {
        "curated_id": ident,
        "surface": surface,
        "item_id": item,
        "cap": cap,
        "starts_at_ms": noon,
        "ends_at_ms": noon,
    }


NEXT = "2024-03-11"
LONG = Market("demo", surfaces={"feed": {"length": 50}})


@pytest.fixture(scope="module")
def served(tables):
    items, stats = described(LISTED)
    ranked = [
        {
            "user_id": u,
            "item_id": i,
            "score": 1 / i,
            "channel": "popular",
            "channels": ["x"],
            "model_version": m,
            **RANKED.get(i, {}),
        }
        for u, m in ((1, "m/1"), (2, "m/1"), (3, "popularity"))
        for i in LISTED
    ]
    log = [
        {
            "surface": "feed",
            "user_id": 1,
            "context": "commute",
            "placed": [placed(n, i, **PLACED.get(i, {})) for n, i in enumerate(LISTED, 1)],
        },
        {
            "surface": "feed",
            "user_id": 2,
            "context": "usual",
            "placed": [placed(1, 22), placed(2, 20), placed(3, 30, **PLACED[30]), placed(4, 36), placed(5, 34)],
        },
        {"surface": "feed", "user_id": 3, "context": "usual", "placed": [placed(1, 12)]},
    ]
    people = [
        {"user_id": 1, "consent_personalisation": True, "language": "en-GB"},
        {"user_id": 2, "consent_personalisation": True, "language": "zh"},
        {"user_id": 3, "consent_personalisation": True},
    ]
    contexts = [{"surface": "feed", "user_id": u, "is_weekend": u == 1, "commute_share": 0.6} for u in (1, 2, 3)]
    # five people liked 22; four liked 23, on two days each
    liked = [(22, u, day) for u in range(100, 105) for day in (10,)]
    liked += [(23, u, day) for u in range(100, 104) for day in (9, 10)]
    daily = [{"ds": dt.date(2024, 3, day), "user_id": u, "item_id": i, "targets": 1} for i, u, day in liked]
    return serve(
        tables,
        log,
        LONG,
        people=people,
        items=items,
        stats=stats,
        ranked=ranked,
        contexts=contexts,
        daily=daily,
        curated=[entry("feed", 32, NEXT)],
        follows=FOLLOWS,
        creators=CREATORS,
    )


def codes(served, item, user=1):
    return [r["code"] for r in served[user, item]["reasons"]]


def told(served, item, code, user=1):
    return next(
        (r["kind"], r["text"], json.loads(r["evidence"])) for r in served[user, item]["reasons"] if r["code"] == code
    )


def test_a_row_keeps_what_decided_it(served):
    row = served[1, 10]
    assert (row["rank"], row["score"], row["channel"], row["model_version"]) == (1, 0.1, "popular", "m/1")
    assert (row["surface"], row["slot_type"], row["seed_item_id"], row["context"]) == (
        "feed",
        "organic",
        SEED,
        "commute",
    )
    assert served[1, 32]["slot_type"] == "curated" and served[1, 33]["slot_type"] == "exploration"


def test_every_row_has_one_to_four_reasons_a_detail_and_no_violation(served):
    assert all(1 <= len(r["reasons"]) <= 4 and r["detail"] for r in served.values())
    assert all(None not in reason.values() for r in served.values() for reason in r["reasons"])
    assert all(r["violations"] == [] for r in served.values())


@pytest.mark.parametrize(
    ("code", "items"),
    [
        ("again", {10, 13}),  # found in the user's own history
        ("followed", {34}),  # 36 is of a creator whom somebody else follows
        ("followed_unnamed", {35}),  # 8 is not in the feed of creators
        ("because_of", {11, 40}),  # led to by another item; 12 has no seed, 13 is its own
        ("style_match", {30, 40}),  # from one half; 31 is below
        ("brand", {14, 40}),  # half of the user's brands; 15 is below a tenth
        ("category", {24}),
        ("curated", {32}),
        ("discovery", {33}),
        ("short_on_the_way", {20}),  # five minutes, in a commute
        ("time_at_the_weekend", {21}),  # ten
        ("price_drop", {16, 40}),  # from 5 %
        ("rated", {18}),  # from 4.0 of three ratings; 40 has four reasons before it
        ("new", {23}),  # six days
        ("popular", {22}),  # from five people
        ("among_popular", {25}),
    ],
)
def test_a_reason_is_given_only_where_its_evidence_holds(served, code, items):
    assert {i for u, i in served if u == 1 and code in codes(served, i)} == items


def test_the_first_four_reasons_are_kept_in_their_order(served):
    assert codes(served, 40) == ["because_of", "style_match", "brand", "price_drop"]


def test_where_nothing_else_holds_the_model_is_the_reason_and_without_one_nothing_is_claimed(served):
    assert codes(served, 12) == ["similar_taste"]
    assert codes(served, 12, user=3) == ["suggested"]
    assert "similar_taste" not in codes(served, 33)  # drawn, not ranked
    evidence = {"model_version": "m/1", "score": pytest.approx(1 / 12), "rank_before": 3}
    assert told(served, 12, "similar_taste")[2] == evidence
    # the model puts 15 in place 20 of the candidates, which is high, and 26 in place 21
    assert (codes(served, 15), codes(served, 26)) == (["similar_taste"], ["suggested"])


def test_texts_carry_their_evidence(served):
    assert told(served, 10, "again") == (
        "basic",
        "You know this one",
        {"channels": ["item_cf", "own_history"], "original_id": "i10"},
    )
    assert told(served, 11, "because_of")[1:] == ("Because of T99", {"seed_original_id": "i99", "channel": "popular"})
    assert told(served, 34, "followed") == (
        "basic",
        "From Nora, whom you follow",
        {"creator": "c7", "followed_ds": "2024-02-01"},
    )
    named_by_key = {"creator": "8", "followed_ds": "2024-03-10"}
    assert told(served, 35, "followed_unnamed")[1:] == ("From somebody you follow", named_by_key)
    assert told(served, 14, "brand")[1:] == ("More of acme", {"brand": "acme", "brand_share": 0.5})
    assert told(served, 24, "category")[1:] == ("You like shoes", {"category": "shoes", "category_share": 0.123})
    assert told(served, 16, "price_drop") == (
        "value",
        "Price down 5 %",
        {"highest_price_minor": 1000, "price_minor": 950},
    )
    assert told(served, 18, "rated")[1:] == ("Rated 4.0 by 3", {"rating_28d": 4.0, "ratings_28d": 3})
    assert told(served, 20, "short_on_the_way") == (
        "scenario",
        "Short enough for the way: 5 min",
        {"duration_ms": 300_000, "commute_share": 0.6},
    )
    assert told(served, 22, "popular")[1:] == ("Liked by 5 people this week", {"people_7d": 5})
    assert told(served, 33, "discovery")[2] == {"slot_type": "exploration", "arm": "long_tail", "propensity": 0.1}


def test_the_detail_is_of_the_style_match_else_of_the_main_reason(served):
    assert (
        served[1, 30]["detail"]
        == "85 % style match with the 3 items of c30 that you clicked, saved or bought in the last 7 days"
    )
    assert served[1, 16]["detail"] == "5 % below its highest price of the last 28 days"


def test_texts_are_in_the_reader_s_language(served):
    assert served[2, 22]["language"] == "zh" and told(served, 22, "popular", user=2)[1] == "本周有5人喜欢"
    assert served[2, 30]["detail"] == "与你最近7天点击、收藏或购买过的3件c30的风格匹配度为85%"
    assert told(served, 36, "followed_unnamed", user=2)[1] == "来自你关注的人"
    assert "followed" not in codes(served, 34, user=2)
    assert served[3, 12]["language"] == "en"
    assert codes(served, 20, user=2) == ["similar_taste"]  # not on the way


# -- the rules, on every row ---------------------------------------------------------------------


RULES = {
    "category_share": {},
    "quality_floor": {"floor": 0.2},
    "repeat_guard": {"times": 3, "days": 3, "unless_clicked": True},
}
FREE = {"when": {"weekday": 0}, "rules": dict.fromkeys(RULES)}
PAGE = {"length": 6, "ad_slots": [2], "without": ["long_tail"], "rules": RULES, "contexts": {"free": FREE}}
SMALL = Market("demo", surfaces={"feed": None, "page": PAGE})
FINE, OTHERS = 10, (11, 12)
OFF, REFUSED, BLOCKED, FAR, ADULT, LOW, OFTEN, STOPPED, BAD, EXPIRED, ELSEWHERE = range(50, 61)
CLICKED, LONG_AGO, CURATED, CAPPED, ALONE, BOTH = range(61, 67)
SHOES, HATS = range(70, 73), range(80, 82)
PLANTED = {
    OFF: "not on offer",
    REFUSED: "refused, of a blocked author or just bought",
    BLOCKED: "refused, of a blocked author or just bought",
    FAR: "not for the user's region or age",
    ADULT: "not for the user's region or age",
    LOW: "below the quality floor",
    OFTEN: "shown too often",
    STOPPED: "stopped by a bad case",
    BAD: "stopped by a bad case",
    ALONE: "found by channels alone that do not count here",
    EXPIRED: "curated without an entry in force",
    ELSEWHERE: "curated without an entry in force",
}
ENTRIES = [
    entry("page", EXPIRED, DS),
    entry("feed", ELSEWHERE, NEXT),
    entry("page", CURATED, NEXT, 1),
    entry("page", CURATED, NEXT),
    # two entries of one list each, and one that is over
    entry("page", CAPPED, NEXT, 1),
    entry("page", CAPPED, NEXT, 1) | {"curated_id": "again"},
    entry("page", CAPPED, DS, 5),
]


def shown(user: int, item: int, days_ago: int, times: int, clicks: int = 0) -> dict:
    day = dt.date.fromisoformat(DS) - dt.timedelta(days=days_ago)
    return {"ds": day, "user_id": user, "item_id": item, "impressions": times, "clicks": clicks}


def broken(tables, *lists, consents=True, context="usual", categories=None):
    """Lists of user 1, 2, … with an item for each violation at hand."""
    items, stats = described([FINE, *OTHERS, *PLANTED, CLICKED, LONG_AGO, CURATED, CAPPED, BOTH, *SHOES, *HATS])
    told = {FAR: {"regions": "north"}, ADULT: {"age_limit": 18}, BLOCKED: {"creator_id": 7}}
    of_category = dict.fromkeys(SHOES, "shoes") | dict.fromkeys(HATS, "hats")
    for item in items:
        item |= told.get(item["item_id"], {})
        item["category"] = of_category.get(item["item_id"], item["category"])
    for row in stats:
        row |= {"is_eligible": row["item_id"] != OFF, "quality": 0.19 if row["item_id"] == LOW else 0.2}
    users = range(1, len(lists) + 1)
    log = [
        {"surface": "page", "user_id": u, "context": context, "placed": of, "categories": categories}
        for u, of in zip(users, lists)
    ]
    found = {ALONE: ["long_tail"], BOTH: ["long_tail", "x"]}
    ranked = [
        {"user_id": u, "item_id": i["item_id"], "channels": found.get(i["item_id"], ["x"]), "model_version": "m/1"}
        for u in users
        for i in items
    ]
    daily = [{"user_id": u, "item_id": REFUSED, "rejections": 1, "purchases": 0} for u in users]
    for u in users:
        # three showings in the last three days; one of them was clicked; the third was a day before these
        daily += [shown(u, OFTEN, 0, 1), shown(u, OFTEN, 2, 2)]
        daily += [shown(u, CLICKED, 0, 1, clicks=1), shown(u, CLICKED, 2, 2)]
        daily += [shown(u, LONG_AGO, 0, 2), shown(u, LONG_AGO, 3, 1)]
    stopped = [{"case_id": u, "user_id": u, "item_id": STOPPED, "stops": True} for u in users]
    told_only = [{"case_id": -1, "item_id": FINE, "stops": False}, {"case_id": -2, "user_id": 999, "stops": True}]
    found = serve(
        tables,
        log,
        SMALL,
        people=[{"user_id": u, "consent_personalisation": consents, "region": "south"} for u in users],
        items=items,
        stats=stats,
        ranked=ranked,
        daily=daily,
        events=[{"user_id": u, "item_id": BLOCKED, "action": "block_author"} for u in users],
        curated=ENTRIES,
        badcases=[*stopped, *told_only, {"case_id": 0, "item_id": BAD, "stops": True}],
    )
    return {key: row["violations"] for key, row in found.items()}


def test_a_planted_violation_is_found_on_its_row(tables):
    curated = {EXPIRED, ELSEWHERE}
    lists = [
        [placed(1, FINE), placed(3, item, slot_type="curated" if item in curated else "organic")] for item in PLANTED
    ]
    found = broken(tables, *lists, [placed(1, CLICKED), placed(3, LONG_AGO), placed(4, EXPIRED), placed(5, BOTH)])
    for user, (item, said) in enumerate(PLANTED.items(), 1):
        assert found[user, item] == [said] and found[user, FINE] == []
    # what somebody clicks may come again, and what is not in force is an item like others
    assert [found[len(lists) + 1, item] for item in (CLICKED, LONG_AGO, EXPIRED, BOTH)] == [[], [], [], []]


def test_a_rule_that_the_context_takes_away_is_not_held_against_its_lists(tables):
    found = broken(tables, [placed(1, OFTEN), placed(3, LOW), placed(4, OFF)], context="free")
    assert (found[1, OFTEN], found[1, LOW], found[1, OFF]) == ([], [], ["not on offer"])


def test_a_curated_entry_enters_no_more_lists_than_its_cap(tables):
    one = [placed(1, CURATED, slot_type="curated"), placed(3, CAPPED, slot_type="curated")]
    # an entry without a cap has no limit; the two others allow two lists
    assert not any(broken(tables, one, one).values())
    found = broken(tables, one, one, one)
    assert {tuple(found[u, CURATED]) for u in (1, 2, 3)} == {()}
    assert {tuple(found[u, CAPPED]) for u in (1, 2, 3)} == {("in more lists than its curated entry allows",)}


def listed(*items: int) -> list[tuple]:
    """Items on the ranks of a page, of which 2 is kept for an ad."""
    return [placed(rank, item) for rank, item in zip((1, 3, 4, 5, 6), items)]


def test_violations_of_a_whole_list_are_found(tables):
    shoes, hats = list(SHOES), list(HATS)
    found = broken(
        tables,
        listed(*shoes[:2], FINE, *OTHERS),  # two of five rows are 40 %
        listed(*shoes[:2], FINE, OTHERS[0]),  # two of four are more, though two of the six places would be less
        [placed(1, FINE), placed(2, shoes[0]), placed(7, OTHERS[0])],
        listed(FINE, FINE, *OTHERS, CLICKED),
        listed(*shoes[:2], *hats),
    )
    above = ("above the ceiling of its category",)
    assert not any(found[1, i] for i in (*shoes[:2], FINE, *OTHERS))
    assert {tuple(found[2, i]) for i in shoes[:2]} == {above} and found[2, FINE] == []
    assert found[3, shoes[0]] == ["on a rank kept for ads"] and found[3, OTHERS[0]] == ["beyond the list's length"]
    assert found[4, FINE] == ["twice in the list"]
    assert {tuple(found[5, i]) for i in (*shoes[:2], *hats)} == {above}


def test_candidates_of_two_categories_share_the_list_evenly(tables):
    found = broken(tables, listed(*SHOES, *HATS), listed(*SHOES, HATS[0]), categories=2)
    # three and two of five rows; three of four are more than half
    assert not any(found[1, i] for i in (*SHOES, *HATS))
    assert all(found[2, i] for i in SHOES) and not found[2, HATS[0]]


def test_who_did_not_consent_has_no_list(tables):
    assert broken(tables, [placed(1, FINE)], consents=False)[1, FINE] == ["the user did not consent"]


def test_who_has_candidates_and_no_list_on_a_surface_is_found(tables):
    # 1 has both lists, 2 lacks that of the page; 3 does not consent, 4 has no candidates, 5 none that rules choose
    # from, and of 6 everything was removed: that is a list too
    items, stats = described([FINE])
    market = Market("demo", surfaces={"feed": {}, "page": {"candidates": 50}})
    log = [
        {"surface": where, "user_id": user, "context": "usual", "placed": placed_there}
        for where, user, placed_there in (
            ("feed", 1, [placed(1, FINE)]),
            ("page", 1, [placed(1, FINE)]),
            ("feed", 2, [placed(1, FINE)]),
            ("feed", 6, []),
            ("page", 6, []),
        )
    ]
    ranks = {1: 1, 2: 1, 3: 1, 5: 201, 6: 200}
    found = serve(
        tables,
        log,
        market,
        people=[{"user_id": u, "consent_personalisation": u != 3} for u in range(1, 7)],
        items=items,
        stats=stats,
        ranked=[
            {"user_id": u, "item_id": FINE, "rank": r, "channels": ["x"], "model_version": "m/1"}
            for u, r in ranks.items()
        ],
        contexts=[{"surface": where, "user_id": u} for where in ("feed", "page") for u in range(1, 7)],
    )
    missing = {key: (row["surface"], row["violations"]) for key, row in found.items() if row["rank"] == 0}
    assert missing == {(2, None): ("page", ["the user has candidates and no list"])}
