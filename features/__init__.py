"""Feature tables, a file each."""

from __future__ import annotations

import importlib
import pkgutil

from jobs.contract import Table


def contracts() -> list[Table]:
    """The contracts of all tables ``features.*``, by name."""
    found: list[Table] = []
    for info in pkgutil.walk_packages(__path__, prefix="features."):
        module = importlib.import_module(info.name)
        found += [node.contract for node in getattr(module, "NODES", ())]
        found += [module.CONTRACT] if hasattr(module, "CONTRACT") else []
    tables = [c for c in found if isinstance(c, Table) and c.name.startswith("features.")]
    return sorted(tables, key=lambda c: c.name)
