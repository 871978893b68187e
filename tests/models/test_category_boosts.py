from __future__ import annotations

import pytest

from jobs.contract import DayRange
from jobs.runner import conform
from models.category_boosts import CONTRACT, Params, build

DS = "2024-03-10"
INTERESTS = "ds date, user_id bigint, kind string, value string, share double"
PROFILE = "ds date, user_id bigint, consent_personalisation boolean"


@pytest.fixture
def boosts(frame):
    def made(interests, consents, **options):
        profile = frame(PROFILE, [(DS, user, agreed) for user, agreed in consents.items()])
        rows = build(frame(INTERESTS, interests), profile, days=DayRange.day(DS), params=Params(**options))
        found = conform(CONTRACT, rows).orderBy("user_id", "rank").collect()
        return [(r["user_id"], r["category"], r["rank"], r["boost"]) for r in found]

    return made


def test_a_factor_grows_with_the_share_of_the_interests(boosts):
    interests = [
        (DS, 1, "category", "shoes", 0.7),
        (DS, 1, "category", "books", 0.3),
        (DS, 1, "brand", "acme", 1.0),  # search knows categories only
    ]
    # 1 + 0.7 and 1 + 0.3; with half the strength 1 + 0.35 and 1 + 0.15
    assert boosts(interests, {1: True}) == [(1, "shoes", 1, 1.7), (1, "books", 2, 1.3)]
    assert [b for *_, b in boosts(interests, {1: True}, strength=0.5)] == [1.35, 1.15]


def test_without_consent_there_is_no_factor(boosts):
    interests = [(DS, user, "category", "shoes", 1.0) for user in (1, 2, 3)]
    assert [user for user, *_ in boosts(interests, {1: True, 2: False})] == [1]


def test_few_and_clear_interests_count_and_ties_go_by_name(boosts):
    shares = {"d": 0.3, "c": 0.3, "b": 0.3, "a": 0.06, "z": 0.04}
    interests = [(DS, 1, "category", name, share) for name, share in shares.items()]
    assert [name for _, name, *_ in boosts(interests, {1: True})] == ["b", "c", "d", "a"]
    assert [name for _, name, *_ in boosts(interests, {1: True}, top=2)] == ["b", "c"]
