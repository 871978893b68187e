"""Artifacts: fitted things in folders named by their content, recorded in ``ops.artifact``; and pinned models."""

from __future__ import annotations

import datetime as dt
import hashlib
import shutil
from pathlib import Path
from typing import Any

from jobs import ops
from jobs.errors import ContractError
from jobs.lake import Lake

DRIFTED_SHARE = 0.2
"""From this part of the features on, what was fitted before is no longer trusted."""


def keep(work: Path, root: Path, ds: dt.date) -> tuple[Path, str]:
    """Move a fitted folder to its place below ``root``, named by its day and content.

    Returns
    -------
    Path, str
        Where it is, and the checksum of its files. The same content again is the same folder.
    """
    checksum = folder_checksum(work)
    target = root / f"{ds}-{checksum[:12]}"
    if target.exists():
        shutil.rmtree(work)
    else:
        work.rename(target)
    return target, checksum


def latest_artifact(lake: Lake, name: str, ds: dt.date, max_age: int = 30) -> Path | None:
    """Folder of the newest artifact ``name`` made for a day in ``[ds - max_age, ds]``, or None."""
    oldest = ds - dt.timedelta(days=max_age)
    rows = lake.rows(ops.ARTIFACT.name).to_pylist()
    fit = [r for r in rows if r["artifact"] == name and oldest <= r["ds"] <= ds]
    return Path(max(fit, key=lambda r: (r["ds"], r["at_ms"]))["path"]) if fit else None


def drifted(lake: Lake, day: dt.date) -> bool:
    """True where `DRIFTED_SHARE` of the features or more have the verdict drift in ``audit.drift`` of ``day``."""
    rows = lake.rows("audit.drift", ["verdict"], ds=day).to_pylist()
    return sum(r["verdict"] == "drift" for r in rows) >= DRIFTED_SHARE * len(rows) > 0


def drift_begins(lake: Lake, day: dt.date) -> bool:
    """True on the first of the days on which the features have drifted, so that one drift asks for one fit."""
    return drifted(lake, day) and not drifted(lake, day - dt.timedelta(days=1))


def pinned(lake: Lake, role: str, ds: dt.date) -> dict[str, Any] | None:
    """The newest pin of a role for exactly ``ds``, or None."""
    rows = [r for r in lake.rows(ops.MODEL_PIN.name).to_pylist() if r["role"] == role and r["ds"] == ds]
    return max(rows, key=lambda r: r["at_ms"]) if rows else None


def checked(folder: Path, checksum: str) -> Path:
    """A folder whose files are those that were recorded.

    Raises
    ------
    ContractError
        They are not.
    """
    found = folder_checksum(folder)
    if found != checksum:
        raise ContractError(
            f"{folder} does not hold the files that were recorded (their checksum is {found[:12]}, not "
            f"{checksum[:12]}): delete it, and it is fetched again from MLflow. If it differs again, the files of the "
            "run were changed: give the day another version with `nightjar repin`."
        )
    return folder


def folder_checksum(folder: Path) -> str:
    """SHA-256 over the names and bytes of a folder's files."""
    found = hashlib.sha256()
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        found.update(str(file.relative_to(folder)).encode())
        found.update(file.read_bytes())
    return found.hexdigest()
