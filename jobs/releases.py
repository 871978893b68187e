"""Releases: one content-addressed id binds the served tables of a day; one committed row moves the pointer.

``serving.*`` is append-only: a release's rows are never rewritten, and publishing the same lists again
is the same release. The pointer is the newest ``ops.release`` row whose kind moves it (nightly, patch,
rollback); it goes to a later or equal day only, or where a person says so. A patch is the release of a night
without what must not be shown any longer: the same model and index, and ``base_release_id`` names the night's.
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
from jobs.ops import MOVES_POINTER
from jobs.publishing import now_ms
from jobs.runner import Runner
from jobs.scan import published
from jobs.settings import Settings
from jobs.stages import Staged, row_hash


def history(lake: Lake) -> list[dict[str, Any]]:
    """Every release row of this lake itself, oldest first."""
    return sorted(lake.rows(ops.RELEASE.name, through=False).to_pylist(), key=lambda r: r["sequence"])


def current(lake: Lake) -> dict[str, Any] | None:
    """The release that readers get, or None before the first."""
    moving = [row for row in history(lake) if row["kind"] in MOVES_POINTER]
    return moving[-1] if moving else None


def required(lake: Lake) -> dict[str, Any]:
    """The current release.

    Raises
    ------
    PublishError
        Nothing has been published yet.
    """
    release = current(lake)
    if release is None:
        raise PublishError("Nothing has been published yet: run a night first.")
    return release


def base_of(row: dict[str, Any]) -> str:
    """The night's release that a row serves, as it was published or patched."""
    return row.get("base_release_id") or row["release_id"]


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
    lake = runner.lake
    with exclusive(runner.settings.locks, ops.RELEASE.name) as token:
        rows, now = history(lake), current(lake)
        versions = runner.publish([s for s in made if s not in served])
        versions |= _publish_lists(runner, served, release_id, rows)
        if now is not None and release_id in (now["release_id"], base_of(now)):
            return now
        kind = "nightly" if now is None or ds >= now["ds"] else "backfill"
        row = _row(runner, release_id, kind, ds, made, versions, sequence=len(rows) + 1)
        token.verify()
        lake.append(ops.RELEASE, [row])
        return row


def publish_patch(
    runner: Runner, made: list[Staged], base: dict[str, Any], reason: str, kind: str = "patch"
) -> dict[str, Any]:
    """Publish staged lists as a patch of the release row ``base``, and move the pointer to it.

    Parameters
    ----------
    kind
        ``patch`` of what is served now, or ``rollback`` to a patched older release.

    Returns
    -------
    dict
        The new release row; ``base`` itself where a patch changed nothing.

    Raises
    ------
    PublishError
        The pointer has moved since ``base`` was read.
    """
    release_id = f"{base['ds']}-{content_hash(runner, made)}"
    lake = runner.lake
    with exclusive(runner.settings.locks, ops.RELEASE.name) as token:
        rows, now = history(lake), current(lake)
        if kind == "patch" and (now is None or now["sequence"] != base["sequence"]):
            raise PublishError(f"Release {base['release_id']} is no longer the current one: look for feedback again.")
        versions = _publish_lists(runner, made, release_id, rows)
        if kind == "patch" and release_id == base["release_id"]:
            return base
        row = {
            **base,
            "release_id": release_id,
            "kind": kind,
            "sequence": len(rows) + 1,
            "tables": _tables(made, versions),
            "run_id": runner.run_id,
            "reason": reason,
            "at_ms": now_ms(),
            "base_release_id": base_of(base),
        }
        token.verify()
        lake.append(ops.RELEASE, [row])
        return row


def _publish_lists(runner: Runner, served: list[Staged], release_id: str, rows: list[dict[str, Any]]) -> dict[str, int]:
    """Publish lists under their release; those of a known release are there already, and their stage goes."""
    if not any(r["release_id"] == release_id for r in rows):
        return runner.publish(served, version_key=release_id)
    for staged in served:
        runner.lake.sweep(runner.catalog.table(staged.table), staged.attempt)
        runner.staged.pop(staged.table, None)
    return {}


def _tables(made: Iterable[Staged], versions: dict[str, int]) -> str:
    tables = {s.table: {"rows": sum(s.rows.values()), "version": versions.get(s.table)} for s in made}
    return json.dumps(tables, sort_keys=True)


def _row(
    runner: Runner, release_id: str, kind: str, ds: dt.date, made: list[Staged], versions: dict[str, int], sequence: int
) -> dict[str, Any]:
    pin = pinned(runner.lake, "ranker", ds) or {}
    used = _artifacts(runner, ds)
    return {
        "ds": ds,
        "release_id": release_id,
        "kind": kind,
        "sequence": sequence,
        "model": pin.get("model") or "",
        "model_version": pin.get("version") or "",
        "index_path": used.get("models.item_index"),
        "artifacts": json.dumps(used, sort_keys=True),
        "tables": _tables(made, versions),
        "run_id": runner.run_id,
        "reason": None,
        "at_ms": now_ms(),
    }


def _artifacts(runner: Runner, ds: dt.date) -> dict[str, str]:
    """Folders of the artifacts that the builds from the models to the lists of a day read."""
    nodes = [node for group in ("fit", "candidates", "serving") for node in runner.catalog.group(group)]
    read = [each for node in nodes for each in node.artifact_inputs]
    found = {each.artifact: latest_artifact(runner.lake, each.artifact, ds, each.max_age) for each in read}
    return {name: str(folder) for name, folder in found.items() if folder}


def rollback_target(rows: list[dict[str, Any]], to: str | None) -> dict[str, Any]:
    """The release row to go back to: of the named release, else of the night's that was served before this one.

    Raises
    ------
    PublishError
        There is no such release.
    """
    if to is not None:
        named = [r for r in rows if r["release_id"] == to]
        if not named:
            raise PublishError(f"There is no release {to!r}; see `nightjar releases`.")
        return named[-1]
    standing = _standing(rows)
    if len(standing) < 2:
        raise PublishError("There is no earlier release to go back to; see `nightjar releases`.")
    return standing[-2]


def _standing(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest row of every night's release that nobody went back from, in the order in which they were served."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        base = base_of(row)
        if row["kind"] == "nightly":
            # published again after it was gone back from: it counts from now on
            found.pop(base, None)
        elif row["kind"] == "rollback":
            served = list(found)
            since = (
                served[served.index(base) + 1 :] if base in found else [b for b in served if found[b]["ds"] > row["ds"]]
            )
            for left in since:
                del found[left]
        if row["kind"] in MOVES_POINTER:
            found[base] = row
    return list(found.values())


def rollback(settings: Settings, target: dict[str, Any], reason: str) -> dict[str, Any]:
    """Move the pointer back to a release as it was published (see ``rollback_target``).

    Lists, index and model go together: a release row names all three. It is for releases that serve nothing that
    must not be shown any longer; ``jobs.steps.rollback`` sees to that.
    """
    lake = Lake(settings)
    with exclusive(settings.locks, ops.RELEASE.name) as token:
        row = {**target, "kind": "rollback", "sequence": len(history(lake)) + 1, "reason": reason, "at_ms": now_ms()}
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
