"""Drift: histograms of every feature, a reference that sets itself, and planted changes that are found."""

from __future__ import annotations

import datetime as dt
import math
import random
from dataclasses import replace

import pytest

from features.user_activity import CONTRACT as ACTIVITY
from jobs.catalog import discover
from jobs.contract import Column, DayRange, Table
from jobs.runner import conform
from quality import drift, feature_histograms
from quality.feature_histograms import CONTRACTS, histograms
from quality.metrics.psi import psi, quantile_bins

D1 = dt.date(2024, 3, 1)
TODAY = dt.date(2024, 3, 29)
THINGS = Table(
    "features.things",
    "features",
    "thing-understanding",
    "Things.",
    [
        Column("user_id", "bigint", "User.", subject=True),
        Column("weight", "double", "A number.", digits=3),
        Column("size", "int", "A number that has not moved."),
        Column("seen_ms", "bigint", "A moment.", "ms"),
        Column("colour", "string", "A category."),
        Column("round", "boolean", "A category that has not moved."),
        Column("best_item_id", "bigint", "An id, which is no measurement."),
        Column("parts", "array<int>", "Not watched."),
    ],
    ["user_id"],
)
SCHEMA = ", ".join(f"{c.name} {c.type}" for c in THINGS.schema)
FOUND = "ds date, table string, feature string, kind string, bucket string, n bigint, low double, high double"


def thing(ds, user, weight=1.0, size=1, seen_ms=None, colour="red", round_=True):
    return (ds, user, weight, size, seen_ms, colour, round_, user * 7, [1])


# -- histograms ----------------------------------------------------------------------------------


def test_every_table_of_features_is_watched_but_those_without_a_distribution():
    nodes = [n for n in discover().nodes.values() if n.name.startswith("features.") and isinstance(n.contract, Table)]
    # figures of groups, and tables of nothing but keys and days
    but = {f"features.{name}" for name in ("audience_affinity", "half_life", "user_audience", "user_follows")}
    but |= {n.name for n in nodes if not n.module.startswith("features.")}
    assert set(CONTRACTS) == {n.name for n in nodes} - but
    assert {i.table for i in feature_histograms.CONTRACT.inputs} == set(CONTRACTS)
    events = {name for name, contract in CONTRACTS.items() if feature_histograms.of_events(contract)}
    assert events == {"features.request_context", "features.review_signals", "features.sentiment"}


def test_keys_ids_and_lists_are_no_features():
    assert [c.name for c in feature_histograms.watched(THINGS)] == ["weight", "size", "seen_ms", "colour", "round"]


def counted(frame, rows, categories=500):
    made = histograms([(THINGS, frame(SCHEMA, rows))], categories)
    checked = conform(feature_histograms.CONTRACT, made).collect()
    return {(r["feature"], r["kind"], r["bucket"]): (r["n"], r["low"], r["high"]) for r in checked}


def test_values_are_counted_in_buckets_and_missing_ones_beside_them(frame):
    rows = [(D1, 1, 1.0), (D1, 2, 1.04), (D1, 3, -1.0), (D1, 4, 0.0), (D1, 5, 1e-9), (D1, 6, None), (D1, 7, 2.0)]
    found = {k[1:]: v for k, v in counted(frame, [thing(*r) for r in rows]).items() if k[0] == "weight"}
    # growth 1.05/0.95: bucket 139 + k ends at 1.105^k, which is 1 for k = 0; 2 lies before 1.105^7 = 2.015
    assert found == {
        ("number", "0"): (2, 0.0, 0.0),
        ("number", "139"): (1, 1.0, 1.0),
        ("number", "140"): (1, 1.04, 1.04),
        ("number", "-139"): (1, -1.0, -1.0),
        ("number", "146"): (1, 2.0, 2.0),
        ("missing", ""): (1, None, None),
    }


def test_small_whole_numbers_have_a_bucket_of_their_own(frame):
    found = counted(frame, [thing(D1, n, size=n) for n in range(11)])
    assert len([key for key in found if key[:2] == ("size", "number")]) == 11


def test_buckets_keep_quantiles_within_their_accuracy(frame):
    rng = random.Random(3)
    values = sorted(round(math.exp(rng.gauss(3, 2)), 3) for _ in range(400))
    found = counted(frame, [thing(D1, n, weight=v) for n, v in enumerate(values)])
    buckets = sorted((int(k[2]), *v) for k, v in found.items() if k[:2] == ("weight", "number"))
    assert sum(n for _, n, _, _ in buckets) == 400
    assert all(high <= low * 1.05 / 0.95 * (1 + 1e-9) for bucket, _, low, high in buckets if bucket)
    assert all(a[3] < b[2] for a, b in zip(buckets, buckets[1:], strict=False))


