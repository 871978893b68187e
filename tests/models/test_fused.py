from __future__ import annotations

import pytest

from jobs.contract import DayRange
from jobs.errors import ContractError
from jobs.runner import conform
from jobs.settings import Market
from models.fused import CONTRACT, Params, build, excluded, quotas_of
from models.recall import CHANNELS
from models.surfaces import surfaces

RECALL = "ds date, channel string, user_id bigint, item_id bigint, rank int, seed_item_id bigint, score double"
PAIRS = "ds date, user_id bigint, item_id bigint, rejections int, purchases int"
EVENTS = "ds date, user_id bigint, item_id bigint, action string"
ITEMS = "ds date, item_id bigint, category string, creator_id bigint, regions string, age_limit int"
BADCASES = "ds date, user_id bigint, item_id bigint, stops boolean"
CONTEXTS = "ds date, surface string, user_id bigint, context string"
PEOPLE = "ds date, user_id bigint, region string, age_years int, age_band string"
DS = "2024-03-10"


QUOTAS = surfaces(Market("demo"))["feed"].quotas
NO_QUOTAS = {"feed": {"quotas": None}}
DEMO = Market("demo", surfaces=NO_QUOTAS)


def fused(frame, recall, pairs=(), events=(), items=(), people=(), badcases=(), contexts=(), market=DEMO, **params):
    made = build(
        frame(RECALL, [(*row, row[4] / 10) for row in recall]),
        frame(CONTEXTS, list(contexts)),
        frame(PAIRS, list(pairs)),
        frame(EVENTS, list(events)),
        frame(ITEMS, list(items)),
        frame(PEOPLE, list(people)),
        frame(BADCASES, list(badcases)),
        days=DayRange.day(DS),
        params=Params(**params),
        market=market,
    )
    rows = conform(CONTRACT, made).orderBy("user_id", "rank").collect()
    return {(r["user_id"], r["item_id"]): r for r in rows}


def weight(channel: str) -> float:
    return CHANNELS[channel].channel.weight


def test_scores_are_sums_of_weighted_reciprocal_ranks(frame):
    found = fused(
        frame,
        [
            (DS, "item_cf", 1, 10, 1, 77),
            (DS, "popular", 1, 10, 2, None),
            (DS, "embedding", 1, 11, 1, None),
            (DS, "popular", 1, 12, 40, None),
            (DS, "own_history", 2, 10, 1, 10),
            (DS, "item_cf", 2, 10, 3, 77),
        ],
    )
    assert found[1, 10]["score"] == pytest.approx(weight("item_cf") / 61 + weight("popular") / 62, abs=2e-9)
    assert found[1, 11]["score"] == pytest.approx(weight("embedding") / 61, abs=2e-9)
    assert found[1, 12]["score"] == pytest.approx(weight("popular") / 100, abs=2e-9)
    assert [found[1, i]["rank"] for i in (10, 11, 12)] == [1, 2, 3]
    assert (found[1, 10]["channel"], found[1, 10]["channels"]) == ("item_cf", ["item_cf", "popular"])
    assert (found[1, 10]["seed_item_id"], found[1, 11]["seed_item_id"]) == (77, None)
    # the seed is of the channel that contributed most
    assert (found[2, 10]["channel"], found[2, 10]["seed_item_id"]) == ("own_history", 10)
    # every channel that found it, with rank, score and seed; what contributed most first
    assert [tuple(source) for source in found[1, 10]["sources"]] == [
        ("item_cf", 1, 0.1, 77),
        ("popular", 2, 0.2, None),
    ]


def test_a_quota_holds_places_against_better_scores(frame):
    rows = [(DS, "item_cf", 1, i, i, 77) for i in range(1, 9)] + [
        (DS, "long_tail", 1, 20 + i, i, None) for i in (1, 2, 3)
    ]
    market = Market("demo", surfaces={"feed": {"quotas": dict.fromkeys(QUOTAS) | {"long_tail": 2}}})
    found = fused(frame, rows, market=market, budget=5)
    # the two first of long_tail enter, and stand where their scores put them
    assert [(i, r["in_quota"]) for (_, i), r in found.items()] == [
        (1, False),
        (2, False),
        (3, False),
        (21, True),
        (22, True),
    ]


def test_a_quota_of_a_context_is_for_its_users_and_the_largest_of_their_surfaces_counts(frame):
    rows = [(DS, "item_cf", u, i, i, 77) for u in (1, 2, 3, 4) for i in range(1, 9)]
    rows += [(DS, "long_tail", u, 20 + i, i, None) for u in (1, 2, 3, 4) for i in (1, 2, 3)]
    weekend = {"when": {"is_weekend": True}}
    shelf = {"length": 4, "quotas": {"long_tail": 1}, "contexts": {"calm": {**weekend, "quotas": {"long_tail": 3}}}}
    of = {"feed": {"quotas": None, "contexts": {"weekend": {"quotas": {"long_tail": 2}}}}, "shelf": shelf}
    where = {1: ("usual", "usual"), 2: ("weekend", "usual"), 3: ("weekend", "calm")}
    contexts = [(DS, surface, u, c) for u, each in where.items() for surface, c in zip(("feed", "shelf"), each)]
    found = fused(frame, rows, contexts=contexts, market=Market("demo", surfaces=of), budget=5)
    sure = {u: [i for (of_user, i), r in found.items() if of_user == u and r["in_quota"]] for u in (1, 2, 3, 4)}
    # the shelf's 1; the weekend's 2; the calm shelf's 3; of user 4 no context is known
    assert sure == {1: [21], 2: [21, 22], 3: [21, 22, 23], 4: []}
    assert all(len([i for u, i in found if u == user]) == 5 for user in sure)


