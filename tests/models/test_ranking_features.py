from __future__ import annotations

import datetime as dt

import pytest

from features.negative_feedback import REFUSALS
from jobs.catalog import discover
from jobs.contract import DayRange, Table
from jobs.errors import ContractError
from models import ranking_features
from models.ranking_features import (
    CONTEXT,
    EXPECTED,
    FEATURES,
    INTEREST,
    PAIR,
    PARTS,
    Known,
    assemble,
    inputs,
)

DS = dt.date(2024, 3, 29)
CATALOG = discover()


def sensitive_columns() -> set[str]:
    tables = [n.contract for n in CATALOG.nodes.values() if isinstance(n.contract, Table)]
    return {c.name for table in tables for c in table.columns if c.sensitive}


# -- what may be a feature -----------------------------------------------------------------------


@pytest.mark.parametrize("part", PARTS, ids=lambda p: f"{p.table} of {p.kind or p.key}")
def test_every_feature_is_a_declared_column_that_is_not_sensitive(part):
    contract = CATALOG.table(part.table)
    for column in part.columns:
        assert not contract.column(column).sensitive
        assert contract.column(column).type in ("int", "bigint", "double", "float", "boolean")
    # a row a key: else a pair would become several
    assert list(contract.keys) == (["kind", "id"] if part.kind else [part.key])


def test_no_feature_is_named_after_a_sensitive_column():
    sensitive = sensitive_columns()
    assert {"gender", "age_years", "age_band", "income_band", "birth_year"} <= sensitive
    named = {f for f in FEATURES for s in sensitive if f == s or f.endswith(f"_{s}")}
    assert named == set()


def test_the_list_has_no_feature_of_another_origin_and_none_twice():
    known = [part.prefix + name for part in PARTS for name in part.columns] + [*PAIR, EXPECTED, *INTEREST, *CONTEXT]
    assert sorted(FEATURES) == sorted(known)
    assert len(set(FEATURES)) == len(FEATURES)


def test_the_table_of_every_feature_but_the_context_is_known():
    assert set(ranking_features.SOURCES) == set(FEATURES) - set(ranking_features.CONTEXT)
    assert set(ranking_features.SOURCES.values()) <= {each.table for each in ranking_features.inputs()}


def test_interests_are_shares_by_kind_none_of_them_sensitive():
    kinds = {name.removeprefix("share_") for name in INTEREST}
    assert kinds == {"category", "brand", "creator", "price_band"}
    assert not kinds & sensitive_columns()


def test_training_and_scoring_read_the_same_tables():
    assert [i.table for i in inputs()] == [i.table for i in inputs(lag=2)]
    assert {i.lag for i in inputs(lag=2)} == {2}
    assert next(i.days for i in inputs() if i.table == "silver.user_item_daily") == ranking_features.PAIR_HORIZON == 365
    assert {part.table for part in PARTS} < {i.table for i in inputs()}
    assert len({i.argument for i in inputs()}) == len(inputs())


def test_what_is_known_is_all_inputs_and_no_other():
    frames = dict.fromkeys(i.argument for i in inputs())
    assert Known(frames).frames == frames
    with pytest.raises(ContractError, match=r"lack the tables \['creator_stats'\]"):
        Known({name: None for name in frames if name != "creator_stats"})
    with pytest.raises(ContractError, match=r"not made from \['weather'\]; they read \['creator_stats', "):
        Known({**frames, "weather": None})


# -- their values --------------------------------------------------------------------------------


def table_of(spark, name: str, *rows: dict):
    """Rows of a catalogue table; what is not given is 0, false or empty."""
    contract = CATALOG.table(name)
    zero = {"string": None, "boolean": False, "double": 0.0, "date": DS, "array<bigint>": [], "array<string>": []}
    made = [tuple({"ds": DS, **row}.get(c.name, zero.get(c.type, 0)) for c in contract.schema) for row in rows]
    return spark.createDataFrame(made, ", ".join(f"{c.name} {c.type}" for c in contract.schema))


def day(age: int) -> dt.date:
    return DS - dt.timedelta(days=age)


