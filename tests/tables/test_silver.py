"""Typed, deduplicated, refused: facts by the day of their own time, state as daily snapshots."""

from __future__ import annotations

import datetime as dt
import json
from functools import reduce
from zoneinfo import ZoneInfo

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import DayRange, NoParams
from jobs.keys import surrogate
from jobs.landing import BY_NAME
from jobs.runner import conform
from jobs.settings import Market
from jobs.tables import bronze, silver

FACTS = {node.name: node for node in silver.NODES}
BRONZE = {node.name: node for node in bronze.NODES}
DEMO = Market("demo")
DAYS = DayRange(dt.date(2024, 3, 1), dt.date(2024, 3, 10))


def delivered(spark, feed: str, rows: list[dict], market: Market = DEMO) -> DataFrame:
    """Bronze of rows given by column, each with the day of its arrival in ``ds``."""
    names = ["ds", *BY_NAME[feed].names, "extra", "raw", "file"]
    schema = ", ".join(f"{name} string" for name in names)
    landed = spark.createDataFrame([tuple(r.get(n) for n in names) for r in rows], schema)
    landed = landed.withColumn("ds", landed["ds"].cast("date"))
    return BRONZE[f"bronze.{feed}"].build(days=DAYS, params=None, market=market, **{feed: landed})


def collected(feed: str, made: DataFrame, key: str) -> dict:
    """Rows by the refused row's text or the kept row's key and day; what the runner adds is checked on the way."""
    node = FACTS[f"silver.{feed}"]
    conform(node.contract, made)
    return [r.asDict() for r in made.orderBy("ds", key, "arrival_ds", "_file").collect()]


# -- facts ---------------------------------------------------------------------------------------


def event(event_id: str, arrival: str = "2024-03-07", **changes) -> dict:
    return {
        "ds": arrival,
        "event_id": event_id,
        "user_id": "u1",
        "item_id": "i1",
        "at": f"{arrival}T10:00:00Z",
        "action": "click",
        "file": f"ds={arrival}/a.csv",
        **changes,
    }


EVENTS = [
    event("today"),
    event("two days late", at="2024-03-05T10:00:00Z"),
    event("three days late", at="2024-03-04T00:00:00Z"),
    event("too late", at="2024-03-03T23:59:59Z"),
    event("tomorrow", at="2024-03-08T00:00:00Z"),
    event("offset", at="2024-03-08T01:00:00+08:00"),
    event("again", item_id="first", file="ds=2024-03-07/a.csv"),
    event("again", item_id="second", file="ds=2024-03-07/b.csv"),
    event("redelivered", "2024-03-06", item_id="first", file="ds=2024-03-06/z.csv"),
    event("redelivered", "2024-03-07", item_id="second", at="2024-03-06T10:00:00Z", file="ds=2024-03-07/a.csv"),
    event("over midnight", "2024-03-06", at="2024-03-06T23:59:59Z"),
    event("over midnight", "2024-03-07", at="2024-03-07T00:00:00Z"),
    event("bad then good", action="dance", file="ds=2024-03-07/a.csv"),
    event("bad then good", action="like", file="ds=2024-03-07/b.csv"),
    event("no user", user_id=None),
    event("blank user", user_id="  "),
    event("no time", at=None),
    event("odd dwell", dwell_ms="soon"),
    event("half a ms", dwell_ms="3.5"),
    event("nullable int", dwell_ms=" 3.0 "),
    event("odd time", at="yesterday"),
    event("odd ratio", play_ratio="one"),
    event("spaced ratio", play_ratio=" 0.5 "),
    event("too much", play_ratio="100.1"),
    event("too little", dwell_ms="-1"),
    event("a day", dwell_ms="86400000"),
    event("not a number", play_ratio="NaN"),
    event("dance", action="dance"),
    event("torn", raw='{"event_id": "to'),
    event("latin", query="caf\ufffd"),
    event("two rules", user_id=None, action="dance"),
    event("of the app", item_id=None, action="login", dwell_ms=""),
]


