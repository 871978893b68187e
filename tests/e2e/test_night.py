"""One night end to end, and the laws that hold over every table that it made."""

import datetime as dt
import json
from pathlib import Path

import pytest
from pyspark.sql import functions as F

from jobs import releases, steps
from jobs.contract import Artifact, DayRange, Table
from jobs.landing import landed_rows
from jobs.ops import INDEX, RUN
from tests.e2e.conftest import FIRST, LAST_HISTORY, NIGHT, land

DAY = dt.date.fromisoformat(NIGHT)
TABLES = [n.contract for n in steps.catalog().nodes.values() if isinstance(n.contract, Table)]
PER_DAY = [t for t in TABLES if t.group in ("bronze", "silver", "features", "examples")]
VERSIONED = [t for t in TABLES if t.append]


@pytest.fixture
def runner(world, monkeypatch):
    world.enter(monkeypatch)
    with steps.opened("demo", "reader") as made:
        yield made


def contents(runner, tables, days):
    return {t.name: releases.content_of(runner, t.name, days) for t in tables if runner.lake.open(t.name) is not None}


def test_the_night_published_one_release_with_lists_for_every_consenting_active_user(runner, world):
    release = releases.current(world.lake)
    assert str(release["ds"]) == NIGHT and release["kind"] == "nightly"
    lists = world.lake.rows("serving.recommendations").to_pandas()
    profile = world.lake.rows("features.user_profile", ds=NIGHT).to_pandas()
    active = world.lake.rows("features.user_activity", ds=NIGHT).to_pandas()
    consenting = set(profile[profile["consent_personalisation"]]["user_id"]) & set(active["user_id"])
    refusing = set(profile[~profile["consent_personalisation"]]["user_id"])
    assert consenting <= set(lists["user_id"]) and not refusing & set(lists["user_id"])
    assert set(lists.groupby("user_id").size()) == {20}


def test_every_list_keeps_the_rules(runner, world):
    lists = world.lake.rows("serving.recommendations").to_pandas()
    items = world.lake.rows("features.item_stats", ds=NIGHT).to_pandas().set_index("item_id")
    category = world.lake.rows("silver.items", ds=NIGHT).to_pandas().set_index("item_id")["category"]
    assert items.loc[lists["item_id"], "is_eligible"].all()
    lists["category"] = lists["item_id"].map(category)
    assert lists.groupby(["user_id", "category"]).size().max() <= 8  # 40 % of 20
    assert not lists.duplicated(["user_id", "item_id"]).any()
    assert sorted(lists["rank"].unique()) == list(range(1, 21))


def test_nobody_is_shown_what_is_for_another_region_or_age(runner, world):
    lists = world.lake.rows("serving.recommendations").to_pandas()[["user_id", "item_id"]]
    items = world.lake.rows("silver.items", ds=NIGHT).to_pandas().set_index("item_id")
    people = world.lake.rows("features.user_profile", ds=NIGHT).to_pandas().set_index("user_id")
    # the year of birth where it is known, else the youngest of the age band
    people["age"] = people["age_years"].fillna(people["age_band"].str.extract(r"^(\d+)", expand=False).astype(float))
    shown = lists.join(items[["regions", "age_limit"]], on="item_id").join(people[["region", "age"]], on="user_id")
    limited = shown[shown["regions"].notna()]
    assert items["regions"].notna().any()
    assert all(region in regions.split("|") for regions, region in zip(limited["regions"], limited["region"]))
    assert (shown["age"] >= shown["age_limit"])[shown["age_limit"] > 0].all()


def test_rejected_and_bought_items_are_not_shown(runner, world):
    lists = world.lake.rows("serving.recommendations").to_pandas()[["user_id", "item_id"]]
    week = world.lake.rows("silver.user_item_daily").to_pandas()
    items = world.lake.rows("silver.items", ds=NIGHT).to_pandas().set_index("item_id")["category"]
    repeats = week["item_id"].map(items).isin(world.settings.market.repeat_categories)
    out = week[(week["rejections"] > 0) | ((week["purchases"] > 0) & ~repeats)]
    out = out[["user_id", "item_id"]].drop_duplicates()
    assert len(out) > 0
    assert lists.merge(out, on=["user_id", "item_id"]).empty


def test_a_model_was_trained_gated_and_pinned(world):
    pins = world.lake.rows("ops.model_pin").to_pylist()
    assert [str(p["ds"]) for p in pins] == [NIGHT] and pins[0]["version"] == "1"
    lists = world.lake.rows("serving.recommendations").to_pandas()
    assert set(lists["model_version"]) == {f"{pins[0]['model']}/1"}


def test_the_weights_of_the_objectives_were_decided_and_logged(world):
    rows = world.lake.rows("ops.objective_weights", ds=NIGHT).to_pylist()
    kinds = set(world.lake.rows("silver.items", ds=NIGHT)["content_type"].to_pylist())
    assert {r["content_type"] for r in rows} <= kinds and len(rows) > 1
    assert {(r["ctr"], r["cvr"], r["dwell"], r["move"]) for r in rows} == {(0.6, 0.3, 0.1, "first")}