def test_a_moment_is_taken_as_its_age(frame):
    end = (D1 - dt.date(1970, 1, 1)).days * 86_400_000 + 86_400_000
    found = counted(frame, [thing(D1, 1, seen_ms=end - 5_000), thing(D1, 2, seen_ms=1_200)])
    assert sorted(v[1] for k, v in found.items() if k[:2] == ("seen_ms", "number")) == [1_200, 5_000]


def test_categories_are_buckets_and_the_rare_ones_share_one(frame):
    rows = [thing(D1, n, colour=c) for n, c in enumerate(["red", "red", "red", "blue", "blue", "green", "grey", None])]
    found = {k[1:]: v[0] for k, v in counted(frame, rows, categories=2).items() if k[0] == "colour"}
    # the two most frequent; green and grey are the rest
    assert found == {
        ("missing", ""): 1,
        ("category", "red"): 3,
        ("category", "blue"): 2,
        ("category", feature_histograms.REST): 2,
    }


def test_a_table_of_several_kinds_has_features_of_each(frame):
    tastes = CONTRACTS["features.user_interests"]
    schema = ", ".join(f"{c.name} {c.type}" for c in tastes.schema)
    rows = [
        (D1, 1, "brand", "acme", 3.0, 1.0),
        (D1, 1, "category", "tea", 2.0, 0.5),
        (D1, 2, "brand", "ajax", 3.0, 1.0),
    ]
    made = conform(feature_histograms.CONTRACT, histograms([(tastes, frame(schema, rows))], 500)).collect()
    assert {(r["feature"], r["n"], r["low"]) for r in made} == {
        ("weight[brand]", 2, 3.0),
        ("weight[category]", 1, 2.0),
        ("share[brand]", 2, 1.0),
        ("share[category]", 1, 0.5),
    }
    assert feature_histograms.column_of("share[brand]") == feature_histograms.column_of("share") == "share"


def test_a_range_is_its_days_one_by_one(frame):
    names = {i.argument: ", ".join(f"{c.name} {c.type}" for c in CONTRACTS[i.table].schema) for i in INPUTS}
    zero = {"int": 1, "bigint": 2, "double": 0.5}
    rows = [
        tuple({"ds": ds, "user_id": n}.get(c.name, zero.get(c.type)) for c in ACTIVITY.schema)
        for ds, n in ((D1, 1), (D1, 2), (TODAY, 1))
    ]

    def made(days, kept):
        frames = {name: frame(schema, kept if name == "user_activity" else []) for name, schema in names.items()}
        built = feature_histograms.build(**frames, days=days, params=feature_histograms.Params())
        return sorted(map(str, conform(feature_histograms.CONTRACT, built).collect()))

    days = [made(DayRange.day(ds), [r for r in rows if r[0] == ds]) for ds in (D1, TODAY)]
    whole = made(DayRange(D1, TODAY), rows)
    assert whole == sorted(sum(days, [])) and len(whole) == 2 * len(feature_histograms.watched(ACTIVITY))


INPUTS = feature_histograms.CONTRACT.inputs


# -- PSI -----------------------------------------------------------------------------------------


def test_psi_by_hand():
    # tenths against 19 %, 1 % and eight tenths: (0.19 - 0.1) ln 1.9 + (0.01 - 0.1) ln 0.1
    by_hand = 0.09 * math.log(1.9) - 0.09 * math.log(0.1)
    assert psi([100] * 10, [190, 10] + [100] * 8) == pytest.approx(by_hand)
    # an empty bin counts as epsilon: (0.0001 - 0.5) ln 0.0002 + (1 - 0.5) ln 2
    assert psi([1, 1], [0, 7], 1e-4) == pytest.approx(-0.4999 * math.log(0.0002) + 0.5 * math.log(2))
    assert psi([3, 5], [30, 50]) == 0
    assert math.isnan(psi([0, 0], [1, 1])) and math.isnan(psi([1, 1], [0, 0]))


