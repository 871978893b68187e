"""How the runner cuts a range into builds: days where a table asks for it, and at the fits of an artifact."""

from __future__ import annotations

import datetime as dt
import json
from contextlib import nullcontext
from dataclasses import replace

import pytest
from pyspark.sql import functions as F

from jobs import ops
from jobs.catalog import Catalog, discover
from jobs.contract import Artifact, ArtifactInput, Column, DayRange, Node, Table, TableInput, between
from jobs.errors import CheckFailed
from jobs.runner import Runner

# 2024-03-03 and 2024-03-10 are multiples of 7 when days are counted from the calendar's first
FIRST, LAST = dt.date(2024, 3, 1), dt.date(2024, 3, 12)
DAYS = DayRange(FIRST, LAST)


def table(name, group, inputs=(), **more):
    return Table(name, group, "me", "A table.", [Column("n", "int", "Number.")], ["n"], inputs, **more)


@pytest.fixture
def runner(settings, spark):
    builds: dict[str, list[str]] = {}

    def source(*, days, params):
        return spark.createDataFrame([(day, day.day) for day in days], "ds date, n int")

    def fit(source, *, days, params, out):
        (out / "as_of.json").write_text(json.dumps(days.last.day))
        return {"rows": source.count()}

    def fitted(source, fit, *, days, params):
        builds.setdefault("fitted", []).append(str(days))
        as_of = json.loads((fit / "as_of.json").read_text()) if fit else 0
        return source.select("ds", F.lit(as_of).alias("n"))

    def by_day(source, *, days, params):
        builds.setdefault("by_day", []).append(str(days))
        return source

    nodes = [
        Node(table("silver.source", "silver"), source),
        Node(Artifact("features.fit", "features", "me", "Fit.", [TableInput("silver.source", days=7)], 7), fit),
        Node(
            table(
                "features.fitted",
                "features",
                [TableInput("silver.source"), ArtifactInput("features.fit", optional=True)],
            ),
            fitted,
        ),
        Node(table("features.by_day", "features", [TableInput("silver.source")], grain="day"), by_day),
    ]
    made = Runner(settings, Catalog({n.name: n for n in nodes}), spark, "run", None, None)
    made.builds = builds
    return made


def test_a_table_of_days_and_the_readers_of_a_weekly_fit_are_built_in_parts(runner):
    runner.build_group(runner.catalog.group("silver"), DAYS)
    made = {s.table: s for s in runner.build_group(runner.catalog.group("features"), DAYS)}
    assert runner.builds["by_day"] == [str(day) for day in DAYS]
    assert runner.builds["fitted"] == [
        "2024-03-01 to 2024-03-02",
        "2024-03-03 to 2024-03-09",
        "2024-03-10 to 2024-03-12",
    ]
    assert set(made["features.by_day"].rows.values()) == {1} and len(made["features.by_day"].rows) == 12
    rows = runner.lake.rows("features.fitted").to_pylist()
    # nothing was fitted before the first Sunday; then every day has the fit of its own week
    assert {r["ds"].day: r["n"] for r in rows} == {d: 0 if d < 3 else 3 if d < 10 else 10 for d in range(1, 13)}


def test_days_one_by_one_in_any_order_read_the_same_fits(runner):
    runner.build_group(runner.catalog.group("silver"), DAYS)
    runner.build_group(runner.catalog.group("features"), DAYS)
    ranged = sorted((r["ds"], r["n"]) for r in runner.lake.rows("features.fitted").to_pylist())
    for day in reversed(list(DAYS)):
        runner.build_group(runner.catalog.group("features"), DayRange.day(day))
    assert sorted((r["ds"], r["n"]) for r in runner.lake.rows("features.fitted").to_pylist()) == ranged


def test_what_serves_lists_is_fitted_on_the_first_day_that_finds_no_fit_of_the_week(settings):
    reader = table("candidates.found", "candidates", [ArtifactInput("models.fit")])
    runner = Runner(settings, Catalog({reader.name: Node(reader, None)}), None, "run", None, None)
    weekly = Artifact("models.fit", "fit", "me", "Fit.", every_days=7, fill_gap=True)
    sundays = [dt.date(2024, 3, 3), dt.date(2024, 3, 10)]

    def kept(ds: dt.date) -> None:
        row = {"ds": ds, "artifact": "models.fit", "path": "p", "checksum": str(ds), "facts": "{}", "inputs": "{}"}
        runner.lake.append(ops.ARTIFACT, [{**row, "run_id": "run", "at_ms": 1}])

    assert runner._fit_days(weekly, DAYS) == [FIRST, *sundays]
    # a night later in the week finds that fit; a week without any is filled again
    kept(FIRST)
    assert runner._fit_days(weekly, DayRange.day("2024-03-02")) == []
    assert runner._fit_days(weekly, DayRange.day("2024-03-08")) == [dt.date(2024, 3, 8)]
    kept(sundays[1])
    assert runner._fit_days(weekly, DayRange.day(LAST)) == []
    # the night after features began to drift fits anew, those after it do not
    drift = discover().table("audit.drift")
    for day, verdict in ((4, "ok"), (5, "drift"), (6, "drift")):
        row = {"ds": dt.date(2024, 3, day), "table": "features.item_stats", "feature": "price", "verdict": verdict}
        runner.lake.append(drift, [row])
    assert runner._fit_days(weekly, DayRange.day("2024-03-05")) == []
    assert runner._fit_days(weekly, DayRange.day("2024-03-06")) == [dt.date(2024, 3, 6)]
    assert runner._fit_days(weekly, DayRange.day("2024-03-07")) == []
    # a day that was built before is built again with the fit that it had
    runner.lake.append(reader, [{"ds": dt.date(2024, 3, 6), "n": 1}])
    assert runner._fit_days(weekly, DayRange.day("2024-03-06")) == []
    # features keep to the calendar, whatever was built before
    assert runner._fit_days(replace(weekly, fill_gap=False), DAYS) == sundays


@pytest.mark.parametrize("group", ["audit", "features"])
def test_declared_checks_hold_as_a_table_is_built_unless_a_gate_follows(settings, spark, group):
    def build(*, days, params):
        return spark.createDataFrame([(day, day.day) for day in days], "ds date, n int")

    node = Node(table(f"{group}.days", group, checks=[between("n", 1, 11)]), build)
    made = Runner(settings, Catalog({node.name: node}), spark, "run", None, None)
    with pytest.raises(CheckFailed, match=f"{LAST}: 1 rows break between") if group == "audit" else nullcontext():
        made.build_group([node], DAYS, publish=False)