@pytest.fixture(scope="module")
def facts(spark):
    """Kept rows and refusals of ``EVENTS`` by event id, in the order of their files."""
    made = FACTS["silver.events"].build(delivered(spark, "events", EVENTS), days=DAYS, params=NoParams(), market=DEMO)
    rows = collected("events", made, "event_id")
    assert len(rows) == len(EVENTS), "every delivered row is written or refused once"
    return {e["event_id"]: [r for r in rows if r["event_id"] == e["event_id"]] for e in EVENTS}


def kept(facts, event_id):
    return [r for r in facts[event_id] if r["_reject"] is None]


@pytest.mark.parametrize(
    ("event_id", "ds"),
    [
        ("today", "2024-03-07"),
        ("two days late", "2024-03-05"),
        ("three days late", "2024-03-04"),
        ("offset", "2024-03-07"),
    ],
)
def test_a_row_reaches_the_day_of_its_own_time(facts, event_id, ds):
    (row,) = kept(facts, event_id)
    assert (str(row["ds"]), str(row["arrival_ds"])) == (ds, "2024-03-07")


@pytest.mark.parametrize(
    ("event_id", "rule"),
    [
        ("too late", "late"),
        ("tomorrow", "future:at"),
        ("no user", "missing:user_id"),
        ("blank user", "missing:user_id"),
        ("no time", "missing:at"),
        ("odd time", "bad_type:at"),
        ("odd dwell", "bad_type:dwell_ms"),
        ("half a ms", "bad_type:dwell_ms"),
        ("odd ratio", "bad_type:play_ratio"),
        ("too much", "out_of_range:play_ratio"),
        ("too little", "out_of_range:dwell_ms"),
        ("not a number", "bad_type:play_ratio"),
        ("dance", "unknown_value:action"),
        ("torn", "unparseable"),
        ("latin", "not_utf8"),
        ("two rules", "missing:user_id"),
    ],
)
def test_a_refused_row_names_the_rule_and_stays_on_its_day_of_arrival(facts, event_id, rule):
    (row,) = facts[event_id]
    assert (row["_reject"], str(row["ds"]), row["_file"]) == (rule, "2024-03-07", "ds=2024-03-07/a.csv")


def test_a_refused_row_is_kept_as_delivered(facts):
    (row,) = facts["dance"]
    given = json.loads(row["_raw"])
    assert {k: given[k] for k in ("event_id", "user_id", "action")} == {
        "event_id": "dance",
        "user_id": "u1",
        "action": "dance",
    }
    assert facts["torn"][0]["_raw"] == '{"event_id": "to'
    assert facts["today"][0]["_raw"] is None


@pytest.mark.parametrize("event_id", ["again", "redelivered"])
def test_of_a_repeated_id_the_first_delivered_wins(facts, market_key, event_id):
    assert [(r["_reject"], r["item_id"]) for r in facts[event_id]] == [
        (None, market_key["first"]),
        ("duplicate", market_key["second"]),
    ]


def test_an_id_is_unique_within_its_day_and_not_beyond(facts):
    assert [(str(r["ds"]), r["_reject"]) for r in facts["over midnight"]] == [
        ("2024-03-06", None),
        ("2024-03-07", None),
    ]


def test_a_refused_row_does_not_stand_in_the_way_of_a_good_one(facts):
    assert [(r["_reject"], r["action"]) for r in facts["bad then good"]] == [
        ("unknown_value:action", "dance"),
        (None, "like"),
    ]


def test_numbers_are_read_from_text(facts):
    assert kept(facts, "nullable int")[0]["dwell_ms"] == 3
    assert kept(facts, "spaced ratio")[0]["play_ratio"] == 0.5
    assert kept(facts, "a day")[0]["dwell_ms"] == 86_400_000
    assert kept(facts, "of the app")[0]["dwell_ms"] is None


def test_bronze_names_the_columns_that_cannot_be_read(spark):
    rows = [
        event("good", dwell_ms=" 3.0 ", rating="4"),
        event("blank", dwell_ms=" ", rating=None),
        event("bad", dwell_ms="3.5", rating="NaN", at="noon", action="dance"),
    ]
    found = {r["event_id"]: r["unreadable"] for r in delivered(spark, "events", rows).collect()}
    assert found == {"good": None, "blank": None, "bad": "at,dwell_ms,rating"}