def test_bins_are_tenths_and_a_heavy_value_is_never_split():
    assert quantile_bins([10] * 20).tolist() == [n // 2 for n in range(20)]
    assert quantile_bins([95, 1, 1, 1, 1, 1]).tolist() == [0, 1, 1, 1, 1, 1]
    assert quantile_bins([0, 0]).tolist() == [0, 0]


# -- verdicts ------------------------------------------------------------------------------------


@pytest.fixture
def watch(spark, monkeypatch):
    """Drift of ``features.things`` on the last day of some days of rows."""
    monkeypatch.setitem(drift.CONTRACTS, THINGS.name, THINGS)

    def make(rows, ds=TODAY, **params):
        found = histograms([(THINGS, spark.createDataFrame(rows, SCHEMA))], 500)
        made = drift.build(found, days=DayRange.day(ds), params=drift.Params(**params))
        return {r["feature"]: r.asDict() for r in conform(drift.CONTRACT, made).collect()}

    return make


def days_of(things, first=1, last=29):
    """Rows of the days ``first`` to ``last`` of March: ``things(day, user)`` gives what differs from the usual."""
    usual = [math.exp(random.Random(n).gauss(0, 1)) for n in range(200)]
    colours = ["red", "blue", "blue", None]
    return [
        thing(
            dt.date(2024, 3, day),
            user,
            **{
                "weight": round(usual[(user * 7 + day) % 200], 3),
                "size": (user + day) % 9,
                "colour": colours[(user + day) % 4],
                "round_": user % 3 == 0,
                **things(day, user),
            },
        )
        for day in range(first, last + 1)
        for user in range(120)
    ]


def same(day, user):
    return {}


def on_last(**change):
    return lambda day, user: change if day == 29 else {}


def test_what_has_not_moved_is_ok(watch):
    found = watch(days_of(same))
    assert {f: (r["verdict"], r["reason"]) for f, r in found.items() if f != "seen_ms"} == dict.fromkeys(
        ("weight", "size", "colour", "round"), ("ok", "")
    )
    assert found["weight"]["psi"] < 0.1 and found["colour"]["unseen_share"] == 0
    assert {r["owner"] for r in found.values()} == {"thing-understanding"}
    assert {(r["reference_first"], r["reference_last"], r["n"]) for r in found.values()} == {
        (D1, dt.date(2024, 3, 28), 120)
    }


def test_what_happens_on_workdays_is_held_against_workdays(watch, monkeypatch):
    # the 29th of March 2024 is a Friday; on the eight weekend days before it everything is round
    requests = replace(THINGS, keys=["request_id"], columns=[*THINGS.columns, Column("request_id", "bigint", "Key.")])
    weekends = days_of(lambda day, user: {"round_": user % 3 == 0 or dt.date(2024, 3, day).weekday() >= 5})
    # 0.333 round instead of (20 * 0.333 + 8) / 28 = 0.524 of the reference
    assert watch(weekends)["round"]["verdict"] == "warn"
    monkeypatch.setitem(drift.CONTRACTS, THINGS.name, requests)
    found = watch(weekends)
    assert (found["round"]["verdict"], found["round"]["psi"]) == ("ok", 0)
    assert watch(weekends, dt.date(2024, 3, 17))["round"]["verdict"] == "no_reference"


def test_a_shifted_mean_is_found_and_named(watch):
    def shifted(day, user):
        return {"weight": round(math.exp(random.Random(user).gauss(1, 1)), 3)} if day == 29 else {}

    found = watch(days_of(shifted))
    assert {f for f, r in found.items() if r["verdict"] != "ok"} == {"weight"}
    assert (found["weight"]["verdict"], found["weight"]["reason"]) == ("drift", "psi")
    assert found["weight"]["psi"] > 0.25


def test_a_new_category_is_found_and_named(watch):
    found = watch(days_of(lambda day, user: {"colour": "ultraviolet"} if day == 29 and user < 6 else {}))
    assert {f: r["verdict"] for f, r in found.items() if r["verdict"] != "ok"} == {"colour": "warn"}
    # 6 of 120 rows
    assert (found["colour"]["unseen_share"], found["colour"]["reason"]) == (0.05, "unseen")


def test_a_burst_of_missing_values_is_found_and_named(watch):
    found = watch(days_of(lambda day, user: {"size": None} if day == 29 and user % 4 == 0 else {}))
    assert {f: (r["verdict"], r["reason"]) for f, r in found.items() if r["verdict"] != "ok"} == {
        "size": ("drift", "missing")
    }
    assert found["size"]["missing_rate"] == 0.25
    assert (found["size"]["missing_reference"], found["colour"]["missing_reference"]) == (0, 0.25)


def test_values_beyond_the_reference_are_found_and_named(watch):
    found = watch(days_of(lambda day, user: {"size": -40} if day == 29 and user < 3 else {}))
    assert {f: (r["verdict"], r["reason"]) for f, r in found.items() if r["verdict"] != "ok"} == {
        "size": ("warn", "range")
    }
    assert (found["size"]["low"], found["size"]["high"], found["size"]["out_of_range_share"]) == (0, 8, 0.025)


def test_the_reference_sets_itself_from_7_days_on(watch):
    rows = days_of(lambda day, user: {"size": 50} if day in (7, 8) else {}, last=8)
    early = watch([r for r in rows if r[0].day < 8], ds=dt.date(2024, 3, 7))
    assert {r["verdict"] for r in early.values()} == {"no_reference"}
    late = watch(rows, ds=dt.date(2024, 3, 8))["size"]
    assert (late["verdict"], late["reference_first"], late["reference_last"]) == ("drift", D1, dt.date(2024, 3, 7))


def test_a_feature_is_held_against_days_on_which_its_window_was_full(frame):
    """From the first of March on every feature grows by one a day until its window is full, and stands still then."""

    def of(ds: dt.date, since: dt.date = D1):
        rows = []
        for day in (since + dt.timedelta(days=n) for n in range((ds - since).days + 1)):
            grown = (day - since).days + 1
            for feature, span in (("clicks_1d", 1), ("clicks_7d", 7), ("clicks_28d", 28)):
                rows.append((day, ACTIVITY.name, feature, "number", str(min(span, grown)), 100, 0.0, 1.0))
        made = drift.build(frame(FOUND, rows), days=DayRange.day(ds), params=drift.Params())
        return {r["feature"]: (r["verdict"], r["reference_first"]) for r in conform(drift.CONTRACT, made).collect()}

    third, tenth = dt.date(2024, 3, 7), dt.date(2024, 3, 28)
    # of the 8th seven days are behind, of which one had the week's window full
    assert of(dt.date(2024, 3, 8)) == {
        "clicks_1d": ("ok", D1),
        "clicks_7d": ("young", third),
        "clicks_28d": ("young", None),
    }
    assert of(dt.date(2024, 3, 14))["clicks_7d"] == ("ok", third)
    # the 28th has the first full month, the 4th of April the seventh before it
    assert of(dt.date(2024, 4, 3))["clicks_28d"] == ("young", tenth)
    assert of(dt.date(2024, 4, 4))["clicks_28d"] == ("ok", tenth)
    # a lake that is older than can be seen has windows that were full all the while
    assert of(dt.date(2024, 5, 30))["clicks_28d"] == ("ok", dt.date(2024, 5, 2))


def test_a_table_looks_back_through_the_tables_that_it_reads():
    found = drift.spans()
    assert set(found) == set(CONTRACTS) and found["features.user_activity"] >= 28
    reads = [(name, i) for name, c in CONTRACTS.items() for i in c.inputs if getattr(i, "table", None) in CONTRACTS]
    others = [(name, i) for name, i in reads if i.table != name]
    assert others and all(found[name] >= found[i.table] + i.days - 1 + i.lag for name, i in others)


def test_a_column_that_is_filled_for_the_first_time_has_drifted(watch):
    rows = days_of(same, last=8)
    found = watch([r if r[0].day > 5 else (*r[:2], None, *r[3:]) for r in rows], ds=dt.date(2024, 3, 8))
    # missing is a value as well: the rate of missing values has moved
    assert (found["weight"]["verdict"], found["weight"]["reason"]) == ("drift", "missing")


def test_a_table_that_has_no_row_is_gone_and_few_rows_are_too_small(watch):
    assert {r["verdict"] for r in watch(days_of(same, last=28)).values()} == {"drift"}
    few = watch([r for r in days_of(same) if r[0].day < 29 or r[1] < 20])
    assert {r["verdict"] for r in few.values()} == {"too_small"}


def test_chance_alone_is_no_drift(watch):
    rows = [r for r in days_of(same, first=22) if r[1] < 60]
    by_luck = watch(rows)["weight"]
    # 60 rows against 420: tenths of 6 rows move by more than 0.1 without any reason
    assert (by_luck["verdict"], by_luck["n"]) == ("ok", 60)


def test_without_rows_there_is_no_figure(frame):
    made = drift.build(frame(FOUND, []), days=DayRange.day(TODAY), params=drift.Params())
    assert conform(drift.CONTRACT, made).collect() == []
