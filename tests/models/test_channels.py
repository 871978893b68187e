"""The contract of every candidate channel, present and future, in a planted world of two tastes.

Users like items 1 to 12 or items 21 to 32. User 1001 has all of the first but 12, user 1002 all of the second but
32: the one item that is right for each is the one that is missing. Models are fitted on the users 1 to 40 alone, so
both are new since the fit; item 13 is new and known by its text only.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest
from pyspark.sql import functions as F

from jobs.catalog import discover
from jobs.contract import ArtifactInput, DayRange
from jobs.errors import ContractError
from jobs.runner import conform
from jobs.settings import Market
from models import als, crowd, item2vec, item_index, lightgcn, neighbours, recall, topics
from models import item_neighbours as together
from models.ann import IndexParams, build_index
from models.channels import own_history
from models.channels.channel import AUDITED_DEPTH, Call, discover_channels
from models.recall import is_audited, recalled

DS = dt.date(2024, 3, 10)
DAYS = DayRange.day(DS)
CHANNELS = discover_channels()
RECALL = recall.CONTRACT.inputs
CATALOG = discover()
FIRST, SECOND = list(range(1, 13)), list(range(21, 33))
NEW = 13
KNOWS_ONE, KNOWS_OTHER, KNOWS_UNKNOWN, COLD, GONE = 1001, 1002, 1003, 1004, 1005
RIGHT = {KNOWS_ONE: 12, KNOWS_OTHER: 32}
NOT_ELIGIBLE = (2, 31)
IMPERSONAL = {"features.item_stats", "features.user_activity", "silver.curated"}
ABOUT_ITEMS = ("features.item_stats", "features.item_content", "silver.items")
TASTE = sorted(name for name, each in CHANNELS.items() if not each.channel.explores)
FITTED = {
    "models.als": (als, als.Params(factors=2)),
    "models.item2vec": (item2vec, item2vec.Params(dimensions=8, clusters=2, epochs=30)),
    "models.lightgcn": (lightgcn, lightgcn.Params(dimensions=8, steps=100)),
    "models.topics": (topics, topics.Params(topics=2)),
    "models.crowd": (crowd, crowd.Params()),
}


def likes() -> dict[int, list[int]]:
    """Newest first; each of the crowd likes ten of its twelve."""
    rng = np.random.default_rng(2)
    crowd = {u: rng.permutation(FIRST if u % 2 else SECOND)[:10].tolist() for u in range(1, 41)}
    return {**crowd, KNOWS_ONE: FIRST[:-1], KNOWS_OTHER: SECOND[:-1], KNOWS_UNKNOWN: [999_999], GONE: FIRST[:3]}


def table_of(spark, name: str, rows: list[dict]):
    contract = CATALOG.table(name)
    zero = {"string": None, "boolean": False, "double": 0.0, "date": None, "array<string>": []}
    made = [tuple({"ds": DS, **row}.get(c.name, zero.get(c.type, 0)) for c in contract.schema) for row in rows]
    return spark.createDataFrame(made, ", ".join(f"{c.name} {c.type}" for c in contract.schema))


def planted_items() -> list[dict]:
    return [
        {
            "item_id": i,
            "is_eligible": i not in NOT_ELIGIBLE,
            "target_users_7d": {2: 100, NEW: 0}.get(i, i),
            "category": "a" if i < 20 else "b",
            "creator_id": 1 if i < 20 else 2,
            "place": "east" if i < 20 else "west",
            "quality": 0.0 if i == NEW else (i % 20) / 20,
            "is_long_tail": True,
            "age_days": 0 if i in (12, 32, NEW) else 40,
            "vector": [float(i < 20), float(i > 20)],
        }
        for i in [*FIRST, NEW, *SECOND]
    ]


def planted_people() -> dict[str, list[dict]]:
    """What is known of users beside their actions, and of creators."""
    side = {u: of[0] < 20 for u, of in likes().items() if of[0] < 40}
    places = {True: "east", False: "west"}
    interests = [
        {"user_id": u, "kind": kind, "value": value, "weight": 1.0, "share": 1.0}
        for u, first in side.items()
        for kind, value in (("category", "a" if first else "b"), ("creator", "1" if first else "2"))
    ]
    profiles = [
        {
            "user_id": u,
            "region": "north" if first else "south",
            "device": "one" if first else "two",
            "city_tier": 1 + first,
        }
        for u, first in side.items()
    ]
    return {
        "features.user_interests": interests,
        "features.user_follows": [
            {"user_id": u, "creator_id": 1 if first else 2, "followed_ds": DS} for u, first in side.items()
        ],
        "features.user_profile": profiles,
        "features.user_context": [{"user_id": u, "districts": [places[first]]} for u, first in side.items()],
        "silver.surveys": [
            {"survey_id": str(u), "user_id": u, "at_ms": 1, "kind": "interests", "answer": "a|c" if first else "b"}
            for u, first in side.items()
        ],
        "features.creator_stats": [
            {"creator_id": c, "stage": "novice", "quality": quality} for c, quality in ((1, 0.9), (2, 0.9), (3, 0.1))
        ],
    }


def planted_tables(spark) -> dict:
    sequences = [
        {
            "user_id": u,
            "items": of,
            "strengths": [2.0] * len(of),
            "last_ms": [9 - n for n in range(len(of))],
            "length": len(of),
        }
        for u, of in likes().items()
    ]
    sequence = table_of(spark, "features.user_sequence", sequences)
    daily = [
        {"user_id": u, "item_id": i, "strength": 2.0, "targets": 1, "last_ms": 9 - n}
        for u, of in likes().items()
        for n, i in enumerate(of)
    ]
    items = planted_items()
    return {
        "features.user_sequence": sequence,
        "features.user_activity": table_of(
            spark, "features.user_activity", [{"user_id": u} for u in (*likes(), COLD) if u != GONE]
        ),
        **{
            name: table_of(spark, name, items)
            for name in ("features.item_stats", "features.item_content", "silver.items")
        },
        **{name: table_of(spark, name, rows) for name, rows in planted_people().items()},
        "silver.curated": table_of(
            spark,
            "silver.curated",
            [{"item_id": i, "surface": "feed", "ends_at_ms": 10**13, "boost": 1.0, "cap": None} for i in (3, 22)],
        ),
        "candidates.item_neighbours": together.build(
            sequence, days=DAYS, params=together.Params(half_life_days=30_000.0)
        ),
        "silver.user_item_daily": table_of(spark, "silver.user_item_daily", daily),
    }


def planted_artifacts(root, tables: dict) -> dict:
    def folder(name: str) -> Path:
        (root / name).mkdir()
        return root / name

    found = {}
    crowd_only = tables["silver.user_item_daily"].where("user_id <= 40")
    for name, (model, params) in FITTED.items():
        model.build(crowd_only, days=DAYS, params=params, out=folder(name))
        found[name] = root / name
    item_index.build(found["models.als"], days=DAYS, params=item_index.Params(), out=folder("models.item_index"))
    rows = sorted(planted_items(), key=lambda row: row["item_id"])
    content = np.array([row["vector"] for row in rows], np.float32)
    build_index(np.array([row["item_id"] for row in rows]), content, folder("models.content_index"), IndexParams())
    neighbours.build(
        *(tables[name] for name in ("candidates.item_neighbours", "features.item_content", "features.item_stats")),
        root / "models.content_index",
        days=DAYS,
        params=neighbours.Params(),
        out=folder("models.neighbours"),
    )
    return {
        **found,
        **{name: root / name for name in ("models.item_index", "models.content_index", "models.neighbours")},
    }


@pytest.fixture(scope="module")
def world(spark, tmp_path_factory):
    tables = planted_tables(spark)
    return {**tables, **planted_artifacts(tmp_path_factory.mktemp("artifacts"), tables)}


def arguments(world: dict, inputs) -> dict:
    names = {i: i.artifact if isinstance(i, ArtifactInput) else i.table for i in inputs}
    lacking = sorted(set(names.values()) - set(world))
    assert not lacking, f"plant {lacking} in this test's world"
    return {i.argument: world[name] for i, name in names.items()}


def found_by(given: dict, *names: str):
    """Rows of channels by themselves, before the recall table's rules."""
    given = {**given, "user_sequence": given["user_sequence"].withColumn("audited", is_audited(1.0))}
    return recalled([Call(CHANNELS[n], given, DAYS, CHANNELS[n].params(), Market("t")) for n in names])


