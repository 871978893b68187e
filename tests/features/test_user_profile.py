from __future__ import annotations

import datetime as dt

import pytest

from features.user_profile import CONTRACT, Params, build
from jobs.contract import DayRange
from jobs.errors import ContractError
from jobs.runner import conform
from jobs.settings import Market

USERS = (
    "ds date, user_id bigint, registered_at_ms bigint, birth_year int, age_band string, gender string, "
    "income_band string, region string, city_tier int, device string, language string"
)
CONSENT = "ds date, user_id bigint, purpose string, granted boolean"
DS = "2024-03-10"


def ms(text: str) -> int:
    return int(dt.datetime.fromisoformat(text + "+00:00").timestamp() * 1000)


def user(user_id, registered=None, birth_year=None, ds=DS, age_band=None):
    return (ds, user_id, registered and ms(registered), birth_year, age_band, "f", None, "north", 1, "phone", "en")


def profile(frame, users, consent=(), timezone="UTC"):
    made = build(
        frame(USERS, users),
        frame(CONSENT, list(consent)),
        days=DayRange.day(DS),
        params=Params(),
        market=Market("test", timezone=timezone),
    )
    return {r["user_id"]: r for r in conform(CONTRACT, made).collect()}


def test_without_a_consent_feed_everyone_is_granted(frame):
    found = profile(frame, [user(1)])[1]
    assert found["consent_personalisation"] is True
    assert found["consent_ads"] is True


def test_silence_in_a_consent_feed_is_a_refusal(frame):
    found = profile(frame, [user(1), user(2)], [(DS, 2, "personalisation", True)])
    assert (found[1]["consent_personalisation"], found[1]["consent_ads"]) == (False, False)


def test_consent_is_given_by_purpose(frame):
    found = profile(frame, [user(2)], [(DS, 2, "personalisation", True)])[2]
    assert (found["consent_personalisation"], found["consent_ads"]) == (True, False)


def test_withdrawn_consent_is_a_refusal(frame):
    found = profile(frame, [user(1)], [(DS, 1, "personalisation", False), (DS, 1, "ads", True)])[1]
    assert (found["consent_personalisation"], found["consent_ads"]) == (False, True)


def test_a_consent_feed_that_begins_later_leaves_earlier_days_granted(frame):
    found = profile(frame, [user(1)], [("2024-03-11", 2, "personalisation", True)])[1]
    assert found["consent_personalisation"] is True


def test_tenure_counts_days_and_the_first_seven_are_new(frame):
    found = profile(
        frame, [user(1, "2024-03-10T09:00:00"), user(2, "2024-03-04T00:00:00"), user(3, "2024-03-03T23:59:59"), user(4)]
    )
    assert [(found[i]["tenure_days"], found[i]["is_new"]) for i in (1, 2, 3)] == [(0, True), (6, True), (7, False)]
    assert (found[4]["tenure_days"], found[4]["is_new"]) == (None, False)


def test_tenure_is_in_days_of_the_market(frame):
    # 20:00 UTC on the 9th is 04:00 on the 10th in Shanghai
    assert profile(frame, [user(1, "2024-03-09T20:00:00")], timezone="Asia/Shanghai")[1]["tenure_days"] == 0


def test_age_is_from_the_year_of_birth(frame):
    found = profile(frame, [user(1, birth_year=1990), user(2)])
    assert (found[1]["age_years"], found[2]["age_years"]) == (34, None)


def test_the_age_band_is_as_delivered_else_from_the_age(frame):
    ages = {1: 17, 2: 18, 3: 24, 4: 25, 5: 54, 6: 55, 7: 90}
    users = [user(i, birth_year=2024 - age) for i, age in ages.items()]
    users += [user(8, birth_year=1990, age_band="30s"), user(9)]
    found = profile(frame, users)
    assert [found[i]["age_band"] for i in range(1, 10)] == [
        "under_18",
        "18_24",
        "18_24",
        "25_34",
        "45_54",
        "55_plus",
        "55_plus",
        "30s",
        None,
    ]


def test_age_edges_ascend():
    with pytest.raises(ContractError, match="age_edges must be ascending"):
        Params(age_edges=(30, 20))


def test_sensitive_attributes_are_marked():
    marked = {c.name for c in CONTRACT.columns if c.sensitive}
    assert marked == {"age_band", "gender", "income_band", "age_years"}
