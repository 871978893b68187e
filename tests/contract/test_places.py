"""Where people are: coordinates end before silver, and a cell of the grid is personal."""

from __future__ import annotations

from jobs.catalog import discover
from jobs.contract import Table
from jobs.ops import LOGS

TABLES = [node.contract for node in discover().nodes.values() if isinstance(node.contract, Table)]


def test_no_table_after_bronze_has_coordinates():
    with_coordinates = {
        table.name for table in [*TABLES, *LOGS] for column in table.columns if column.name in ("latitude", "longitude")
    }
    assert with_coordinates == {"bronze.impressions"}


def test_a_cell_is_personal_and_stays_where_places_are_learnt():
    cells = [(t.name, c) for t in TABLES for c in t.columns if c.name == "cell" or c.name.endswith("_cell")]
    assert {name for name, _ in cells} == {"silver.impressions", "silver.place_daily", "features.user_context"}
    assert all(column.subject for _, column in cells)
