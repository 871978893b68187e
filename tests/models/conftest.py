"""Literal tables by their contracts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import pytest

from jobs.catalog import discover


@pytest.fixture(scope="session")
def tables(spark) -> Callable:
    """``tables("silver.items", [{"item_id": 1}], "2024-03-10")``: rows with null for what they do not say."""
    catalog = discover()

    def of(name: str, rows: list[dict], ds: str):
        contract = catalog.table(name)
        day = dt.date.fromisoformat(ds)
        made = [tuple({"ds": day, **row}.get(c.name) for c in contract.schema) for row in rows]
        return spark.createDataFrame(made, ", ".join(f"`{c.name}` {c.type}" for c in contract.schema))

    return of
