"""Training rows: labels by closed windows, features as of the evening before, draws that repeat."""

from __future__ import annotations

import datetime as dt
import random

import pytest

from jobs.catalog import discover
from jobs.contract import DayRange, NoParams
from jobs.runner import conform
from models import training_pairs
from models.examples import CONTRACT, build
from models.ranking_features import FEATURES, inputs
from models.training_pairs import Params, shown_pairs, stands_for

DS, SHOWN, KNOWN, BEFORE = (dt.date(2024, 3, d) for d in (10, 9, 8, 1))
CATALOG = discover()
KNOWN_TABLES = {each.argument: each.table for each in inputs()}
USERS, ITEMS = (1, 2), (10, 11, 12)


def rows_of(name: str, ds: dt.date, number: int, seed: int = 0) -> list[tuple]:
    """A row for each key of a day; numbers are ``number`` plus a little of their own."""
    contract = CATALOG.table(name)
    rng = random.Random(f"{name} {ds} {seed}")
    refusing = name == "features.negative_feedback"
    keys = [
        {"user_id": u, "item_id": i, "creator_id": 100, "value": f"c{i}", "kind": kind, "id": ident}
        for u in USERS
        for i in ITEMS
        for kind, ident in (("user", u), ("item", i), ("creator", 100))
    ]
    keys = [key | ({} if refusing else {"kind": "category"}) for key in keys]
    unique = {tuple(k[c] for c in contract.keys): k for k in keys}
    made = []
    for key in unique.values():
        given = {**key, "ds": ds, "category": f"c{key['item_id']}", "brand": "acme"}
        values = {"string": "x", "boolean": True, "date": ds, "double": number + round(rng.random(), 3)}
        values |= {"array<bigint>": [], "array<string>": []}
        made.append(
            tuple(
                given[c.name] if c.name in given else values.get(c.type, number + rng.randrange(5))
                for c in contract.schema
            )
        )
    return made


def frame_of(spark, name: str, rows: list[tuple]):
    return spark.createDataFrame(rows, ", ".join(f"{c.name} {c.type}" for c in CATALOG.table(name).schema))


def outcome(user, item, ds=SHOWN, targets=0, purchases=0, absurd=0):
    given = {"ds": ds, "user_id": user, "item_id": item, "targets": targets, "purchases": purchases}
    # labels are of the day of the showing by right: time spent counts where there was a click
    given |= {"clicks": targets, "dwell_ms": 4000 * targets}
    zero = {"double": float(absurd), "array<string>": []}
    return tuple(given.get(c.name, zero.get(c.type, absurd)) for c in CATALOG.table("silver.user_item_daily").schema)


OUTCOMES = [
    (1, 10, SHOWN, 2, 0),
    (1, 11, DS, 1, 1),
    (1, 12, SHOWN, 0, 1),
    (2, 10, SHOWN, 0, 0),
    (2, 11, DS, 5, 0),
    (2, 12, KNOWN, 1, 1),
]
POSITIONS = [(1, 10, 3), (1, 10, 2), (1, 11, 1), (1, 12, 4), (2, 10, 1), (2, 11, 2), (2, 12, 3)]


BADCASES = "ds date, case_id bigint, user_id bigint, item_id bigint, category string, label int, weight double"
ITEMS_OF_DAY = [(SHOWN, 10, "tea"), (SHOWN, 11, "tea"), (SHOWN, 12, "music")]


def examples(spark, poisoned: bool, badcases=()) -> dict:
    known = {
        argument: rows_of(table, KNOWN, 3) + (rows_of(table, BEFORE, 2) if argument == "user_item_daily" else [])
        for argument, table in KNOWN_TABLES.items()
    }
    if poisoned:
        for argument, table in KNOWN_TABLES.items():
            known[argument] += [row for ds in (SHOWN, DS) for row in rows_of(table, ds, 1_000_000, seed=1)]
    shown = spark.createDataFrame(
        [(SHOWN, *p) for p in POSITIONS], "ds date, user_id bigint, item_id bigint, position int"
    )
    frames = {argument: frame_of(spark, KNOWN_TABLES[argument], rows) for argument, rows in known.items()}
    outcomes = [outcome(u, i, ds, t, p, 1_000_000 if poisoned else 0) for u, i, ds, t, p in OUTCOMES]
    pairs = training_pairs.build(
        shown,
        frame_of(spark, "silver.user_item_daily", outcomes),
        frames["user_item_daily"],
        frames["item_stats"],
        spark.createDataFrame(list(badcases), BADCASES),
        spark.createDataFrame(ITEMS_OF_DAY, "ds date, item_id bigint, category string"),
        days=DayRange.day(DS),
        params=Params(),
    )
    pairs = conform(training_pairs.CONTRACT, pairs)
    made = build(pairs, **frames, days=DayRange.day(DS), params=NoParams())
    return {(r["user_id"], r["item_id"]): r.asDict() for r in conform(CONTRACT, made).collect()}


