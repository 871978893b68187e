"""Feature tables and columns that a market's data cannot fill: told by what was built and what never landed."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

import pyarrow.parquet as pq

from jobs import ops
from jobs.catalog import Catalog
from jobs.contract import Table
from jobs.lake import Lake

LEAST_ROWS = 20
"""Of fewer rows it may be chance that none has a value."""


def feeds_of(catalog: Catalog, name: str) -> set[str]:
    """The feeds that a node is made from, directly or not."""
    node = catalog.node(name)
    own = {each.feed for each in node.landing_inputs}
    return own.union(*(feeds_of(catalog, upstream) for upstream in node.upstream))


def unsupported(lake: Lake, catalog: Catalog, landed: Collection[str], day: dt.date) -> list[str]:
    """A sentence on every feature table that was built for the day and has no row, or columns without any value.

    Parameters
    ----------
    landed
        Feeds of which some day has landed.
    """
    rows: dict[str, tuple[int, int]] = {}
    for row in lake.rows(ops.RUN.name, ["table", "status", "rows", "at_ms"], ds=day).to_pylist():
        if row["status"] == "published" and row["rows"] is not None:
            rows[row["table"]] = max(rows.get(row["table"], (0, 0)), (row["at_ms"], row["rows"]))
    said = []
    for node in catalog.group("features"):
        count = rows[node.name][1] if node.name in rows else None
        if not isinstance(node.contract, Table) or count is None:
            continue
        if count == 0:
            feeds = feeds_of(catalog, node.name)
            missing = ", ".join(sorted(feeds - set(landed)))
            why = f"never landed: {missing}" if missing else f"nothing of its kind in {', '.join(sorted(feeds))}"
            said.append(f"{node.name} has no row ({why}).")
        elif count >= LEAST_ROWS and (unknown := without_values(node.contract, files_of(lake, node.contract, day))):
            said.append(f"{node.name} has no value in any row of: {', '.join(unknown)}.")
    return said


def files_of(lake: Lake, contract: Table, day: dt.date) -> list[Path]:
    """The files of a day; a private lake's own, where it built the day."""
    for each in (lake, lake.behind):
        found = each.live(contract, [day]) if each is not None else {}
        if found:
            return [each.path(contract.name) / path for path in found[str(day)]]
    return []


def without_values(contract: Table, files: Iterable[Path]) -> list[str]:
    """Plain columns that are null in every row, as the footers of the files count."""
    rows, nulls = 0, Counter[str]()
    for path in files:
        footer = pq.read_metadata(path)
        rows += footer.num_rows
        for group in map(footer.row_group, range(footer.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                if column.is_stats_set and column.statistics.has_null_count:
                    nulls[column.path_in_schema] += column.statistics.null_count
    return [column.name for column in contract.columns if rows and nulls[column.name] == rows]