@pytest.fixture(scope="module")
def raw(world):
    """What every channel recalls by itself."""
    rows = found_by(arguments(world, recall.CONTRACT.inputs), *CHANNELS).collect()
    found = {name: [r for r in rows if r["channel"] == name] for name in CHANNELS}
    return {name: sorted(of, key=lambda r: (r["user_id"], -r["score"], r["item_id"])) for name, of in found.items()}


def build(world, again=lambda frame: frame, **params):
    given = arguments(world, recall.CONTRACT.inputs)
    given = {name: each if isinstance(each, Path) else again(each) for name, each in given.items()}
    made = recall.build(**given, days=DAYS, params=recall.Params(**params), market=Market("t"))
    order = ["channel", "user_id", "rank"]
    return conform(recall.CONTRACT, made).orderBy(*order).collect()


@pytest.fixture(scope="module")
def built(world):
    return build(world)


def of_user(rows, user):
    return [r for r in rows if r["user_id"] == user]


def is_personal(name: str) -> bool:
    inputs = CHANNELS[name].channel.inputs
    return any(isinstance(i, ArtifactInput) or i.table not in IMPERSONAL for i in inputs)


def test_neighbours_are_not_sought_in_an_index_of_other_vectors(world, tmp_path):
    stats, pairs = world["features.item_stats"], world["candidates.item_neighbours"]
    turned = world["features.item_content"].withColumn("vector", F.reverse("vector"))
    with pytest.raises(ContractError, match="build it again from them"):
        neighbours.build(
            pairs,
            turned,
            stats,
            world["models.content_index"],
            days=DAYS,
            params=neighbours.Params(),
            out=tmp_path,
        )