@pytest.fixture(scope="module")
def clean(spark):
    return examples(spark, poisoned=False)


def test_a_label_is_a_target_action_on_the_day_of_the_showing(clean):
    assert {key for key, row in clean.items() if row["label"]} == {(1, 10)}


def test_a_conversion_counts_on_the_day_and_within_the_label_window(clean):
    # bought on the day itself, on the day after; not on the day before
    assert {key for key, row in clean.items() if row["converted"]} == {(1, 12), (1, 11)}


def test_time_spent_is_that_of_the_day_of_the_showing(clean):
    # two clicks of 4 s each; what is clicked a day later counts for that day
    assert {key: row["dwell_ms"] for key, row in clean.items() if row["dwell_ms"]} == {(1, 10): 8000}


def test_a_pair_is_one_row_at_its_best_position(clean):
    assert set(clean) == {(u, i) for u in USERS for i in ITEMS}
    assert clean[1, 10]["position"] == 2.0
    assert {row["source"] for row in clean.values()} == {"impression"}
    assert {(row["ds"], row["shown_ds"]) for row in clean.values()} == {(DS, SHOWN)}


def test_features_are_those_of_the_evening_before(clean):
    stats = {row[1]: row for row in rows_of("features.item_stats", KNOWN, 3)}
    names = [c.name for c in CATALOG.table("features.item_stats").schema]
    assert {i: clean[1, i]["item_targets_7d"] for i in ITEMS} == {
        i: float(stats[i][names.index("targets_7d")]) for i in ITEMS
    }
    # the last action of the pair was on the evening before
    assert {row["pair_age_days"] for row in clean.values()} == {0.0}
    assert not [name for name in FEATURES if any(row[name] is None for row in clean.values())]


def test_nothing_of_the_day_of_the_showing_or_later_reaches_a_feature(spark, clean):
    assert examples(spark, poisoned=True) == clean


# -- bad cases -----------------------------------------------------------------------------------


def learnt(rows: dict) -> dict:
    return {key: (row["label"], row["weight"], row["case_id"]) for key, row in rows.items() if row["weight"] != 1.0}


def test_an_ordinary_row_weighs_one_and_is_no_case(clean):
    assert {(row["weight"], row["case_id"]) for row in clean.values()} == {(1.0, None)}


def test_a_bad_case_is_a_row_with_its_weight_and_label(spark, clean):
    rows = examples(
        spark,
        False,
        [
            # the pair was clicked, and should not have been shown
            (SHOWN, 51, 1, 10, None, 0, 4.0),
            # nothing is to be learnt of a slow load
            (SHOWN, 52, 2, 11, None, None, 6.0),
            # what is only found on the day after, or was before the showing, teaches nothing of it
            (DS, 53, 2, 12, None, 0, 6.0),
            (KNOWN, 54, 2, 12, None, 0, 6.0),
        ],
    )
    assert clean[1, 10]["label"] == 1 and learnt(rows) == {(1, 10): (0, 4.0, 51)}
    # all else is as it was
    ours = ("label", "weight", "case_id")
    rest = [{k: {n: v for n, v in row.items() if n not in ours} for k, row in of.items()} for of in (rows, clean)]
    assert rest[0] == rest[1]


def test_an_items_fault_is_learnt_of_everyone_and_a_missed_interest_of_what_was_taken(spark):
    rows = examples(
        spark,
        False,
        [
            (SHOWN, 61, None, 12, None, 0, 2.0),
            # of tea person 1 clicked item 10, and person 2 nothing
            (SHOWN, 62, 1, None, "tea", 1, 6.0),
            (SHOWN, 63, 2, None, "tea", 1, 6.0),
            # "shown wrongly" goes before an item's own fault that weighs less
            (SHOWN, 64, 2, 12, None, 0, 4.0),
        ],
    )
    assert learnt(rows) == {(1, 12): (0, 2.0, 61), (2, 12): (0, 4.0, 64), (1, 10): (1, 6.0, 62)}


# -- draws, where nothing was logged as shown ----------------------------------------------------


PEOPLE = range(1, 21)
STATS = "ds date, item_id bigint, is_eligible boolean, target_users_7d int, target_users_28d int"
OFFERED, SOLD_OUT = range(100, 110), range(110, 114)


def owned_by(user):
    """Two items of a user's own that are on offer."""
    return (100 + (user + 1) % 10, 100 + (user + 2) % 10)


