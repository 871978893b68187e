"""Every label of a night's lists derived again from the tables; and a list that breaks a rule is not published."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from jobs import releases, steps
from jobs.contract import DayRange, make_params
from jobs.errors import CheckFailed
from jobs.runner import Staged
from models import recommendations
from models.messages import messages
from models.surfaces import surfaces
from quality.gate import run_gate
from tests.e2e.conftest import NIGHT

DAY = dt.date.fromisoformat(NIGHT)
PARAMS = recommendations.Params()


@pytest.fixture(scope="module")
def night(world):
    """The tables of the night that a reader of labels would look into, as frames."""

    def rows(name: str, **where) -> pd.DataFrame:
        # keys are larger than what a float holds exactly, which pandas would make of a column with nulls
        return world.lake.rows(name, **where).to_pandas(integer_object_nulls=True)

    def days_before(name: str, days: int) -> pd.DataFrame:
        found = rows(name)
        return found[(found["ds"] <= DAY) & (found["ds"] > DAY - dt.timedelta(days=days))]

    release = releases.current(world.lake)["release_id"]
    return SimpleNamespace(
        lists=rows("serving.recommendations", release_id=release),
        log=rows("serving.decision_log", release_id=release),
        ranked=rows("candidates.ranked", columns=["user_id", "item_id", "rank", "score"], ds=NIGHT).set_index(
            ["user_id", "item_id"]
        ),
        fallback=rows("serving.fallback", release_id=release),
        items=rows("silver.items", ds=NIGHT).set_index("item_id"),
        stats=rows("features.item_stats", ds=NIGHT).set_index("item_id"),
        creators=rows("features.creator_stats", ds=NIGHT).set_index("creator_id"),
        people=rows("silver.creators", ds=NIGHT).set_index("creator_id"),
        events=rows("silver.events", columns=["ds", "user_id", "item_id", "at_ms", "action"]),
        vectors={
            r["item_id"]: np.array(r["vector"]) for r in world.lake.rows("features.item_content", ds=NIGHT).to_pylist()
        },
        contexts=rows("candidates.contexts", ds=NIGHT).set_index(["surface", "user_id"]),
        interests=rows("features.user_interests", ds=NIGHT).set_index(["user_id", "kind", "value"])["share"],
        languages=rows("silver.users", ds=NIGHT).set_index("user_id")["language"],
        curated=rows("silver.curated", ds=NIGHT),
        week=days_before("silver.user_item_daily", 7),
        ever=days_before("silver.user_item_daily", 90),
        prices=days_before("silver.items", 28).groupby("item_id")["price_minor"].max(),
        ratings=days_before("silver.item_daily", 28).groupby("item_id")[["rating_sum", "ratings"]].sum(),
        market=world.settings.market,
    )


@pytest.fixture(scope="module")
def labels(night):
    """Every row with each of its labels and, by the row's user and place, what was decided."""
    placed = {
        (log.surface, log.user_id, p["rank"]): SimpleNamespace(**p)
        for log in night.log.itertuples()
        for p in log.placed
    }
    return [
        (
            row,
            placed[row.surface, row.user_id, row.rank],
            label["kind"],
            label["code"],
            label["text"],
            json.loads(label["evidence"]),
        )
        for row in night.lists.itertuples()
        for label in row.reasons
    ]


# -- one function a code: what must be true of the row, and the values of its text ----------------


def liked(night, user: int, item: int) -> bool:
    own = night.ever[(night.ever["user_id"] == user) & (night.ever["item_id"] == item)]
    return bool((own["strength"] > 0).any())


def percent(share: float) -> int:
    """Rounded as Spark does, halves up."""
    return int(np.floor(round(100 * share, 9) + 0.5))