@pytest.fixture(scope="module")
def found(spark):
    pairs = spark.createDataFrame(
        [(DS, 1, 10, 3, "kept"), (DS, 2, 11, 1, "kept"), (DS, 3, 10, 1, "kept"), (DS, 4, 10, 1, "kept")],
        "ds date, user_id bigint, item_id bigint, position int, source string",
    )
    rows = {
        "features.user_activity": [{"user_id": 1, "clicks_7d": 5, "ctr_28d": 0.25}],
        "features.user_history": [
            {"user_id": 1, "targets": 30},
            {"user_id": 3, "targets": 80},
            {"user_id": 4, "targets": 1},
        ],
        "features.item_demand": [{"item_id": 10, "takers": 5, "share": 0.1, "shape": 2.0}],
        "features.user_profile": [{"user_id": 1, "tenure_days": 40, "city_tier": 2}],
        "features.user_interests": [
            {"user_id": 1, "kind": "category", "value": "shoes", "share": 0.75},
            {"user_id": 1, "kind": "brand", "value": "shoes", "share": 0.5},
            {"user_id": 1, "kind": "price_band", "value": "6", "share": 0.125},
            {"user_id": 1, "kind": "creator", "value": "100", "share": 0.0625},
        ],
        "features.item_stats": [
            {"item_id": 10, "price_minor": 100, "rating_28d": 4.5, "quality": 0.75}
            | {"category": "shoes", "brand": "acme", "creator_id": 100},
        ],
        "features.creator_stats": [{"creator_id": 100, "stage_level": 2, "quality": 0.5, "retention": 0.25}],
        # one number, three kinds
        "features.negative_feedback": [
            {"kind": kind, "id": key, "negative_rate_28d": rate, "fast_skip_rate_28d": 2 * rate}
            for key in (1, 10, 100)
            for kind, rate in (("user", 0.1 * key), ("item", 0.01 * key), ("creator", 0.001 * key))
        ],
        "silver.user_item_daily": [
            {"ds": day(0), "user_id": 1, "item_id": 10, "impressions": 2},
            {"ds": day(14), "user_id": 1, "item_id": 10, "impressions": 1, "targets": 2, "strength": 4.0},
            {"ds": day(28), "user_id": 1, "item_id": 10, "purchases": 1, "strength": 8.0},
            {"ds": day(90), "user_id": 1, "item_id": 10, "targets": 3, "strength": 999.0},  # the 91st day
            {"ds": day(364), "user_id": 1, "item_id": 10, "targets": 1, "strength": 999.0},
            {"ds": day(365), "user_id": 1, "item_id": 10, "targets": 99, "strength": 999.0},  # more than a year
            {"ds": day(-1), "user_id": 1, "item_id": 10, "targets": 99, "strength": 999.0},  # tomorrow
            {"ds": day(0), "user_id": 2, "item_id": 10, "targets": 99, "strength": 999.0},  # another pair
            {"ds": day(300), "user_id": 4, "item_id": 10, "targets": 6},  # before the horizon of the user's history
        ],
    }
    known = Known({i.argument: table_of(spark, i.table, *rows[i.table]) for i in inputs()})
    made = assemble(pairs, DayRange.day(DS), known)
    return {r["user_id"]: r.asDict() for r in made.collect()}


def test_the_pair_s_history_by_hand(found):
    row = found[1]
    # 4 a half-life (14 days) ago and 8 two half-lives ago: 2 + 2
    assert row["pair_strength"] == 4.0
    assert (row["pair_targets"], row["pair_purchases"], row["pair_impressions"]) == (2.0, 1.0, 3.0)
    # days since the last action; the showing of today is none
    assert row["pair_age_days"] == 14.0


def test_what_the_user_is_expected_to_take_by_hand(found):
    row = found[1]
    # taken 14, 90 and 364 days ago: 2 + 3 + 1 times on three days
    assert (row["pair_takings"], row["pair_taken_days"], row["pair_since_taken"]) == (6.0, 3.0, 14.0)
    # 0.1 * (2 + 6) / (2 + 0.1 * 30)
    assert row[EXPECTED] == pytest.approx(0.16)
    # who took much, and none of it: 0.1 * 2 / (2 + 0.1 * 80)
    assert found[3][EXPECTED] == pytest.approx(0.02)
    # of whose history less is remembered than the pair did: 0.1 * (2 + 6) / (2 + 0.1 * 6)
    assert found[4][EXPECTED] == pytest.approx(0.8 / 2.6)


def test_columns_of_user_item_and_profile_are_taken_over(found):
    row = found[1]
    assert (row["user_clicks_7d"], row["user_ctr_28d"], row["profile_tenure_days"], row["profile_city_tier"]) == (
        5.0,
        0.25,
        40.0,
        2.0,
    )
    assert (row["item_price_minor"], row["item_rating_28d"]) == (100.0, 4.5)
    assert (row["position"], row["source"]) == (3.0, "kept")


def test_shares_are_of_the_item_s_own_values_within_their_kind(found):
    row = found[1]
    # the brand "acme" is no interest, although a brand "shoes" is; 100 is price band 6
    shares = [row[f"share_{kind}"] for kind in ("category", "brand", "creator", "price_band")]
    assert shares == [0.75, 0.0, 0.0625, 0.125]


def test_quality_and_stage_are_of_the_item_and_of_its_creator(found):
    row = found[1]
    assert (row["item_quality"], row["creator_quality"]) == (0.75, 0.5)
    assert (row["creator_stage_level"], row["creator_retention"]) == (2.0, 0.25)


def test_refusals_are_of_the_user_the_item_and_the_creator(found):
    row = found[1]
    # 0.1 * 1, 0.01 * 10, 0.001 * 100
    rates = [row[f"{kind}_{name}"] for name in REFUSALS for kind in ("user", "item", "creator")]
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.2, 0.2, 0.2])


def test_what_is_not_known_is_null_and_a_share_is_0(found):
    row = found[2]
    unknown = {name for name in FEATURES if row[name] is None}
    assert unknown == set(FEATURES) - set(INTEREST) - {"position"}
    assert all(row[name] == 0.0 for name in INTEREST)