def test_there_are_channels():
    assert {"embedding", "item_cf", "own_history", "popular"} <= set(CHANNELS)


@pytest.mark.parametrize("name", TASTE)
@pytest.mark.parametrize("user", RIGHT)
def test_the_missing_item_of_the_own_taste_comes_first(raw, name, user):
    rows = of_user(raw[name], user)
    assert rows
    new = [r["item_id"] for r in rows if r["item_id"] not in likes()[user]]
    if not is_personal(name):
        assert [r["item_id"] for r in rows] == [r["item_id"] for r in of_user(raw[name], COLD)]
    elif new:
        assert new[0] == RIGHT[user]
    else:
        assert {r["item_id"] for r in rows} <= set(likes()[user])


@pytest.mark.parametrize("name", sorted(set(CHANNELS) - set(TASTE)))
@pytest.mark.parametrize(("user", "other"), [(KNOWS_ONE, SECOND), (KNOWS_OTHER, FIRST)])
def test_who_explores_is_led_to_the_other_taste(raw, name, user, other):
    found = {r["item_id"] for r in of_user(raw[name], user)}
    assert found and found <= set(other)


@pytest.mark.parametrize("name", ["content", "new_items"])
def test_an_item_of_today_is_found_by_its_text_without_a_refit(raw, name):
    assert NEW in {r["item_id"] for r in of_user(raw[name], KNOWS_ONE)}
    assert NEW not in {r["item_id"] for r in of_user(raw[name], KNOWS_OTHER)}


def test_a_session_ends_at_the_gap(spark, world, frame):
    hour = 3_600_000
    sequence = frame(
        "ds date, user_id bigint, items array<bigint>, strengths array<double>, last_ms array<bigint>",
        [
            (DS, 1, [1, 21], [1.0, 1.0], [9 * hour, 8 * hour]),
            (DS, 2, [1, 21], [1.0, 1.0], [9 * hour, 9 * hour - 60_000]),
        ],
    )
    rows = found_by({**arguments(world, recall.CONTRACT.inputs), "user_sequence": sequence}, "session").collect()
    # the second user was at 21 a minute before 1, the first an hour before
    assert {r["seed_item_id"] for r in of_user(rows, 1)} == {1}
    assert {r["seed_item_id"] for r in of_user(rows, 2)} == {1, 21}


@pytest.mark.parametrize("name", CHANNELS)
def test_a_user_without_history_gets_nothing_or_what_all_get(raw, name):
    rows = of_user(raw[name], COLD)
    assert bool(rows) == (not is_personal(name))


@pytest.mark.parametrize("name", CHANNELS)
def test_an_item_that_nobody_knows_leads_nowhere(raw, name):
    own = set(likes()[KNOWS_UNKNOWN])
    others = [r["item_id"] for r in of_user(raw[name], KNOWS_UNKNOWN) if r["item_id"] not in own]
    assert not others or not is_personal(name)


@pytest.mark.parametrize("name", CHANNELS)
def test_rows_are_of_the_day_with_finite_scores_and_no_pair_twice(raw, name):
    rows = raw[name]
    assert {r["ds"] for r in rows} == {DS}
    assert all(r["score"] is not None and np.isfinite(r["score"]) for r in rows)
    assert len({(r["user_id"], r["item_id"]) for r in rows}) == len(rows)


@pytest.mark.parametrize("name", CHANNELS)
def test_a_seed_is_one_of_the_user_s_own_items(raw, name):
    assert all(r["seed_item_id"] is None or r["seed_item_id"] in likes()[r["user_id"]] for r in raw[name])


