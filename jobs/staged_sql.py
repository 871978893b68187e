"""SQL over staged Parquet files, by DuckDB within this process.

The checks of a stage are one aggregation a table. Spark takes a second to plan, compile and run each, whatever its
size, and a night has a hundred of them; DuckDB counts the same files in milliseconds, and spills where they are large.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import duckdb

MEMORY = "1GB"


def staged_rows(folder: Path, query: str) -> list[dict[str, Any]]:
    """Rows of a query over ``staged``: the Parquet files below a folder, partition values as text.

    Parameters
    ----------
    folder
        A stage, with ``key=value`` folders below it. One without files has no rows.
    query
        SQL of DuckDB; names must be quoted by `identifier`.
    """
    files = [str(path) for path in sorted(folder.rglob("*.parquet"))]
    if not files:
        return []
    with duckdb.connect() as db:
        db.execute(f"SET memory_limit = '{MEMORY}'")
        db.execute(f"SET threads = {min(2, os.cpu_count() or 1)}")
        db.execute("SET preserve_insertion_order = false")
        db.execute("SET TimeZone = 'UTC'")
        db.execute("SET temp_directory = $1", [str(folder / "_duckdb")])
        listed = ", ".join(map(literal, files))
        db.execute(
            "CREATE TEMP VIEW staged AS SELECT * FROM "
            f"read_parquet([{listed}], hive_partitioning = true, hive_types_autocast = false)"
        )
        found = db.execute(query)
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def literal(text: str) -> str:
    """A text as a literal."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name as DuckDB reads it whatever it holds."""
    return '"' + name.replace('"', '""') + '"'