@pytest.fixture(scope="module")
def draw(spark):
    """Draws for one positive of each of 20 users, with the inputs' rows in a given order."""
    positives = [(SHOWN, u, 100 + u % 10) for u in PEOPLE]
    # ever fewer people want the offered ones; most want what is sold out
    stats = [(KNOWN, i, i in OFFERED, 0 if i in OFFERED else 99, 200 - i) for i in (*OFFERED, *SOLD_OUT)]
    owned = [(SHOWN, u, i) for u in PEOPLE if u % 2 for i in (100 + u % 10, *owned_by(u), SOLD_OUT[0])]

    def make(order: int = 0, logged: tuple = (), **params):
        rng = random.Random(order)
        shuffled = [rng.sample(rows, len(rows)) for rows in (positives, stats, owned)]
        made = shown_pairs(
            spark.createDataFrame(list(logged), "ds date, user_id bigint, item_id bigint, position int"),
            spark.createDataFrame(shuffled[0], "shown_ds date, user_id bigint, item_id bigint"),
            spark.createDataFrame(shuffled[1], STATS),
            spark.createDataFrame(shuffled[2], "shown_ds date, user_id bigint, item_id bigint"),
            Params(uniform_negatives=4, popular_negatives=2, popular_pool=3, history_negatives=2, **params),
        )
        return sorted((r["source"], r["user_id"], r["item_id"], r["position"]) for r in made.collect())

    return make


@pytest.fixture(scope="module")
def drawn(draw):
    return draw()


def pairs(drawn, source):
    return {(u, i) for s, u, i, _ in drawn if s == source}


def test_draws_repeat_whatever_the_order_of_the_rows(draw, drawn):
    assert draw(order=5) == drawn


def test_another_seed_draws_others(draw, drawn):
    assert pairs(draw(seed=8), "uniform") != pairs(drawn, "uniform")


def test_a_drawn_pair_is_never_a_positive_nor_there_twice(drawn):
    positives = {(u, 100 + u % 10) for u in PEOPLE}
    assert pairs(drawn, "action") == positives
    assert not positives & (pairs(drawn, "uniform") | pairs(drawn, "history"))
    every = [(u, i) for _, u, i, _ in drawn]
    assert len(set(every)) == len(every)


def test_uniform_draws_are_of_what_was_on_offer_and_reach_all_of_it(drawn):
    found = pairs(drawn, "uniform")
    assert {i for _, i in found} == set(OFFERED)
    # 4 draws for each of 20, less those that hit a positive, each other or a popular one
    assert 35 < len(found) <= 80


def test_popular_draws_are_of_the_most_wanted_on_offer(drawn):
    found = pairs(drawn, "popular")
    assert {i for _, i in found} == {100, 101, 102}
    assert 20 < len(found) <= 40


def test_history_draws_are_of_the_user_s_own_items_that_are_on_offer(drawn):
    found = pairs(drawn, "history")
    assert {u for u, _ in found} <= {u for u in PEOPLE if u % 2}
    assert all(i in owned_by(u) for u, i in found)
    # at most two for the one positive; where the positive itself was drawn, it is dropped
    assert max(sum(u == person for u, _ in found) for person in PEOPLE) == 2


def test_a_drawn_row_weighs_as_many_pairs_as_it_stands_for(spark):
    # one positive each of 400 users, ten items on offer, of which users own two
    people, pair = range(1000, 1400), "shown_ds date, user_id bigint, item_id bigint"
    positives = spark.createDataFrame([(SHOWN, u, 100) for u in people], pair)
    stats = spark.createDataFrame([(KNOWN, i, True, 0, 200 - i) for i in OFFERED], STATS)
    owned = spark.createDataFrame([(SHOWN, u, i) for u in people for i in (105, 106)], pair)
    nothing = spark.createDataFrame([], "ds date, user_id bigint, item_id bigint, position int")
    params = Params(uniform_negatives=2, popular_negatives=1, popular_pool=4, history_negatives=1)
    made = stands_for(shown_pairs(nothing, positives, stats, owned, params), stats, owned, params)
    rows = [(r["item_id"], r["source"], r["_pairs"]) for r in made.collect()]
    assert {weight for _, source, weight in rows if source == "action"} == {1.0}
    # missed by two uniform draws: 0.9^2; by one of four popular ones: 3/4; own, by one of two: 1/2
    chances = {101: 1 - 0.81 * 0.75, 104: 1 - 0.81, 105: 1 - 0.81 * 0.5}
    for item, chance in chances.items():
        (weight,) = {w for i, _, w in rows if i == item}
        assert weight == pytest.approx(1 / chance)
    # together they stand for the 400 pairs of every item that was not taken, as near as chance lets
    for item in OFFERED:
        assert item == 100 or sum(w for i, _, w in rows if i == item) == pytest.approx(400, rel=0.25)


def test_a_positive_that_was_shown_is_the_showing_alone_and_draws_nothing(draw):
    found = draw(logged=((SHOWN, 1, 101, 7),))
    assert [row for row in found if row[1] == 1] == [("impression", 1, 101, 7)]