def test_a_time_is_in_utc_milliseconds(facts):
    # 01:00 at +08:00 is 17:00 UTC of the day before
    assert kept(facts, "offset")[0]["at_ms"] == int(dt.datetime(2024, 3, 7, 17, tzinfo=dt.UTC).timestamp() * 1000)
    assert kept(facts, "offset")[0]["local_hour"] == 17


@pytest.fixture(scope="module")
def market_key(spark):
    ids = spark.createDataFrame([(i,) for i in ("first", "second", "i1", None)], "id string")
    return {r["id"]: r["k"] for r in ids.select("id", surrogate(DEMO, "item", F.col("id")).alias("k")).collect()}


def test_ids_become_surrogate_keys_and_no_id_no_key(facts, market_key):
    assert kept(facts, "today")[0]["item_id"] == market_key["i1"] is not None
    assert kept(facts, "of the app")[0]["item_id"] is market_key[None] is None


def test_a_surrogate_key_depends_on_market_and_kind_and_never_changes(spark):
    one = spark.createDataFrame([("u1",)], "id string")
    row = one.select(
        surrogate(DEMO, "user", F.col("id")).alias("user"),
        surrogate(DEMO, "item", F.col("id")).alias("item"),
        surrogate(Market("other"), "user", F.col("id")).alias("other"),
    ).collect()[0]
    assert len({row["user"], row["item"], row["other"]}) == 3
    # a changed hash would cut every market from its history
    assert row["user"] == -5134483586348249027


def test_days_built_one_by_one_own_every_row_once(spark):
    answer = {"user_id": "u", "kind": "nps"}
    rows = [
        {"ds": f"2024-03-0{arrival}", "survey_id": f"{arrival} of {day}", "at": f"2024-03-0{day}", **answer}
        for arrival in (4, 6, 8)
        for day in range(1, 10)
    ]
    source = delivered(spark, "surveys", rows)
    node = FACTS["silver.surveys"]
    made = reduce(
        DataFrame.unionByName,
        [
            node.build(source, days=days, params=NoParams(), market=DEMO)
            for days in (
                DayRange(dt.date(2024, 3, 1), dt.date(2024, 3, 4)),
                DayRange.day("2024-03-05"),
                DayRange(dt.date(2024, 3, 6), dt.date(2024, 3, 9)),
            )
        ],
    ).collect()
    assert sorted(r["survey_id"] for r in made) == sorted(r["survey_id"] for r in rows)
    own = {f"{r['arrival_ds'].day} of {r['ds'].day}" for r in made if r["_reject"] is None}
    # arrived on the day or up to three days after
    assert own == {f"{arrival} of {arrival - late}" for arrival in (4, 6, 8) for late in range(4)}
    assert all(r["ds"] == r["arrival_ds"] for r in made if r["survey_id"] not in own)


def test_days_and_hours_are_the_market_s(spark):
    market = Market("demo", timezone="Asia/Shanghai")
    source = delivered(spark, "events", [event("e", "2024-03-08", at="2024-03-05T20:00:00Z")], market)
    (row,) = FACTS["silver.events"].build(source, days=DAYS, params=NoParams(), market=market).collect()
    # 04:00 on the 6th
    assert (str(row["ds"]), row["local_hour"], row["_reject"]) == ("2024-03-06", 4, None)


CHANGES = {
    "Europe/Berlin": ("2024-03-31", "2024-10-27"),
    "America/New_York": ("2024-03-10", "2024-11-03"),
    "Australia/Lord_Howe": ("2024-04-07", "2024-10-06"),  # by half an hour
    "Pacific/Apia": ("2011-12-30",),  # a day that nobody lived
}