def test_a_creator_who_is_followed_is_found_without_any_taste_and_counts_more_with_it(world, spark):
    follows = [{"user_id": user, "creator_id": 2, "followed_ds": DS} for user in (COLD, KNOWS_OTHER)]
    given = arguments({**world, "features.user_follows": table_of(spark, "features.user_follows", follows)}, RECALL)
    rows = found_by(given, "creator").collect()
    best = {user: max(r["score"] for r in of_user(rows, user)) for user in (COLD, KNOWS_ONE, KNOWS_OTHER)}
    assert {r["item_id"] for r in of_user(rows, COLD)} <= set(SECOND)
    # the first item of a creator scores 1: by 0.2 of a follow, by a share of 1 of the taste, by both
    assert best == pytest.approx({COLD: 0.2, KNOWS_ONE: 1.0, KNOWS_OTHER: 1.2})


def test_a_day_without_data_has_no_candidates(world):
    given = arguments(world, recall.CONTRACT.inputs)
    empty = {k: v if isinstance(v, Path) else v.limit(0) for k, v in given.items()}
    assert found_by(empty, *CHANNELS).count() == 0


@pytest.mark.parametrize("lacking", ["silver.surveys", "features.user_context", "features.user_profile"])
def test_a_market_without_the_data_of_a_channel_goes_without_it(world, raw, lacking):
    reads = [n for n, each in CHANNELS.items() if any(getattr(i, "table", "") == lacking for i in each.channel.inputs)]
    given = arguments({**world, lacking: world[lacking].limit(0)}, recall.CONTRACT.inputs)
    assert (
        reads and found_by(given, *reads, "item_cf").select("channel").distinct().collect()[0]["channel"] == "item_cf"
    )


# -- the recall table ----------------------------------------------------------------------------


def test_two_builds_on_other_partitions_are_equal(world, built):
    assert build(world, lambda frame: frame.repartition(5)) == built


def test_no_candidate_is_ineligible_though_the_most_popular_is(built, raw):
    assert set(NOT_ELIGIBLE) & {r["item_id"] for rows in raw.values() for r in rows}, "or this says nothing"
    assert not set(NOT_ELIGIBLE) & {r["item_id"] for r in built}
    assert 999_999 not in {r["item_id"] for r in built}


@pytest.mark.parametrize(("repeat", "found"), [((), {3}), (("a",), {1, 3}), (("*",), {1, 2, 3})])
def test_what_was_bought_comes_back_only_where_its_category_repeats(frame, repeat, found):
    daily = "ds date, user_id bigint, item_id bigint, strength double, purchases int"
    rows = [
        # bought a month ago, and clicked since; 3 was only clicked
        ("2024-02-10", 1, 1, 5.0, 1),
        ("2024-03-09", 1, 1, 1.0, 0),
        ("2024-02-10", 1, 2, 5.0, 1),
        ("2024-02-10", 1, 3, 1.0, 0),
    ]
    items = frame("ds date, item_id bigint, category string", [(DS, 1, "a"), (DS, 2, None), (DS, 3, "b")])
    params, market = own_history.Params(), Market("t", repeat_categories=repeat)
    made = own_history.recall(frame(daily, rows), items, days=DAYS, params=params, market=market).collect()
    assert {r["item_id"] for r in made} == found


def test_only_active_users_have_candidates(built, raw):
    assert of_user(raw["own_history"], GONE)
    assert not of_user(built, GONE)


def test_ranks_run_from_1_by_score(built):
    groups: dict[tuple, list] = {}
    for row in built:
        groups.setdefault((row["channel"], row["user_id"]), []).append(row)
    assert {channel for channel, _ in groups} == set(CHANNELS)
    for rows in groups.values():
        assert [r["rank"] for r in rows] == list(range(1, len(rows) + 1))
        assert [r["score"] for r in rows] == sorted((r["score"] for r in rows), reverse=True)


def test_the_depth_keeps_the_first_and_a_channel_can_be_off(world):
    everything = build(world, audited=1.0)
    found = build(world, audited=0.0, off=("popular",), options={"own_history": {"half_life_days": 30.0}})
    depth = {name: each.channel.depth for name, each in CHANNELS.items()}
    assert {r["audited"] for r in everything} == {True} and max(r["rank"] for r in everything) <= AUDITED_DEPTH
    kept = [r for r in everything if r["rank"] <= depth[r["channel"]] and r["channel"] != "popular"]
    assert [(r["channel"], r["user_id"], r["item_id"]) for r in found] == [
        (r["channel"], r["user_id"], r["item_id"]) for r in kept
    ]
