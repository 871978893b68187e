"""One bundle for an outside auditor: the audits' tables, their definitions, versions and checksums."""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import hmac
import json
import zipfile
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Any

from jobs import ops
from jobs.catalog import Catalog
from jobs.contract import DayRange, Table
from jobs.errors import SettingsError
from jobs.lake import Lake
from jobs.runner import code_version
from jobs.services.state import State
from jobs.settings import Settings

LOGS = (ops.RELEASE, ops.MODEL_PIN, ops.WAIVER, ops.HOLD, ops.RUN, ops.DATA_QUALITY, ops.FINDING, ops.ETHICS_REVIEW)
METRICS = Path(__file__).resolve().parent.parent / "metrics"
SAME_TIME = (1980, 1, 1, 0, 0, 0)
"""Of every file in the bundle: the same contents give the same bytes."""


def audit_tables(catalog: Catalog) -> list[Table]:
    """The audits, and the logs that say what was done; none of them has a column of people's attributes."""
    nodes = [n.contract for n in catalog.nodes.values() if isinstance(n.contract, Table)]
    return [*(t for t in nodes if t.name.startswith("audit.")), *LOGS]


def export(settings: Settings, catalog: Catalog, days: DayRange, target: Path) -> dict[str, Any]:
    """Write the bundle, a ZIP file of CSV, JSON and YAML.

    Columns that identify a person (``subject`` in the contract) are replaced by a hash with a secret salt, so that rows
    can be counted by person and nobody is named. The salt is made once in an installation, of market and days, and is
    in no bundle: who knows the keys of users cannot look them up, and the same bundle is the same bytes.

    Parameters
    ----------
    days
        The days of the tables.
    target
        The file to write; it must not exist.

    Returns
    -------
    dict
        The manifest: per file its SHA-256, rows, and the Delta version of its table.

    Raises
    ------
    SettingsError
        The file exists.
    """
    if target.exists():
        raise SettingsError(f"{target} exists: an audit's bundle is never overwritten, name another file.")
    lake = Lake(settings)
    secret = State(settings.home).credential("audit_export_salt").encode()
    salt = hmac.new(secret, f"{settings.market.name} {days}".encode(), hashlib.sha256).hexdigest()
    files: dict[str, bytes] = {}
    tables: list[dict[str, Any]] = []
    for contract in audit_tables(catalog):
        if lake.known(contract.name):
            rows = lake.rows(contract.name, ds=list(days)).to_pylist()
            name = f"tables/{contract.name}.csv"
            files[name] = as_csv(contract, rows, salt)
            tables.append(
                {"file": name, "table": contract.name, "rows": len(rows), "version": lake.version(contract.name)}
            )
    files["dictionary.json"] = _json([described(contract) for contract in audit_tables(catalog)])
    for path in sorted(METRICS.glob("*.yaml")):
        files[f"metrics/{path.name}"] = path.read_bytes()
    manifest = {
        "market": settings.market.name,
        "days": [str(days.first), str(days.last)],
        "code_version": code_version(),
        "config_hash": settings.market.hash,
        "tables": tables,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }
    _write(target, files | {"manifest.json": _json(manifest)})
    return manifest


def as_csv(contract: Table, rows: Iterable[dict[str, Any]], salt: str) -> bytes:
    """Rows in the order of the contract's columns, sorted; people are hashes."""
    names = [c.name for c in contract.schema]
    people = {c.name for c in contract.schema if c.subject}

    def cell(name: str, value: Any) -> str:
        if value is None:
            return ""
        return hashlib.sha256(f"{salt}{value}".encode()).hexdigest()[:16] if name in people else str(value)

    text = StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(sorted([cell(name, row.get(name)) for name in names] for row in rows))
    return text.getvalue().encode()


def described(contract: Table) -> dict[str, Any]:
    """A table's part of the dictionary."""
    kept = ("name", "type", "unit", "description")
    columns = [{name: getattr(column, name) for name in kept} for column in contract.schema]
    return {"table": contract.name, "owner": contract.owner, "description": contract.description, "columns": columns}


def verify(bundle: Path) -> list[str]:
    """Names of the files of a bundle that are not what its manifest says; empty where all is well."""
    with zipfile.ZipFile(bundle) as archive:
        wanted = json.loads(archive.read("manifest.json"))["sha256"]
        present = {name for name in archive.namelist() if name != "manifest.json"}
        wrong = [n for n in present & set(wanted) if hashlib.sha256(archive.read(n)).hexdigest() != wanted[n]]
    return sorted({*wrong, *(present ^ set(wanted))})


def default_target(settings: Settings, days: DayRange) -> Path:
    """Where a bundle goes unless somebody says: a new name each time."""
    stamp = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    return settings.home / "exports" / f"audit-{settings.market.name}-{days.first}-{days.last}-{stamp}.zip"


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, default=str).encode()


def _write(target: Path, files: dict[str, bytes]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, SAME_TIME), content, zipfile.ZIP_DEFLATED)
    partial.replace(target)