def test_every_index_is_measured_and_in_its_log(world):
    rows = world.lake.rows(INDEX.name, ds=NIGHT).to_pylist()
    assert {"models.item_index", "models.content_index"} <= {row["artifact"] for row in rows}
    for row in rows:
        described = json.loads((Path(row["path"]) / "index.json").read_text())
        assert row["recall_at_100"] >= 0.95 and row["count"] > 0
        assert {name: row[name] for name in ("kind", "count", "dimension", "metric", "ids_sha256")} == {
            name: described[name] for name in ("kind", "count", "dimension", "metric", "ids_sha256")
        }


def test_nothing_that_landed_is_lost(world):
    for feed in ("events", "impressions", "orders", "users", "items"):
        counts = world.lake.counts(f"bronze.{feed}")
        days = DayRange(dt.date.fromisoformat(FIRST), DAY)
        assert {d: counts.get(str(d), 0) for d in days} == {
            d: landed_rows(world.settings.landing, "demo", feed, d) for d in days
        }


def test_planted_faults_are_quarantined_and_counted(world):
    planted = json.loads((world.home / "truth" / "demo" / "planted.json").read_text())
    refused = world.lake.rows("ops.quarantine").to_pandas()
    events = refused[refused["source"] == "silver.events"]
    days = {str(d) for d in DayRange(dt.date.fromisoformat(FIRST), DAY)}
    wanted = sum(
        n
        for day, counts in planted["events"].items()
        if day in days
        for kind, n in counts.items()
        if kind.startswith("corrupt.")
    )
    assert wanted > 0
    assert len(events[events["rule"] != "late"]) == wanted


@pytest.mark.slow
def test_the_same_night_again_changes_nothing(runner, world):
    before = contents(runner, PER_DAY + VERSIONED, DayRange.day(NIGHT))
    rows = len(releases.history(world.lake))
    steps.night(NIGHT, "demo", "night-again")
    assert contents(runner, PER_DAY + VERSIONED, DayRange.day(NIGHT)) == before
    assert len(releases.history(world.lake)) == rows


@pytest.mark.slow
@pytest.mark.parametrize("group", ["silver", "features", "examples", "candidates", "audit"])
def test_order_and_partitions_of_its_inputs_change_no_table(runner, world, tmp_path, monkeypatch, group):
    days, nodes = DayRange.day(NIGHT), steps.catalog().group(group)
    tables = [n.contract for n in nodes if isinstance(n.contract, Table)]
    before = contents(runner, tables, days)
    monkeypatch.setenv("NIGHTJAR_LAKE", str(tmp_path / "mine"))
    monkeypatch.setenv("NIGHTJAR_READ_THROUGH", str(world.settings.lake))
    with steps.opened("demo", "shuffled") as other:
        other.spark.conf.set("spark.sql.shuffle.partitions", "7")
        other.views = {t.name: lambda rows: rows.repartition(7, F.rand(3)) for t in TABLES}
        other.build_group(nodes, days)
        assert contents(other, tables, days) == before


@pytest.mark.slow
def test_days_one_by_one_equal_the_range_and_two_lakes_publish_the_same(runner, world, tmp_path, monkeypatch):
    days = DayRange(dt.date.fromisoformat(FIRST), DAY)
    first = contents(runner, PER_DAY, days)
    released = releases.current(world.lake)["release_id"]
    monkeypatch.setenv("NIGHTJAR_HOME", str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    settings = land(tmp_path)
    with steps.opened("demo", "serial") as other:
        for day in DayRange(days.first, dt.date.fromisoformat(LAST_HISTORY)):
            steps.build_days(str(day), str(day), "demo", f"serial-{day}", other.spark)
    steps.night(NIGHT, "demo", "night-1")
    with steps.opened("demo", "reader-2") as other:
        assert contents(other, PER_DAY, days) == first
        assert releases.current(other.lake)["release_id"] == released
    assert settings.home != world.home


@pytest.mark.slow
def test_an_older_night_is_a_backfill_and_never_current(runner, world):
    now = releases.current(world.lake)["release_id"]
    made = steps.night(LAST_HISTORY, "demo", "older")
    assert made["kind"] == "backfill"
    assert releases.current(world.lake)["release_id"] == now
    pins = {str(p["ds"]): p["version"] for p in world.lake.rows("ops.model_pin").to_pylist()}
    assert pins[LAST_HISTORY] == ""  # popularity: no model existed on that day


@pytest.mark.slow
def test_every_build_is_in_the_log(world):
    log = world.lake.rows(RUN.name).to_pandas()
    built = log[(log["ds"].astype(str) == NIGHT) & (log["status"] == "published")]
    fitted_another_day = {
        n.name
        for n in steps.catalog().nodes.values()
        if isinstance(n.contract, Artifact) and not n.contract.fit_days([DAY]) and not n.contract.fill_gap
    }
    assert set(steps.catalog().nodes) - fitted_another_day == set(built["table"])
