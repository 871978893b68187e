"""Feature tables that a market's data cannot fill, and why: told by what was built and what never landed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection

from jobs import ops
from jobs.catalog import Catalog
from jobs.contract import Table
from jobs.lake import Lake


def feeds_of(catalog: Catalog, name: str) -> set[str]:
    """The feeds that a node is made from, directly or not."""
    node = catalog.node(name)
    own = {each.feed for each in node.landing_inputs}
    return own.union(*(feeds_of(catalog, upstream) for upstream in node.upstream))


def unsupported(lake: Lake, catalog: Catalog, landed: Collection[str], day: dt.date) -> list[str]:
    """A sentence on every feature table that was built for the day and has no row.

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
        if isinstance(node.contract, Table) and rows.get(node.name, (0, 1))[1] == 0:
            feeds = feeds_of(catalog, node.name)
            missing = ", ".join(sorted(feeds - set(landed)))
            why = f"never landed: {missing}" if missing else f"nothing of its kind in {', '.join(sorted(feeds))}"
            said.append(f"{node.name} has no row ({why}).")
    return said