@pytest.mark.parametrize(("zone", "change"), [(zone, day) for zone, days in CHANGES.items() for day in days])
def test_days_and_hours_around_a_change_of_the_clock_are_those_of_the_zone(spark, zone, change):
    market, day = Market("demo", timezone=zone), dt.date.fromisoformat(change)
    wall = ZoneInfo(zone)
    noon_before = dt.datetime.combine(day - dt.timedelta(days=1), dt.time(12), wall).astimezone(dt.UTC)
    moments = [noon_before + dt.timedelta(minutes=15 * n) for n in range(4 * 48)]
    days = DayRange(day - dt.timedelta(days=1), day + dt.timedelta(days=2))
    rows = [event(m.isoformat(), str(days.last), at=m.isoformat()) for m in moments]
    made = FACTS["silver.events"].build(
        delivered(spark, "events", rows, market), days=days, params=NoParams(), market=market
    )
    found = {r["event_id"]: (r["ds"], r["local_hour"], r["_reject"]) for r in made.collect()}
    local = {m.isoformat(): m.astimezone(wall) for m in moments}
    assert found == {key: (at.date(), at.hour, None) for key, at in local.items()}


def test_a_refused_showing_is_kept_without_coordinates(spark):
    shown = {"ds": "2024-03-07", "user_id": "u", "item_id": "i", "at": "2024-03-07", "surface": "feed", "file": "f"}
    exact = {"latitude": "48.13721", "longitude": "11.57549"}
    rows = [
        {**shown, **exact, "impression_id": "p1", "position": "0", "swipe_speed": "1.25"},
        {**shown, **exact, "impression_id": "p2", "position": "1", "latitude": "48.13721 N"},
        {**shown, "impression_id": "p3", "raw": "p3,u,i,48.13721,\u0661\u0661.57549"},
    ]
    source = delivered(spark, "impressions", rows)
    made = FACTS["silver.impressions"].build(source, days=DAYS, params=NoParams(), market=DEMO)
    found = {r["_reject"]: r["_raw"] for r in made.collect()}
    assert set(found) == {"out_of_range:position", "bad_type:latitude", "unparseable"}
    assert json.loads(found["out_of_range:position"])["swipe_speed"] == "1.25"
    assert not {"latitude", "longitude"} & set(json.loads(found["out_of_range:position"]))
    assert not any("48.13721" in text or "11.57549" in text for text in found.values())
    assert found["unparseable"] == "p#,u,i,##.#####,##.#####"


def test_coordinates_are_bounded_and_end_as_a_cell_and_a_measure_is_finite(spark):
    shown = {
        "ds": "2024-03-07",
        "impression_id": "p",
        "user_id": "u",
        "item_id": "i",
        "at": "2024-03-07",
        "surface": "feed",
        "position": "1",
        "file": "f",
    }
    given = [{"latitude": "91"}, {"latitude": "48.1"}, {"swipe_speed": "NaN"}, {"swipe_speed": "Infinity"}]
    given.append({"latitude": "48.1", "longitude": "11.5"})
    rows = [{**shown, "impression_id": f"p{n}", **more} for n, more in enumerate(given)]
    source = delivered(spark, "impressions", rows)
    made = FACTS["silver.impressions"].build(source, days=DAYS, params=NoParams(), market=DEMO)
    found = {r["impression_id"]: r for r in made.collect()}
    assert {key: row["_reject"] for key, row in found.items()} == {
        "p0": "out_of_range:latitude",
        "p1": None,
        "p2": "bad_type:swipe_speed",
        "p3": "bad_type:swipe_speed",
        "p4": None,
    }
    # row (48.1 + 90) / 0.0045 of 40,000; its 53,428 columns (80,000 x cos 48.1) hold (11.5 + 180) / 360 of a turn
    assert (found["p1"]["cell"], found["p4"]["cell"]) == (None, 30_688 * 100_000 + 28_420)
    assert not {"latitude", "longitude"} & set(made.columns)


# -- state ---------------------------------------------------------------------------------------


def creator(arrival: str, creator_id: str, name: str, file: str = "a.csv", **changes) -> dict:
    return {
        "ds": arrival,
        "creator_id": creator_id,
        "name": name,
        "stage": "novice",
        "file": f"ds={arrival}/{file}",
        **changes,
    }


CREATORS = [
    creator("2024-03-02", "moves", "new"),
    creator("2024-03-04", "moves", "newer"),
    creator("2024-03-02", "twice", "first", "a.csv"),
    creator("2024-03-02", "twice", "second", "b.csv"),
    creator("2024-03-03", "refused", "bad", stage="king"),
    creator("2024-03-03", None, "nobody"),
]
FOUR_DAYS = DayRange(dt.date(2024, 3, 1), dt.date(2024, 3, 4))


