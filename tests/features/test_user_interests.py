from __future__ import annotations

import pytest

from features.user_interests import CONTRACT, Params, build, price_band
from jobs.contract import DayRange
from jobs.errors import SettingsError
from jobs.runner import conform

PAIRS = "ds date, user_id bigint, item_id bigint, strength double"
ITEMS = "ds date, item_id bigint, category string, brand string, creator_id bigint, price_minor bigint"
DS = "2024-04-10"
TWO_ITEMS = [(DS, 10, "shoes", "acme", 7, 100), (DS, 11, "books", None, None, None)]


def interests(frame, pairs, items=TWO_ITEMS, **params):
    made = build(frame(PAIRS, pairs), frame(ITEMS, items), days=DayRange.day(DS), params=Params(**params))
    return {(r["user_id"], r["kind"], r["value"]): (r["weight"], r["share"]) for r in conform(CONTRACT, made).collect()}


def test_strengths_decay_and_share_out_within_their_kind(frame):
    # 4 a half-life (14 days) ago is 2; 6 today: 2 / 8 and 6 / 8
    found = interests(frame, [("2024-03-27", 1, 10, 4.0), (DS, 1, 11, 6.0)])
    assert found[1, "category", "shoes"] == (2.0, 0.25)
    assert found[1, "category", "books"] == (6.0, 0.75)


def test_an_item_speaks_for_each_kind_it_has_a_value_of(frame):
    found = interests(frame, [(DS, 1, 10, 1.0), (DS, 1, 11, 1.0)])
    # 100 is in [64, 128): band 6
    assert {k[1:] for k in found} == {
        ("category", "shoes"),
        ("category", "books"),
        ("brand", "acme"),
        ("creator", "7"),
        ("price_band", "6"),
    }
    assert found[1, "brand", "acme"] == (1.0, 1.0)


def test_days_add_up_and_the_91st_is_forgotten(frame):
    # 11 January is 90 days before; 27 March a half-life: 1 + 2 / 2
    pairs = [("2024-01-11", 1, 10, 1e6), (DS, 1, 10, 1.0), (DS, 2, 11, 1.0), ("2024-03-27", 2, 11, 2.0)]
    found = interests(frame, pairs)
    assert found[1, "category", "shoes"] == (1.0, 1.0)
    assert found[2, "category", "books"] == (2.0, 1.0)


def test_only_the_top_values_of_a_kind_are_kept_and_shares_stay_parts_of_all(frame):
    items = [(DS, i, f"c{i}", None, None, None) for i in (1, 2, 3)]
    found = interests(frame, [(DS, 1, 1, 1.0), (DS, 1, 2, 2.0), (DS, 1, 3, 1.0)], items, top=2)
    # the tie of c1 and c3 goes to the first by name
    assert found == {(1, "category", "c2"): (2.0, 0.5), (1, "category", "c1"): (1.0, 0.25)}


def test_pairs_without_strength_or_with_an_unknown_item_say_nothing(frame):
    assert interests(frame, [(DS, 1, 10, 0.0), (DS, 1, 99, 1.0)]) == {}


def test_price_bands_double(frame):
    rows = frame("price bigint", [(0,), (1,), (127,), (128,), (None,)])
    found = {r["price"]: r["band"] for r in rows.withColumn("band", price_band(rows["price"])).collect()}
    assert found == {0: None, 1: "0", 127: "6", 128: "7", None: None}


def test_a_shorter_horizon_forgets(frame):
    # 10 days that end on 10 April begin on the 1st
    found = interests(frame, [("2024-03-31", 1, 10, 9.0), ("2024-04-01", 1, 11, 1.0)], horizon=10)
    assert {key[1:] for key in found} == {("category", "books")}


@pytest.mark.parametrize("horizon", [0, 91])
def test_a_horizon_that_is_not_read_is_refused(horizon):
    with pytest.raises(SettingsError, match=f"features.user_interests: horizon is {horizon}, .* from 1 to 90 days"):
        Params(horizon=horizon)
