"""Satisfaction taken apart: planted changes are found where they were planted, and the parts add up."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.contract import DayRange
from quality import attribution
from quality.attribution import ALL, LAYERS, Params, taken_apart

NOW, BEFORE = dt.date(2024, 3, 8), dt.date(2024, 3, 1)


def counts(*rows):
    """Rows as counted: day, dimension, group, showings, satisfied; the whole day is added up from them."""
    made = [dict(zip(("ds", "dimension", "value_group", "n", "satisfied"), r)) for r in rows]
    for ds in {r["ds"] for r in made}:
        of = [r for r in made if r["ds"] == ds]
        whole = {name: sum(r[name] for r in of) for name in ("n", "satisfied")}
        made.append({"ds": ds, "dimension": ALL, "value_group": ALL, **whole})
    return {(r["dimension"], r["value_group"]): r for r in taken_apart(made, NOW, BEFORE)}


def test_a_channel_that_got_worse_is_rate_and_the_others_are_not_moved():
    # item_cf falls from 50 of 100 to 20 of 100; the rest stays at 30 of 100, and shares stay
    found = counts(
        (BEFORE, "channel", "item_cf", 100, 50),
        (BEFORE, "channel", "popular", 100, 30),
        (NOW, "channel", "item_cf", 100, 20),
        (NOW, "channel", "popular", 100, 30),
    )
    worse = found["channel", "item_cf"]
    assert (worse["mix"], worse["rate_effect"]) == (pytest.approx(0), pytest.approx(-0.15))
    assert found["channel", "popular"]["change"] == pytest.approx(0)
    assert worse["layer"] == "candidates"
    assert found[ALL, ALL]["change"] == pytest.approx(-0.15) and found[ALL, ALL]["hi"] < 0


def test_more_of_what_is_liked_less_is_mix():
    # nobody changed: videos 60 of 100, articles 20 of 100; articles went from half to three quarters
    found = counts(
        (BEFORE, "content_type", "video", 200, 120),
        (BEFORE, "content_type", "article", 200, 40),
        (NOW, "content_type", "video", 100, 60),
        (NOW, "content_type", "article", 300, 60),
    )
    assert found["content_type", "article"]["rate_effect"] == found["content_type", "video"]["rate_effect"] == 0
    # each: a quarter of the showings, at 0.2 above or below the middle of 0.35, which is 0.25 and 0.15
    assert found["content_type", "video"]["mix"] == pytest.approx(-0.25 * 0.25)
    assert found["content_type", "article"]["mix"] == pytest.approx(0.25 * -0.15)
    assert found[ALL, ALL]["change"] == pytest.approx(-0.1)


def test_a_new_group_is_mix():
    found = counts((BEFORE, "policy", "old", 100, 40), (NOW, "policy", "old", 100, 40), (NOW, "policy", "new", 100, 80))
    new = found["policy", "new"]
    assert (new["rate_before"], new["rate_effect"]) == (None, 0) and new["mix"] > 0
    assert found["policy", "old"]["mix"] + new["mix"] == pytest.approx(0.2)


def test_a_day_without_showings_is_taken_apart_by_nobody():
    assert counts((NOW, "policy", "old", 100, 40)) == {}
    assert list(taken_apart([], NOW, BEFORE)) == []


GROUP = st.tuples(st.integers(0, 500), st.floats(0, 1))


@given(st.lists(st.tuples(GROUP, GROUP), min_size=1, max_size=6))
def test_the_parts_add_up_to_the_change_whatever_happens(groups):
    rows = []
    for at, sides in enumerate(groups):
        for ds, (n, share) in zip((NOW, BEFORE), sides):
            rows += [(ds, "category", f"c{at}", n, round(n * share))] if n else []
    found = counts(*rows)
    if found:
        parts = [r["change"] for (dimension, _), r in found.items() if dimension == "category"]
        assert sum(parts) == pytest.approx(found[ALL, ALL]["change"], abs=1e-12)


IMPRESSIONS = (
    "ds date, impression_id string, user_id bigint, item_id bigint, surface string, position int, slot_type string, "
    "policy string, terminal string"
)
EVENTS = "ds date, impression_id string, action string, play_ratio double"
ITEMS = "ds date, item_id bigint, content_type string, category string"
PROFILE = "ds date, user_id bigint, region string, tenure_days int"
LISTS = "ds date, user_id bigint, item_id bigint, surface string, rank int, channel string"


def test_a_dead_channel_is_named(frame):
    """On both days user 1 gets item 1 by item_cf and item 2 by nobody's list; on the second, item 1 is rejected."""
    impressions, events, items, profile, lists = [], [], [], [], []
    for ds, action in ((BEFORE, "like"), (NOW, "dislike")):
        for item in (1, 2):
            impressions.append((ds, f"{ds}-{item}", 1, item, "feed", item, "organic", "p", "app"))
            items.append((ds, item, "video", "tea"))
        events += [(ds, f"{ds}-1", action, None), (ds, f"{ds}-1", "view", 0.9), (ds, f"{ds}-2", "view", 0.3)]
        profile.append((ds, 1, "north", 3))
        lists.append((ds - dt.timedelta(days=1), 1, 1, "feed", 1, "item_cf"))
    made = attribution.build(
        frame(IMPRESSIONS, impressions),
        frame(EVENTS, events),
        frame(ITEMS, items),
        frame(PROFILE, profile),
        frame(LISTS, lists),
        days=DayRange.day(NOW),
        params=Params(),
    )
    found = {(r["dimension"], r["value_group"]): r for r in made.collect()}
    assert {d for d, _ in found} == {ALL, *LAYERS}
    whole = found[ALL, ALL]
    # one of two before; a dislike takes back what the view said, so none of two after
    assert (whole["rate_before"], whole["rate"], whole["change"]) == (0.5, 0, -0.5)
    assert found["channel", "item_cf"]["rate_effect"] == -0.5
    assert found["channel", "not from a list"]["change"] == 0
    assert found["tenure", "new"]["n"] == 2
