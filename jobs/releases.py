"""Releases: one content-addressed id binds the served tables of a day; one committed row moves the pointer.

``serving.*`` is append-only: a release's rows are never rewritten, and publishing the same lists again
is the same release. The pointer is the newest ``ops.release`` row whose kind moves it (nightly,
rollback); it goes to a later or equal day only, or where a person says so.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterable
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs import ops
from jobs.artifacts import latest_artifact, pinned
from jobs.contract import DayRange, Table
from jobs.errors import ContractError, PublishError
from jobs.holds import refuse_on_hold
from jobs.lake import Lake
from jobs.locks import exclusive
from jobs.publishing import now_ms
from jobs.runner import Runner
from jobs.scan import published
from jobs.settings import Settings
from jobs.stages import Staged, row_hash

MOVES_POINTER = ("nightly", "rollback")


def history(lake: Lake) -> list[dict[str, Any]]:
    """Every release row of this lake itself, oldest first."""
    return sorted(lake.rows(ops.RELEASE.name, through=False).to_pylist(), key=lambda r: r["sequence"])


def current(lake: Lake) -> dict[str, Any] | None:
    """The release that readers get, or None before the first."""
    moving = [row for row in history(lake) if row["kind"] in MOVES_POINTER]
    return moving[-1] if moving else None


def content_hash(runner: Runner, made: Iterable[Staged]) -> str:
    """Hash of the staged rows of all tables, whatever their order and files."""
    parts = []
    for staged in sorted(made, key=lambda s: s.table):
        contract = runner.catalog.table(staged.table)
        parts.append(f"{staged.table}:{_content(runner.stages.frame(contract, staged.attempt), contract)}")
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]


def _content(frame: DataFrame, contract: Table) -> str:
    hashed = F.sum(row_hash(contract).cast("decimal(38,0)"))
    found = frame.agg(F.count(F.lit(1)).alias("rows"), hashed.alias("sum")).collect()[0]
    return f"{found['rows']}:{found['sum']}"


def publish_release(runner: Runner, made: list[Staged], ds: dt.date) -> dict[str, Any]:
    """Publish the staged serving tables as a release and, for the newest day, move the pointer to it.

    Returns
    -------
    dict
        The release row.

    Raises
    ------
    PublishError
        A person has put publishing on hold.
    """
    refuse_on_hold(runner.lake, ds)
    served = [s for s in made if runner.catalog.table(s.table).append]
    release_id = f"{ds}-{content_hash(runner, served)}"
    lake, settings = runner.lake, runner.settings
    with exclusive(settings.locks, ops.RELEASE.name) as token:
        rows = history(lake)
        known = [r for r in rows if r["release_id"] == release_id and r["kind"] != "rollback"]
        versions = runner.publish([s for s in made if s not in served])
        if known:
            for staged in served:
                runner.lake.sweep(runner.catalog.table(staged.table), staged.attempt)
                runner.staged.pop(staged.table, None)
        else:
            versions |= runner.publish(served, version_key=release_id)
        now = current(lake)
        if known and now is not None and now["release_id"] == release_id:
            return now
        kind = "nightly" if now is None or ds >= now["ds"] else "backfill"
        row = _row(runner, release_id, kind, ds, made, versions, sequence=len(rows) + 1)
        token.verify()
        lake.append(ops.RELEASE, [row])
        return row


def _row(
    runner: Runner, release_id: str, kind: str, ds: dt.date, made: list[Staged], versions: dict[str, int], sequence: int
) -> dict[str, Any]:
    pin = pinned(runner.lake, "ranker", ds) or {}
    index = latest_artifact(runner.lake, "models.item_index", ds)
    tables = {s.table: {"rows": sum(s.rows.values()), "version": versions.get(s.table)} for s in made}
    return {
        "ds": ds,
        "release_id": release_id,
        "kind": kind,
        "sequence": sequence,
        "model": pin.get("model") or "",
        "model_version": pin.get("version") or "",
        "index_path": str(index) if index else None,
        "tables": json.dumps(tables, sort_keys=True),
        "run_id": runner.run_id,
        "reason": None,
        "at_ms": now_ms(),
    }


def rollback(settings: Settings, to: str | None, reason: str) -> dict[str, Any]:
    """Move the pointer back: to the named release, else to the one that was current before this one.

    Lists, index and model go together: a release row names all three.

    Raises
    ------
    PublishError
        There is no such release.
    """
    lake = Lake(settings)
    with exclusive(settings.locks, ops.RELEASE.name) as token:
        rows = history(lake)
        moving = [r for r in rows if r["kind"] in MOVES_POINTER]
        if to is None:
            earlier = [r for r in moving if r["release_id"] != moving[-1]["release_id"]] if moving else []
            if not earlier:
                raise PublishError("There is no earlier release to go back to; see `nightjar releases`.")
            target = earlier[-1]
        else:
            named = [r for r in rows if r["release_id"] == to]
            if not named:
                raise PublishError(f"There is no release {to!r}; see `nightjar releases`.")
            target = named[-1]
        row = {**target, "kind": "rollback", "sequence": len(rows) + 1, "reason": reason, "at_ms": now_ms()}
        token.verify()
        lake.append(ops.RELEASE, [row])
        return row


def content_of(runner: Runner, table: str, days: DayRange) -> str:
    """Content hash of published days of a table: equal rows give equal hashes, whatever files hold them."""
    contract = runner.table(table)
    frame = published(runner.spark, runner.lake, contract, days)
    if frame is None:
        raise ContractError(f"{table} was never built: there is no content to compare.")
    return _content(frame, contract)