def snapshots(rows):
    kept = [r for r in rows if r["_reject"] is None]
    days = sorted({r["ds"] for r in kept})
    return {str(d): {r["original_id"]: r["name"] for r in kept if r["ds"] == d} for d in days}


@pytest.fixture(scope="module")
def yesterday(spark):
    node = FACTS["silver.creators"]
    empty = spark.createDataFrame([], ", ".join(f"{c.name} {c.type}" for c in node.contract.schema))
    rows = [creator("2024-02-29", "moves", "old"), creator("2024-02-29", "refused", "good")]
    source, before = delivered(spark, "creators", rows), DayRange.day("2024-02-29")
    made = node.build(source, empty, days=before, params=NoParams(), market=DEMO)
    return made.select(*[c.name for c in node.contract.schema])


@pytest.fixture(scope="module")
def state(spark, yesterday):
    node = FACTS["silver.creators"]
    source = delivered(spark, "creators", CREATORS)
    made = node.build(source, yesterday, days=FOUR_DAYS, params=NoParams(), market=DEMO)
    return collected("creators", made, "creator_id")


def test_a_snapshot_holds_the_last_row_delivered_by_each_day(state):
    assert {ds: names.get("moves") for ds, names in snapshots(state).items()} == {
        "2024-03-01": "old",
        "2024-03-02": "new",
        "2024-03-03": "new",
        "2024-03-04": "newer",
    }


def test_of_two_rows_in_a_day_the_last_holds_and_the_other_is_a_duplicate(state):
    assert {ds: names.get("twice") for ds, names in snapshots(state).items()} == {
        "2024-03-01": None,
        "2024-03-02": "second",
        "2024-03-03": "second",
        "2024-03-04": "second",
    }
    assert [(str(r["ds"]), r["name"]) for r in state if r["_reject"] == "duplicate"] == [("2024-03-02", "first")]


def test_a_refused_row_keeps_yesterday_s(state):
    found = {ds: names["refused"] for ds, names in snapshots(state).items()}
    assert found == dict.fromkeys(map(str, FOUR_DAYS), "good")


def test_a_refused_state_row_is_counted_once_on_its_day_of_arrival(state):
    refused = [(str(r["ds"]), r["name"], r["_reject"]) for r in state if r["_reject"] not in (None, "duplicate")]
    assert sorted(refused) == [
        ("2024-03-03", "bad", "unknown_value:stage"),
        ("2024-03-03", "nobody", "missing:creator_id"),
    ]


def test_a_delivered_row_is_accounted_for_once_on_its_day_of_arrival(state):
    assert sum(r["ds"] == r["arrival_ds"] for r in state) == len(CREATORS)


def test_a_carried_row_tells_when_it_was_delivered(state):
    assert {str(r["arrival_ds"]) for r in state if r["name"] == "good"} == {"2024-02-29"}


def day_by_day(spark, node, source: DataFrame, before: DataFrame) -> list:
    """Snapshots of four days, each from the one of the day before."""
    rows, schema = [], ", ".join(f"{c.name} {c.type}" for c in node.contract.schema)
    for day in FOUR_DAYS:
        arrived = source.where(DayRange.day(day).where())
        made = node.build(arrived, before, days=DayRange.day(day), params=NoParams(), market=DEMO).collect()
        rows += made
        kept = [tuple(r[c.name] for c in node.contract.schema) for r in made if r["_reject"] is None]
        before = spark.createDataFrame(kept, schema)
    return rows


def test_a_range_of_snapshots_is_the_same_as_its_days_one_by_one(spark, yesterday, state):
    rows = day_by_day(spark, FACTS["silver.creators"], delivered(spark, "creators", CREATORS), yesterday)
    order = ["ds", "creator_id", "arrival_ds", "name"]
    assert sorted(([r[c] for c in order], r["_reject"]) for r in rows if r["creator_id"]) == sorted(
        ([r[c] for c in order], r["_reject"]) for r in state if r["creator_id"]
    )