def again(night, row, placed, evidence):
    assert "own_history" in evidence["channels"] and liked(night, row.user_id, row.item_id)
    own = night.ever[(night.ever["user_id"] == row.user_id) & (night.ever["item_id"] == row.item_id)]
    repeats = night.items.loc[row.item_id, "category"] in night.market.repeat_categories
    assert repeats or not (own["purchases"] > 0).any()
    assert evidence["original_id"] == night.items.loc[row.item_id, "original_id"]
    return {}


def followed(night, row, placed, evidence):
    """From the raw events: the last thing said of the creator is that the user follows them."""
    creator = night.items.loc[row.item_id, "creator_id"]
    theirs = night.items.index[night.items["creator_id"] == creator]
    told = night.events[(night.events["user_id"] == row.user_id) & night.events["item_id"].isin(theirs)]
    told = told[told["action"].isin(("follow_author", "unfollow_author", "block_author")) & (told["ds"] <= DAY)]
    follows = told[told["action"] == "follow_author"]
    assert told.sort_values("at_ms")["action"].iloc[-1] == "follow_author"
    known = night.people.loc[creator]
    assert evidence == {"creator": known["original_id"], "followed_ds": str(follows["ds"].max())}
    return {"creator": known["name"]}


def because_of(night, row, placed, evidence):
    seed = night.items.loc[row.seed_item_id]
    assert seed["original_id"] == evidence["seed_original_id"] and row.seed_item_id != row.item_id
    assert liked(night, row.user_id, row.seed_item_id)
    return {"seed": seed["title"]}


def style_match(night, row, placed, evidence):
    category = night.items.loc[row.item_id, "category"]
    own = night.week[
        (night.week["user_id"] == row.user_id) & ((night.week["clicks"] > 0) | (night.week["purchases"] > 0))
    ]
    said = night.events[(night.events["user_id"] == row.user_id) & (night.events["action"] == "favourite")]
    saved = said[(said["ds"] <= DAY) & (said["ds"] > DAY - dt.timedelta(days=7))]
    touched = {*own["item_id"], *saved["item_id"]}
    of_category = {i for i in touched if i != row.item_id and night.items["category"].get(i) == category}
    cosine = np.mean([night.vectors[row.item_id] @ night.vectors[i] for i in of_category])
    assert evidence["style_items"] == len(of_category) and evidence["category"] == category
    assert evidence["style_match"] == pytest.approx(cosine, abs=0.015) and cosine >= PARAMS.min_match - 0.015
    return {"percent": percent(evidence["style_match"]), "items": len(of_category), "category": category}


def _interest(kind):
    def holds(night, row, placed, evidence):
        value = night.items.loc[row.item_id, kind]
        share = night.interests[row.user_id, kind, value]
        assert evidence == {kind: value, f"{kind}_share": pytest.approx(share, abs=1e-4)} and share >= PARAMS.min_share
        return {kind: value, "percent": percent(evidence[f"{kind}_share"])}

    return holds


def curated(night, row, placed, evidence):
    shown_on = pd.Timestamp(DAY + dt.timedelta(days=1))
    entries = night.curated[(night.curated["item_id"] == row.item_id) & (night.curated["surface"] == row.surface)]
    local = {
        c: pd.to_datetime(entries[c], unit="ms", utc=True)
        .dt.tz_convert(night.market.timezone)
        .dt.tz_localize(None)
        .dt.normalize()
        for c in ("starts_at_ms", "ends_at_ms")
    }
    assert ((local["starts_at_ms"] <= shown_on) & (local["ends_at_ms"] >= shown_on)).any()
    assert row.slot_type == "curated"
    return {}


def discovery(night, row, placed, evidence):
    stats = night.stats.loc[row.item_id]
    holds = {
        "long_tail": lambda: stats["is_long_tail"],
        "new_item": lambda: stats["age_days"] < 7,
        "new_creator": lambda: night.creators.loc[stats["creator_id"], "stage"] == "novice",
    }
    assert row.slot_type == "exploration" and holds[evidence["arm"]]() and 0 < evidence["propensity"] < 1
    assert (placed.arm, placed.propensity) == (evidence["arm"], evidence["propensity"])
    return {}


