"""Trailing windows, and the property that every feature must keep: a range is the same as its days one by one."""

from __future__ import annotations

import datetime as dt
import inspect
import random
from functools import reduce

import pytest
from pyspark.sql import DataFrame

from features.windows import decay, spread, summed
from jobs.catalog import discover
from jobs.contract import DayRange, Table, TableInput
from jobs.landing import BY_NAME
from jobs.ops import BY_NAME as LOGS
from jobs.runner import conform
from jobs.settings import Market

DAYS = DayRange(dt.date(2024, 3, 10), dt.date(2024, 3, 12))
BUILT = DayRange(dt.date(2024, 3, 10), dt.date(2024, 3, 11))
FEATURES = sorted(node.name for node in discover().group("features") if isinstance(node.contract, Table))


def spread_days(frame, ds, window):
    made = spread(frame("ds date, n int", [(ds, 1)]), DAYS, window).collect()
    return sorted((str(r["ds"]), r["age"], str(r["event_ds"])) for r in made)


def test_a_row_reaches_every_built_day_whose_window_holds_it(frame):
    # a window of 3 days holds the row of the 9th on the 9th, 10th and 11th; the 9th is not built
    assert spread_days(frame, "2024-03-09", 3) == [("2024-03-10", 1, "2024-03-09"), ("2024-03-11", 2, "2024-03-09")]


def test_a_row_of_a_built_day_begins_at_age_0(frame):
    assert spread_days(frame, "2024-03-12", 3) == [("2024-03-12", 0, "2024-03-12")]


@pytest.mark.parametrize("ds", ["2024-03-07", "2024-03-13"])
def test_a_row_too_old_or_of_a_later_day_reaches_none(frame, ds):
    assert spread_days(frame, ds, 3) == []


def test_summed_takes_the_last_days_only_and_is_0_without_rows(frame):
    rows = frame("age int, n int", [(0, 1), (6, 2), (7, 4), (27, 8), (28, 16)])
    found = rows.agg(summed("n", 1).alias("d1"), summed("n", 7).alias("d7"), summed("n", 28).alias("d28"))
    assert [tuple(r) for r in found.collect()] == [(1, 3, 15)]
    assert found.dtypes == [("d1", "int"), ("d7", "int"), ("d28", "int")]
    assert rows.where("age > 100").agg(summed("n", 7).alias("n")).collect()[0]["n"] == 0


def test_a_single_day_is_spread_like_that_day_of_a_range(frame):
    daily = frame("ds date, n int", [(f"2024-03-{d:02}", d) for d in range(6, 14)])
    columns = ["ds", "n", "event_ds", "age"]
    each = [spread(daily, DayRange.day(d), 3).select(columns) for d in DAYS]
    assert sorted(reduce(DataFrame.unionByName, each).collect()) == sorted(
        spread(daily, DAYS, 3).select(columns).collect()
    )
    assert each[0].dtypes == spread(daily, DAYS, 3).select(columns).dtypes


def test_decay_takes_a_half_life_of_each_row(frame):
    rows = frame("age int, h double", [(6, 3.0)])
    assert rows.select(decay(rows["h"])).collect()[0][0] == 0.25


def test_decay_halves_at_each_half_life(frame):
    rows = frame("age int", [(0,), (7,), (14,)]).orderBy("age").select("age", decay(7.0).alias("w")).collect()
    assert [r["w"] for r in rows] == [1.0, 0.5, 0.25]


# -- every feature of the catalogue --------------------------------------------------------------


def value(rng: random.Random, table: str, name: str, kind: str):
    feed = BY_NAME.get(table.removeprefix("silver."))
    allowed = next((f.values for f in feed.fields if f.name == name), None) if feed else None
    if allowed:
        return rng.choice([*allowed, allowed[0]])
    made = {
        "string": lambda: rng.choice(["red", "blue", "red shoe", "blue sock"]),
        "boolean": lambda: rng.random() < 0.5,
        "double": lambda: round(rng.uniform(0, 3), 4),
        "date": lambda: dt.date(2024, 3, 1),
        "int": lambda: rng.choice([0, 800, 5_000] if name.endswith("_ms") else [0, 0, 1, 2, 5]),
        "bigint": lambda: (
            rng.randrange(1_700_000_000_000, 1_710_000_000_000) if name.endswith("_ms") else rng.choice([0, 1, 90, 150])
        ),
    }
    if kind.startswith("array<"):
        return [value(rng, table, name, kind[6:-1]) for _ in range(rng.randrange(4))]
    if kind.startswith("map<"):
        of_key, of_value = kind[4:-1].split(",", 1)
        return {
            value(rng, table, name, of_key): value(rng, table, name, of_value.strip()) for _ in range(rng.randrange(4))
        }
    return made[kind]()


def daily_rows(rng: random.Random, contract: Table) -> list[tuple]:
    """Some keys on each built day, the day after, and a few of the 95 before."""
    before = [BUILT.first - dt.timedelta(days=n) for n in rng.sample(range(1, 95), 8) + [1, 2, 7, 28, 90]]
    after = BUILT.last + dt.timedelta(days=1)
    rows = []
    for ds in sorted({*before, *BUILT, after}):
        keys = {tuple(key_value(rng, contract, c) for c in contract.keys) for _ in range(5)}
        for key in sorted(keys, key=str):
            given = dict(zip(contract.keys, key))
            rows.append(
                (
                    ds,
                    *(
                        given[c.name] if c.name in given else value(rng, contract.name, c.name, c.type)
                        for c in contract.schema[1:]
                    ),
                )
            )
    return rows


def key_value(rng: random.Random, contract: Table, name: str):
    return rng.randrange(1, 5) if name.endswith("_id") else value(rng, contract.name, name, contract.column(name).type)


def build(node, frames: dict[str, DataFrame], days: DayRange) -> DataFrame:
    """The node's build on the days that its inputs may read, as the runner calls it."""
    arguments = {i.argument: None for i in node.artifact_inputs}
    arguments |= {i.argument: frames[i.table].where(i.window(days).where()) for i in node.table_inputs}
    market = {"market": Market("test")} if "market" in inspect.signature(node.build).parameters else {}
    return conform(node.contract, node.build(**arguments, days=days, params=node.params(), **market))


@pytest.mark.parametrize("name", FEATURES)
def test_a_range_of_days_is_the_same_as_its_days_one_by_one(frame, name):
    catalog = discover()
    node = catalog.node(name)
    without = [i for i in node.contract.inputs if not isinstance(i, TableInput) and not getattr(i, "optional", False)]
    assert not without, "give this test the feature's other inputs"
    order = ["ds", *node.contract.keys]
    # drawn again where the first rows leave a day without any of this feature's
    for seed in (name, f"{name} again", f"{name} once more"):
        rng, frames = random.Random(seed), {}
        for table in [i.table for i in node.table_inputs]:
            contract = LOGS[table] if table in LOGS else catalog.table(table)
            frames[table] = frame(", ".join(f"{c.name} {c.type}" for c in contract.schema), daily_rows(rng, contract))
        once = build(node, frames, BUILT).orderBy(*order).collect()
        if {r["ds"] for r in once} == set(BUILT):
            break
    each = [build(node, frames, DayRange.day(d)) for d in BUILT]
    singly = reduce(DataFrame.unionByName, each).orderBy(*order).collect()
    assert once == singly
    assert {r["ds"] for r in once} == set(BUILT), "each day has rows, or the test says nothing"
    keys = [tuple(r[k] for k in order) for r in once]
    assert len(set(keys)) == len(keys) and not any(k is None for key in keys for k in key)
