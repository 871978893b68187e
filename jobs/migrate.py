"""Existing tables follow their contracts: a new column is added; a retyped one is a new table version."""

from __future__ import annotations

import json
from typing import Any

from deltalake import Field
from deltalake.schema import PrimitiveType

from jobs.catalog import Catalog
from jobs.contract import Table
from jobs.errors import ContractError
from jobs.lake import Lake, schema_of
from jobs.ops import LOGS


def migrate(lake: Lake, catalog: Catalog) -> list[dict[str, Any]]:
    """Add every new nullable column to its table.

    Returns
    -------
    list of dict
        What was done: ``table``, ``added``.

    Raises
    ------
    ContractError
        A column was retyped or removed; nothing was changed, in any table.
    """
    tables = [n.contract for n in catalog.nodes.values() if isinstance(n.contract, Table)] + list(LOGS)
    planned: list[tuple[Table, list[str]]] = []
    for contract in tables:
        opened = lake.open(contract.name)
        if opened is None:
            continue
        differences = lake.differences(contract, opened)
        new = [d.split()[1] for d in differences if d.endswith("is new")]
        other = [d for d in differences if not d.endswith("is new")]
        if other:
            raise ContractError(
                f"{contract.name} cannot be migrated in place: {'; '.join(other)}. Give the table a new name, "
                "or restore the contract."
            )
        if new:
            planned.append((contract, new))
    for contract, new in planned:
        wanted = {f["name"]: f for f in json.loads(schema_of(contract).to_json())["fields"]}
        added = [Field(n, _type(wanted[n]["type"]), nullable=True, metadata=wanted[n]["metadata"]) for n in new]
        lake.open(contract.name).alter.add_columns(added)
    return [{"table": contract.name, "added": ", ".join(new)} for contract, new in planned]


def _type(plain: Any) -> Any:
    if isinstance(plain, str):
        return PrimitiveType(plain)
    field = json.dumps({"name": "x", "type": plain, "nullable": True, "metadata": {}})
    return Field.from_json(field).type
