"""What people look at: rows with original ids and titles, lineage, plans, the dictionary."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd

from jobs.catalog import Catalog
from jobs.contract import Artifact, ArtifactInput, LandingInput, Table, TableInput
from jobs.errors import ContractError
from jobs.lake import Lake
from jobs.ops import BY_NAME

NAMES = {"user_id": "silver.users", "item_id": "silver.items", "creator_id": "silver.creators"}
ITEM_COLUMNS = ("item_id", "seed_item_id", "neighbour_id", "similar_item_id")


def rows(lake: Lake, catalog: Catalog, table: str, ds: str | None, where: str | None, limit: int) -> pd.DataFrame:
    """Rows of a table (its newest day by default) with original ids, and titles beside item ids.

    Raises
    ------
    ContractError
        The table does not exist, or ``where`` is no condition on its columns.
    """
    contract = BY_NAME[table] if table in BY_NAME else catalog.table(table)
    if not lake.known(table):
        raise ContractError(f"{table} was never built: run it with `nightjar run {table}`.")
    days = lake.days(table)
    day = ds or (str(days[-1]) if days else None)
    frame = lake.rows(table, **({"ds": day} if day else {})).to_pandas()
    frame = readable(lake, frame, day, contract)
    if where:
        try:
            frame = frame.query(where)
        except Exception as error:
            raise ContractError(f"--where {where!r} does not fit {list(frame.columns)}: {error}.") from error
    order = [k for k in contract.keys if k in frame.columns]
    return frame.sort_values(order, kind="stable").head(limit) if order else frame.head(limit)


def readable(lake: Lake, frame: pd.DataFrame, day: str | None, contract: Table) -> pd.DataFrame:
    """Surrogate keys replaced by original ids; an unknown key stays a number."""
    made = frame.copy()
    for column in frame.columns:
        kind = "item_id" if column in ITEM_COLUMNS else column
        source = NAMES.get(kind)
        if source is None or contract.name.startswith("bronze.") or day is None or contract.name in NAMES.values():
            continue
        known = names_of(lake, source, kind, dt.date.fromisoformat(day))
        if known.empty:
            continue
        made[column] = frame[column].map(known["original_id"]).fillna(frame[column].astype("string"))
        if "title" in known.columns:
            made.insert(
                made.columns.get_loc(column) + 1, column.replace("_id", "_title"), frame[column].map(known["title"])
            )
    return made


def names_of(lake: Lake, source: str, key: str, day: dt.date) -> pd.DataFrame:
    """Original ids (and titles) by surrogate key, of the newest snapshot up to ``day``."""
    days = [d for d in lake.days(source) if d <= day]
    if not days:
        return pd.DataFrame()
    columns = [key, "original_id", *(["title"] if source == "silver.items" else [])]
    return lake.rows(source, columns, ds=days[-1]).to_pandas().set_index(key)


def lineage(catalog: Catalog, name: str) -> list[str]:
    """A tree of what a node reads and what reads it, one line a node."""
    catalog.node(name)
    lines = [name]

    def up(of: str, depth: int) -> None:
        for source in catalog.node(of).upstream:
            lines.append(f"{'  ' * depth}<- {source}")
            up(source, depth + 1)

    up(name, 1)
    lines += [f"  -> {reader}" for reader in catalog.downstream(name) if reader != name]
    return lines


def dictionary(contract: Table | Artifact) -> list[dict[str, Any]]:
    """The columns of a table, a row each; ``marks`` says which are keys, of a person, and sensitive."""
    if not isinstance(contract, Table):
        return []
    rows = []
    for column in contract.schema:
        marks = {"key": column.name in contract.keys, "subject": column.subject, "sensitive": column.sensitive}
        of_it = {"name": column.name, "type": column.type, "unit": column.unit or ""}
        said = ", ".join(mark for mark, holds in marks.items() if holds)
        rows.append({**of_it, "marks": said, "description": column.description})
    return rows


def reads(contract: Table | Artifact) -> list[str]:
    """What a node reads, with the days of each as seen from the built one."""
    return [_said(each) + (", optional" if getattr(each, "optional", False) else "") for each in contract.inputs]


def _said(each: Any) -> str:
    if isinstance(each, LandingInput):
        return f"landing feed {each.feed}"
    if isinstance(each, ArtifactInput):
        return f"{each.artifact}, fitted {_days(each.max_age, 0)}"
    if isinstance(each, TableInput):
        return f"{each.table}, {_days(each.lag + each.days - 1, each.lag - each.ahead)}"
    return f"the model of the day for {each.role}"


def _days(oldest: int, newest: int) -> str:
    """Days by how many they lie before the built one."""
    names = [f"ds{-back:+d}" if back else "ds" for back in (oldest, newest)]
    return " to ".join(dict.fromkeys(names))
