"""Feature tables without rows are named with the feeds that are missing, columns without values with their table."""

from __future__ import annotations

import datetime as dt

from jobs import ops
from jobs.catalog import Catalog
from jobs.contract import Column, LandingInput, Node, Table, TableInput
from jobs.lake import Lake
from jobs.settings import Market, Settings
from jobs.unsupported import feeds_of, unsupported

DAY = dt.date(2024, 3, 1)


def node(name: str, *inputs) -> Node:
    contract = Table(name, name.split(".")[0], "me", "Things.", [Column("n", "bigint", "Number.")], ["n"], inputs)
    return Node(contract, print)


CATALOG = Catalog(
    {
        made.name: made
        for made in (
            node("bronze.reviews", LandingInput("reviews")),
            node("bronze.events", LandingInput("events")),
            node("silver.reviews", TableInput("bronze.reviews")),
            node("features.sentiment", TableInput("silver.reviews"), TableInput("bronze.events")),
            node("features.refusals", TableInput("bronze.events")),
            node("features.clicks", TableInput("bronze.events")),
            node("features.later", TableInput("bronze.events")),
        )
    }
)


def test_feeds_are_found_through_all_tables_between():
    assert feeds_of(CATALOG, "features.sentiment") == {"reviews", "events"}


def test_a_table_without_rows_is_named_with_its_reason_and_one_that_was_not_built_is_not(tmp_path):
    lake = Lake(Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("demo")))
    run = {"run_id": "r", "attempt": "a", "ds": DAY, "status": "published", "at_ms": 1}
    lake.append(
        ops.RUN,
        [
            {**run, "table": "features.sentiment", "rows": 3},
            {**run, "table": "features.sentiment", "rows": 0, "at_ms": 2},
            {**run, "table": "features.refusals", "rows": 0},
            {**run, "table": "features.clicks", "rows": 5},
            {**run, "table": "features.later", "rows": 0, "ds": DAY + dt.timedelta(days=1)},
            {**run, "table": "silver.reviews", "rows": 0},
        ],
    )
    assert sorted(unsupported(lake, CATALOG, {"events"}, DAY)) == [
        "features.refusals has no row (nothing of its kind in events).",
        "features.sentiment has no row (never landed: reviews).",
    ]


def test_columns_without_a_value_in_any_row_of_the_day_are_named_once_there_are_rows_enough(tmp_path):
    lake = Lake(Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("demo")))
    columns = [
        Column("n", "bigint", "Number."),
        Column("ctr", "double", "Rate.", digits=6),
        Column("tags", "array<int>", "Tags."),
    ]
    inputs = [TableInput("bronze.events")]
    tables = {
        name: Table(f"features.{name}", "features", "me", "Things.", columns, ["n"], inputs)
        for name in ("shown", "few", "receipts")
    }
    catalog = Catalog(
        {"bronze.events": CATALOG.node("bronze.events"), **{t.name: Node(t, print) for t in tables.values()}}
    )
    # of 19 rows it may be chance; a rate of the day before is none of this day, nor is an empty array told
    for name, rows in (("shown", 20), ("few", 19), ("receipts", 20)):
        contract = tables[name]
        made = [
            {"ds": DAY, "n": n, "ctr": 0.5 if name == "shown" and n == 7 else None, "tags": []} for n in range(rows)
        ]
        lake.append(contract, [*made, {"ds": DAY - dt.timedelta(days=1), "n": 1, "ctr": 0.5}])
        run = {"run_id": "r", "attempt": "a", "ds": DAY, "status": "published", "at_ms": 1}
        lake.append(ops.RUN, [{**run, "table": contract.name, "rows": rows}])
    assert unsupported(lake, catalog, {"events"}, DAY) == ["features.receipts has no value in any row of: ctr."]
