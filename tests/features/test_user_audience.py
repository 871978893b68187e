from __future__ import annotations

import pytest

from features.user_audience import CONTRACT, NAME, Params, Rule, build
from jobs.contract import DayRange, digest, make_params
from jobs.errors import ContractError
from jobs.runner import conform

PROFILE = (
    "ds date, user_id bigint, gender string, age_band string, income_band string, region string, city_tier int, "
    "device string, language string"
)
DS = "2024-03-10"


def user(user_id, gender=None, age_band=None, income_band=None, city_tier=None):
    return (DS, user_id, gender, age_band, income_band, "north", city_tier, None, None)


def labels(frame, *users, **params):
    made = build(frame(PROFILE, list(users)), days=DayRange.day(DS), params=Params(**params))
    found = sorted((r["user_id"], r["label"]) for r in conform(CONTRACT, made).collect())
    return found


def test_attributes_are_composed_where_all_are_known(frame):
    users = [
        user(1, "male", "25_34", city_tier=2),
        user(2, "male", "25_34"),
        user(3, age_band="65+", income_band="low"),
    ]
    assert labels(frame, *users, rules=()) == [
        (1, "gender=male, age_band=25_34, city_tier=2"),
        (3, "age_band=65+, income_band=low"),
    ]


def test_a_rule_needs_every_named_attribute(frame):
    users = [
        user(1, "female", "25_34", city_tier=1),
        user(2, "female", "25_34", city_tier=2),
        user(3, "female", "35_44", city_tier=1),
        user(4, None, "25_34", city_tier=1),
        user(5, "female", "25-34", city_tier=1),
    ]
    assert labels(frame, *users, compositions=()) == [(u, "women 25-34 in tier-1 cities") for u in (1, 5)]


def test_rules_of_a_market_are_read_and_checked():
    given = {"rules": [{"label": "north", "region": ["north"], "city_tier": [1, 2]}], "compositions": [["gender"]]}
    params = make_params(Params, given, "market test")
    assert params.rules == (Rule("north", region=("north",), city_tier=(1, 2)),)
    assert digest(params) != digest(Params())


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"rules": ({"label": "x", "shoe_size": ["42"]},)}, "unknown options .'shoe_size'."),
        ({"rules": ({"region": ["north"]},)}, "mapping with a label"),
        ({"rules": ({"label": "x"},)}, "names no attribute"),
        ({"rules": ({"label": "x", "city_tier": ["1"]},)}, "must be int"),
        ({"rules": ({"label": "x", "region": "north"},)}, "must be a list of values"),
        ({"rules": (Rule("x", gender=("f",)), Rule("x", gender=("m",)))}, "more than one rule"),
        ({"compositions": (("gender", "age"),)}, "must be a list of some of"),
        ({"compositions": ("gender",)}, "must be a list of some of"),
    ],
)
def test_a_wrong_rule_is_refused_with_a_sentence(wrong, message):
    with pytest.raises(ContractError, match=f"{NAME}: .*{message}"):
        Params(**wrong)


def test_a_rule_named_like_a_composition_labels_once(frame):
    rules = (Rule("gender=male", gender=("male",)),)
    assert labels(frame, user(1, "male"), compositions=(("gender",),), rules=rules) == [(1, "gender=male")]


def test_without_rules_or_users_there_are_no_labels(frame):
    assert labels(frame, user(1, "male"), compositions=(), rules=()) == []
    assert labels(frame) == []


def test_labels_are_sensitive_and_rows_are_of_people():
    assert CONTRACT.column("label").sensitive and CONTRACT.column("user_id").subject