def short_on_the_way(night, row, placed, evidence):
    context = night.contexts.loc[(row.surface, row.user_id)]
    length = night.items.loc[row.item_id, "duration_ms"]
    assert (
        context["context"] == row.context == "commute" and context["commute_share"] == evidence["commute_share"] >= 0.5
    )
    assert 0 < length == evidence["duration_ms"] <= PARAMS.short_ms
    return {"minutes": int(np.ceil(length / 60_000))}


def time_at_the_weekend(night, row, placed, evidence):
    assert (DAY + dt.timedelta(days=1)).weekday() >= 5
    length = night.items.loc[row.item_id, "duration_ms"]
    assert length == evidence["duration_ms"] >= PARAMS.long_ms
    return {"minutes": int(np.ceil(length / 60_000))}


def price_drop(night, row, placed, evidence):
    now, highest = int(night.items.loc[row.item_id, "price_minor"]), int(night.prices[row.item_id])
    assert evidence == {"highest_price_minor": highest, "price_minor": now}
    assert 1 - now / highest >= PARAMS.min_drop - 1e-6
    return {"percent": percent(round(1 - now / highest, 6))}


def rated(night, row, placed, evidence):
    total, count = night.ratings.loc[row.item_id]
    assert evidence["ratings_28d"] == count >= PARAMS.min_ratings
    assert (
        evidence["rating_28d"] == pytest.approx(total / count, abs=1e-4) and total / count >= PARAMS.min_rating - 1e-4
    )
    return {"rating": np.floor(10 * evidence["rating_28d"] + 0.5) / 10, "ratings": int(count)}


def new(night, row, placed, evidence):
    offered = pd.to_datetime(night.items.loc[row.item_id, "created_at_ms"], unit="ms", utc=True)
    days = (DAY - offered.tz_convert(night.market.timezone).date()).days
    assert evidence == {"age_days": days} and 0 <= days < PARAMS.new_days
    return {"days": days}


def popular(night, row, placed, evidence):
    people = night.week[(night.week["item_id"] == row.item_id) & (night.week["targets"] > 0)]["user_id"].nunique()
    assert evidence == {"people_7d": people} and people >= PARAMS.min_people
    return {"people": people}


def among_popular(night, row, placed, evidence):
    popularity = night.stats.loc[row.item_id, "popularity"]
    assert evidence == {"popularity": pytest.approx(popularity)} and popularity >= 0.8
    return {"percent": int(np.floor(100 * popularity))}


def similar_taste(night, row, placed, evidence):
    assert row.slot_type == "organic" and row.model_version != "popularity"
    assert evidence["model_version"] == row.model_version and evidence["score"] == pytest.approx(row.score, abs=1e-9)
    ranked = night.ranked.loc[(row.user_id, row.item_id)]
    assert evidence["rank_before"] == ranked["rank"] <= PARAMS.high_place and ranked["score"] == row.score
    return {}


def suggested(night, row, placed, evidence):
    assert len(row.reasons) == 1
    return {}


KINDS = {
    "basic": [again, followed, because_of, style_match, popular, among_popular, similar_taste, suggested],
    "scenario": [curated, discovery, short_on_the_way, time_at_the_weekend],
    "value": [price_drop, rated, new],
}
TRUTH = {each.__name__: (kind, each) for kind, all_of in KINDS.items() for each in all_of}
TRUTH |= {kind: ("basic", _interest(kind)) for kind in ("brand", "category")}


