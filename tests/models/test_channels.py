"""The contract of every candidate channel, present and future, in a planted world of two tastes.

Users like items 1 to 12 or items 21 to 32. User 1001 has all of the first but 12, user 1002 all of the second but
32: the one item that is right for each is the one that is missing.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from jobs.catalog import discover
from jobs.contract import ArtifactInput, DayRange
from jobs.settings import Market
from models import als, item_index, recall
from models.ann import IndexParams, build_index
from models.channels.channel import discover_channels
from models.item_neighbours import Params as NeighbourParams
from models.item_neighbours import build as neighbours

DS = dt.date(2024, 3, 10)
DAYS = DayRange.day(DS)
CHANNELS = discover_channels()
CATALOG = discover()
FIRST, SECOND = list(range(1, 13)), list(range(21, 33))
KNOWS_ONE, KNOWS_OTHER, KNOWS_UNKNOWN, COLD, GONE = 1001, 1002, 1003, 1004, 1005
RIGHT = {KNOWS_ONE: 12, KNOWS_OTHER: 32}
NOT_ELIGIBLE = (2, 31)
IMPERSONAL = {"features.item_stats", "features.user_activity", "silver.curated"}


def likes() -> dict[int, list[int]]:
    """Newest first; each of the crowd likes ten of its twelve."""
    rng = np.random.default_rng(2)
    crowd = {u: rng.permutation(FIRST if u % 2 else SECOND)[:10].tolist() for u in range(1, 41)}
    return {**crowd, KNOWS_ONE: FIRST[:-1], KNOWS_OTHER: SECOND[:-1], KNOWS_UNKNOWN: [999_999], GONE: FIRST[:3]}


def table_of(spark, name: str, rows: list[dict]):
    contract = CATALOG.table(name)
    zero = {"string": None, "boolean": False, "double": 0.0}
    made = [tuple({"ds": DS, **row}.get(c.name, zero.get(c.type, 0)) for c in contract.schema) for row in rows]
    return spark.createDataFrame(made, ", ".join(f"{c.name} {c.type}" for c in contract.schema))


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
    items = [
        {
            "item_id": i,
            "is_eligible": i not in NOT_ELIGIBLE,
            "target_users_7d": 100 if i == 2 else i,
            "category": "a" if i < 20 else "b",
            "vector": [float(i < 20), float(i > 20)],
        }
        for i in FIRST + SECOND
    ]
    interests = [
        {"user_id": u, "kind": "category", "value": "a" if of[0] < 20 else "b", "weight": 1.0, "share": 1.0}
        for u, of in likes().items()
        if of[0] < 40
    ]
    return {
        "features.user_sequence": sequence,
        "features.user_activity": table_of(
            spark, "features.user_activity", [{"user_id": u} for u in (*likes(), COLD) if u != GONE]
        ),
        "features.item_stats": table_of(spark, "features.item_stats", items),
        "features.item_content": table_of(spark, "features.item_content", items),
        "features.user_interests": table_of(spark, "features.user_interests", interests),
        "silver.items": table_of(spark, "silver.items", items),
        "silver.curated": table_of(
            spark, "silver.curated", [{"item_id": i, "ends_at_ms": 10**13, "boost": 1.0} for i in (3, 22)]
        ),
        "candidates.item_neighbours": neighbours(sequence, days=DAYS, params=NeighbourParams()),
        "silver.user_item_daily": table_of(
            spark,
            "silver.user_item_daily",
            [{"user_id": u, "item_id": i, "strength": 2.0, "targets": 1} for u, of in likes().items() for i in of],
        ),
    }


def planted_artifacts(root) -> dict:
    folders = {name: root / name for name in ("models.als", "models.item_index", "models.content_index")}
    for folder in folders.values():
        folder.mkdir()
    ids = np.array(FIRST + SECOND)
    crowd = [(u, i) for u, of in likes().items() if u <= 40 for i in of]
    params = als.Params(factors=2)
    factors = als.fit(
        np.array([u - 1 for u, _ in crowd]),
        np.searchsorted(ids, [i for _, i in crowd]),
        np.full(len(crowd), 2.0),
        (40, 24),
        params,
    )
    np.save(folders["models.als"] / "item_ids.npy", ids)
    np.save(folders["models.als"] / "item_factors.npy", factors)
    (folders["models.als"] / "params.json").write_text(
        '{"factors": 2, "regularization": 0.05, "alpha": 10.0, "iterations": 12, "seed": 7, "min_items": 20}'
    )
    build_index(ids, factors, folders["models.item_index"], item_index.Params())
    content = np.array([[i < 20, i > 20] for i in ids], np.float32)
    build_index(ids, content, folders["models.content_index"], IndexParams())
    return folders


@pytest.fixture(scope="module")
def world(spark, tmp_path_factory):
    return {**planted_tables(spark), **planted_artifacts(tmp_path_factory.mktemp("artifacts"))}


def arguments(world: dict, inputs) -> dict:
    names = {i: i.artifact if isinstance(i, ArtifactInput) else i.table for i in inputs}
    lacking = sorted(set(names.values()) - set(world))
    assert not lacking, f"plant {lacking} in this test's world"
    return {i.argument: world[name] for i, name in names.items()}


@pytest.fixture(scope="module")
def raw(world):
    """What every channel recalls by itself, before the recall table's rules."""
    found = {}
    for name, each in CHANNELS.items():
        made = each.recall(**arguments(world, each.channel.inputs), days=DAYS, params=each.params(), market=Market("t"))
        rows = made.select("ds", "user_id", "item_id", "score", "seed_item_id").collect()
        found[name] = sorted(rows, key=lambda r: (r["user_id"], -r["score"], r["item_id"]))
    return found