def test_places_beyond_a_channel_s_depth_are_for_audits_alone(frame):
    deep = CHANNELS["long_tail"].channel.depth
    assert list(fused(frame, [(DS, "long_tail", 1, i, i, None) for i in (deep, deep + 1)])) == [(1, deep)]


@pytest.mark.parametrize(
    ("quotas", "message"),
    [({"gossip": 1}, "no channels \\['gossip'\\]"), ({"long_tail": 200}, "leave none of the budget")],
)
def test_quotas_that_cannot_be_kept_are_refused(quotas, message):
    with pytest.raises(ContractError, match=message):
        quotas_of(Market("demo", surfaces={"feed": {"quotas": quotas}}), budget=200)


@pytest.mark.parametrize(
    "options",
    [{"without": ["gossip"]}, {"contexts": {"weekend": {"when": {"is_weekend": True}, "without": ["gossip"]}}}],
)
def test_a_channel_that_there_is_not_cannot_be_left_out(options):
    with pytest.raises(ContractError, match=r"without of surface feed.*no channels \['gossip'\]"):
        quotas_of(Market("demo", surfaces={"feed": options}), budget=200)


def test_the_shipped_quotas_fit():
    assert 0 < sum(quotas_of(Market("demo"), budget=200).values()) < 200


def test_equal_scores_go_by_item_and_the_budget_is_kept(frame):
    found = fused(frame, [(DS, "popular", 1, i, 1, None) for i in (14, 12, 13, 11)], budget=3)
    assert [(i, r["rank"]) for (_, i), r in found.items()] == [(11, 1), (12, 2), (13, 3)]


CANDIDATES = [(DS, "popular", u, i, i, None) for u in (1, 2) for i in (1, 2, 3, 4, 5)]
OFFER = [
    (DS, 1, "food", 8, None, None),
    (DS, 2, "shoes", 9, None, None),
    (DS, 3, "shoes", 9, None, None),
    (DS, 4, "food", None, None, None),
    (DS, 5, "shoes", None, None, None),
    (DS, 6, "shoes", 9, None, None),
]


def left(found, user):
    return [i for u, i in found if u == user]


def test_what_was_rejected_bought_or_is_of_a_blocked_author_is_out(frame):
    found = fused(
        frame,
        CANDIDATES,
        pairs=[
            ("2024-03-05", 1, 1, 1, 0),  # rejected
            ("2024-03-05", 1, 4, 0, 2),  # bought
            ("2024-03-05", 2, 5, 0, 0),  # only seen
        ],
        events=[
            ("2024-03-06", 1, 6, "block_author"),  # item 6 is by 9, like 2 and 3
            ("2024-03-06", 2, 1, "click"),
            ("2024-03-06", 2, 5, "block_author"),  # item 5 has no known author
        ],
        items=OFFER,
    )
    assert left(found, 1) == [5]
    # user 2 loses nothing by what user 1 rejects, nor every item without an author
    assert left(found, 2) == [1, 2, 3, 4, 5]
    assert found[1, 5]["rank"] == 1


@pytest.mark.parametrize(("repeat", "out"), [((), [1, 2, 5]), (("food",), [2, 5]), (("*",), [2])])
def test_bought_items_may_return_where_their_category_repeats_but_rejected_ones_not(frame, repeat, out):
    pairs = [(DS, 1, 1, 0, 1), (DS, 1, 5, 0, 1), (DS, 1, 2, 1, 1)]
    market = Market("demo", repeat_categories=repeat)
    made = excluded(frame(PAIRS, pairs), frame(EVENTS, []), frame(ITEMS, OFFER), DayRange.day(DS), market)
    assert sorted((str(r["ds"]), r["user_id"], r["item_id"]) for r in made.collect()) == [(DS, 1, i) for i in out]


def test_restricted_items_need_a_known_region_and_age(frame):
    found = fused(
        frame,
        [(DS, "popular", u, i, i, None) for u in (1, 2, 3, 4, 5) for i in (1, 2, 3)],
        items=[
            (DS, 1, "food", None, "north|south", None),
            (DS, 2, "food", None, None, 18),
            (DS, 3, "food", None, "", 0),  # no region at all: nobody may see it; an age limit of 0 is none
        ],
        people=[
            (DS, 1, "north", 18, None),
            (DS, 2, "nor", 17, "25-34"),  # no part of a name; the year of birth goes before the band
            (DS, 3, None, None, "18-24"),
            (DS, 4, "south", None, "13-17"),  # 5 has no profile
        ],
    )
    assert {u: left(found, u) for u in (1, 2, 3, 4, 5)} == {1: [1, 2], 2: [], 3: [2], 4: [1], 5: []}


def test_what_a_bad_case_stops_is_out_for_whom_it_happened_to(frame):
    found = fused(
        frame,
        [(DS, "popular", user, item, item - 9, None) for user in (1, 2) for item in (10, 11, 12)],
        badcases=[
            ("2024-03-05", 1, 10, True),
            # an item's own fault: nobody gets it
            (DS, None, 11, True),
            # this one is told and not acted on
            (DS, 2, 12, False),
        ],
    )
    assert set(found) == {(1, 12), (2, 10), (2, 12)}