# -- state with a time of its own ------------------------------------------------------------------


def said(arrival: str, user: str, granted: str, at: str, **changes) -> dict:
    return {
        "ds": arrival,
        "user_id": user,
        "purpose": "personalisation",
        "granted": granted,
        "at": f"2024-{at}:00Z",
        "file": f"ds={arrival}/a.csv",
        **changes,
    }


TOLD = [
    # 21:00 is after 09:00, whichever line or file comes first
    said("2024-03-01", "one file", "true", "03-01T09:00"),
    said("2024-03-01", "one file", "false", "03-01T21:00"),
    said("2024-03-01", "other file", "false", "03-01T21:00", file="ds=2024-03-01/a.csv"),
    said("2024-03-01", "other file", "true", "03-01T09:00", file="ds=2024-03-01/b.csv"),
    said("2024-03-01", "grants again", "false", "03-01T09:00"),
    said("2024-03-01", "grants again", "true", "03-01T21:00"),
    # the grant of 1 March comes two days late
    said("2024-03-02", "late grant", "false", "03-02T08:00"),
    said("2024-03-03", "late grant", "true", "03-01T08:00"),
    # of one moment the later arrival
    said("2024-03-01", "corrected", "true", "03-01T08:00"),
    said("2024-03-02", "corrected", "false", "03-01T08:00"),
    # a clock that is ahead by nine months is no later than its day of arrival
    said("2024-03-02", "odd clock", "true", "12-01T08:00"),
    said("2024-03-03", "odd clock", "false", "03-03T08:00"),
    # what was said on 28 February, before the withdrawal of the 29th that is known
    said("2024-03-01", "known", "true", "02-28T08:00"),
    said("2024-03-02", "refused", "perhaps", "03-02T08:00"),
]
HELD = {
    "one file": "NNNN",
    "other file": "NNNN",
    "grants again": "YYYY",
    "late grant": "-NNN",
    "corrected": "YNNN",
    "odd clock": "-YNN",
    "known": "NNNN",
    "refused": "YYYY",
}


@pytest.fixture(scope="module")
def told_before(spark):
    node = FACTS["silver.consent"]
    empty = spark.createDataFrame([], ", ".join(f"{c.name} {c.type}" for c in node.contract.schema))
    rows = [
        said("2024-02-29", "known", "false", "02-29T08:00"),
        said("2024-02-29", "refused", "true", "02-29T08:00"),
    ]
    made = node.build(
        delivered(spark, "consent", rows), empty, days=DayRange.day("2024-02-29"), params=NoParams(), market=DEMO
    )
    return made.select(*[c.name for c in node.contract.schema])


@pytest.mark.parametrize("order", [1, -1])
def test_consent_is_what_was_said_last_whenever_it_arrives(spark, told_before, order):
    node, source = FACTS["silver.consent"], delivered(spark, "consent", TOLD[::order])
    ranged = node.build(source, told_before, days=FOUR_DAYS, params=NoParams(), market=DEMO)
    conform(node.contract, ranged)
    ids = spark.createDataFrame([(name,) for name in HELD], "id string")
    names = {r["k"]: r["id"] for r in ids.select("id", surrogate(DEMO, "user", F.col("id")).alias("k")).collect()}
    for rows in (ranged.collect(), day_by_day(spark, node, source, told_before)):
        kept = {(names[r["user_id"]], r["ds"]): "NY"[r["granted"]] for r in rows if r["_reject"] is None}
        assert {name: "".join(kept.get((name, day), "-") for day in FOUR_DAYS) for name in HELD} == HELD
        # every delivered row is accounted for once, on its day of arrival
        assert sum(r["ds"] == r["arrival_ds"] for r in rows) == len(TOLD)
        replaced = sorted((names[r["user_id"]], str(r["ds"])) for r in rows if r["_reject"] == "duplicate")
        assert replaced == [
            ("grants again", "2024-03-01"),
            ("known", "2024-03-01"),
            ("late grant", "2024-03-03"),
            ("one file", "2024-03-01"),
            ("other file", "2024-03-01"),
        ]