def test_no_label_of_the_night_is_untrue(night, labels):
    told = Counter()
    for row, placed, kind, code, text, evidence in labels:
        right_kind, holds = TRUTH[code]
        values = holds(night, row, placed, evidence)
        tag = night.languages.get(row.user_id)
        assert row.language == ("zh" if str(tag).startswith("zh") else "en")
        assert (kind, text) == (right_kind, messages()[row.language][code]["text"].format(**values)), (
            row.item_id,
            code,
        )
        said = [label["code"] for label in row.reasons]
        if code == ("style_match" if "style_match" in said else said[0]):
            assert row.detail == messages()[row.language][code]["detail"].format(**values)
        told[code] += 1
    # the world is small: some scenarios may be missing, the common reasons may not
    common = "again followed because_of category brand popular similar_taste style_match discovery"
    assert set(common.split()) <= set(told)
    assert set(night.lists["language"]) == {"en", "zh"}


def test_a_row_has_one_main_reason_and_up_to_three_more(night):
    assert set(night.lists["reasons"].map(len)) <= {1, 2, 3, 4}
    assert all(len({label["code"] for label in reasons}) == len(reasons) for reasons in night.lists["reasons"])


def test_fallback_lists_tell_how_many_liked_an_item(night):
    everyone = night.fallback[night.fallback["segment"] == "everyone"]
    for row in everyone.itertuples():
        of_item = night.week[(night.week["item_id"] == row.item_id) & (night.week["targets"] > 0)]
        people = of_item["user_id"].nunique()
        assert json.loads(row.reasons[0]["evidence"]) == {"people_7d": people}
        assert row.reasons[0]["code"] == ("popular" if people else "suggested")


# -- the log and the gate ------------------------------------------------------------------------


def test_the_log_holds_every_row_and_what_was_removed(night):
    decided = {(r.user_id, p["rank"]): p["item_id"] for r in night.log.itertuples() for p in r.placed}
    served = {(r.user_id, r.rank): r.item_id for r in night.lists.itertuples()}
    assert decided == served
    for row in night.log.itertuples():
        placed = {p["item_id"] for p in row.placed}
        removed = {e["item_id"] for e in row.effects if e["action"] == "removed"}
        assert not placed & removed and len(row.placed) == 20
        explored = surfaces(night.market)["feed"].under(row.context).rules["explore"]["places"]
        assert [p["rank"] for p in row.placed if p["arm"]] == list(explored)


def test_what_was_shown_three_times_in_three_days_and_never_clicked_rests(night):
    recent = night.week[night.week["ds"] > DAY - dt.timedelta(days=3)]
    sums = recent.groupby(["user_id", "item_id"])[["impressions", "clicks"]].sum()
    often = set(sums[(sums["impressions"] >= 3) & (sums["clicks"] == 0)].index)
    assert often and not often & set(zip(night.lists["user_id"], night.lists["item_id"]))


def test_a_list_that_breaks_a_rule_stops_the_publish(world, night, monkeypatch):
    world.enter(monkeypatch)
    off = int(night.stats.index[~night.stats["is_eligible"]][0])
    user = int(night.log["user_id"].iloc[0])
    before = len(releases.history(world.lake))
    with steps.opened("demo", "planted") as runner:
        node = runner.catalog.node("serving.recommendations")
        arguments, _ = runner.resolve(node, DayRange.day(DAY))
        first = F.transform("placed", lambda p, n: F.when(n == 0, p.withField("item_id", F.lit(off))).otherwise(p))
        log = arguments["decision_log"]
        arguments["decision_log"] = log.withColumn(
            "placed", F.when(F.col("user_id") == user, first).otherwise(F.col("placed"))
        )
        params = make_params(node.params, {}, "test")
        made = node.build(**arguments, days=DayRange.day(DAY), params=params, market=world.settings.market)
        runner.stages.write(node.contract, made.fillna({"model_version": "m"}), "planted")
        staged = Staged(node.name, DayRange.day(DAY), "planted", 0.0, {}, {}, "")
        with pytest.raises(CheckFailed, match="serving.recommendations: no_rows_where.*a list breaks a rule.* found"):
            run_gate(runner, [staged], "serving", DAY)
        runner.lake.sweep(node.contract, "planted")
    assert len(releases.history(world.lake)) == before
