"""Existing tables follow their contracts: a new column is added; a retyped one is a new version of the table."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from deltalake import Field
from deltalake.schema import PrimitiveType

from jobs.catalog import Catalog
from jobs.contract import DayRange, Table
from jobs.errors import ContractError
from jobs.lake import Lake, schema_of
from jobs.locks import exclusive
from jobs.ops import LOGS


def migrate(lake: Lake, catalog: Catalog, renew: Collection[str] = ()) -> list[dict[str, Any]]:
    """Add every new nullable column to its table, and begin new versions of the tables in ``renew``.

    The old version of a renewed table is kept beside it, as ``<table>.v1`` and so on; the new one is empty until its
    days are built.

    Returns
    -------
    list of dict
        What was done: ``table``, the columns ``added``, where the old version is ``kept``, and ``then`` what to run.

    Raises
    ------
    ContractError
        A column was retyped or removed in a table that is not renewed, or a table cannot be renewed; nothing was
        changed, in any table.
    """
    tables = [n.contract for n in catalog.nodes.values() if isinstance(n.contract, Table)] + list(LOGS)
    if unknown := set(renew) - {contract.name for contract in tables}:
        raise ContractError(f"There is no table {sorted(unknown)} to renew; see `nightjar tables`.")
    adding: list[tuple[Table, list[str]]] = []
    renewing: list[Table] = []
    for contract in tables:
        opened = lake.open(contract.name)
        if opened is None:
            continue
        differences = lake.differences(contract, opened)
        new = [d.split()[1] for d in differences if d.endswith("is new")]
        other = [d for d in differences if not d.endswith("is new")]
        if other:
            _may_be_renewed(lake, contract, other, renew)
            renewing.append(contract)
        elif new:
            adding.append((contract, new))
    done = [_renew(lake, contract) for contract in renewing]
    return done + [_add(lake, contract, new) for contract, new in adding]


def _may_be_renewed(lake: Lake, contract: Table, differences: list[str], renew: Collection[str]) -> None:
    said = f"{contract.name} cannot be migrated in place: {'; '.join(differences)}."
    if contract.append or contract in LOGS:
        raise ContractError(f"{said} It is history and is never begun anew: give the changed column a new name.")
    if contract.name not in renew:
        raise ContractError(
            f"{said} That is a new version of the table: `nightjar migrate --renew {contract.name}` keeps the old one "
            f"as {_old(lake, contract)} and begins an empty one. Or restore the contract."
        )


def _old(lake: Lake, contract: Table) -> Path:
    """Where the present version of a table is kept when a new one begins."""
    path = lake.path(contract.name)
    taken = {each.name for each in path.parent.glob(f"{path.name}.v*")}
    number = next(n for n in range(1, len(taken) + 2) if f"{path.name}.v{n}" not in taken)
    return path.with_name(f"{path.name}.v{number}")


def _renew(lake: Lake, contract: Table) -> dict[str, Any]:
    days = lake.days(contract.name)
    with exclusive(lake.settings.locks, contract.name):
        kept = _old(lake, contract)
        lake.path(contract.name).rename(kept)
        lake.ensure(contract)
    span = DayRange(days[0], days[-1]) if days else None
    then = f"nightjar run {contract.name} --from {span.first} --to {span.last}" if span else ""
    return {"table": contract.name, "added": "", "kept": str(kept), "then": then}


def _add(lake: Lake, contract: Table, new: list[str]) -> dict[str, Any]:
    wanted = {f["name"]: f for f in json.loads(schema_of(contract).to_json())["fields"]}
    added = [Field(n, _type(wanted[n]["type"]), nullable=True, metadata=wanted[n]["metadata"]) for n in new]
    lake.open(contract.name).alter.add_columns(added)
    return {"table": contract.name, "added": ", ".join(new), "kept": "", "then": ""}


def _type(plain: Any) -> Any:
    if isinstance(plain, str):
        return PrimitiveType(plain)
    field = json.dumps({"name": "x", "type": plain, "nullable": True, "metadata": {}})
    return Field.from_json(field).type