def build(world, **params):
    made = recall.build(
        **arguments(world, recall.CONTRACT.inputs), days=DAYS, params=recall.Params(**params), market=Market("t")
    )
    order = ["channel", "user_id", "rank"]
    return made.select(*order, "ds", "item_id", "score", "seed_item_id").orderBy(*order).collect()


@pytest.fixture(scope="module")
def built(world):
    return build(world)


def of_user(rows, user):
    return [r for r in rows if r["user_id"] == user]


def is_personal(name: str) -> bool:
    inputs = CHANNELS[name].channel.inputs
    return any(isinstance(i, ArtifactInput) or i.table not in IMPERSONAL for i in inputs)


def test_there_are_channels():
    assert {"embedding", "item_cf", "own_history", "popular"} <= set(CHANNELS)


@pytest.mark.parametrize("name", CHANNELS)
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


@pytest.mark.parametrize("name", CHANNELS)
def test_a_day_without_data_has_no_candidates(world, name):
    each = CHANNELS[name]
    given = arguments(world, each.channel.inputs)
    empty = {k: v if isinstance(v, Path) else v.limit(0) for k, v in given.items()}
    assert each.recall(**empty, days=DAYS, params=each.params(), market=Market("t")).count() == 0


# -- the recall table ----------------------------------------------------------------------------


def test_two_builds_are_equal(world, built):
    assert build(world) == built


def test_no_candidate_is_ineligible_though_the_most_popular_is(built, raw):
    assert set(NOT_ELIGIBLE) & {r["item_id"] for rows in raw.values() for r in rows}, "or this says nothing"
    assert not set(NOT_ELIGIBLE) & {r["item_id"] for r in built}
    assert 999_999 not in {r["item_id"] for r in built}


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


def test_the_limit_keeps_the_first_and_a_channel_can_be_off(world, built):
    found = build(world, limit=3, off=("popular",), options={"own_history": {"half_life_days": 30.0}})
    assert found == [r for r in built if r["rank"] <= 3 and r["channel"] != "popular"]
