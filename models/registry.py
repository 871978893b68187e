"""The registry of rankers: versions and their aliases, promotion and rejection, and which day uses which.

``champion`` is in use, ``previous`` was before it, ``challenger`` is the newest that was trained. Every change of an
alias is made here.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs import ops
from jobs.artifacts import checked, folder_checksum, pinned
from jobs.errors import ContractError
from jobs.lake import Lake
from jobs.locks import exclusive
from jobs.publishing import now_ms
from jobs.settings import Settings
from models import model_card
from models.rankers.ranker import Ranker, load

ROLE = "ranker"
CHALLENGER = "challenger"
"""The alias of the newest version, and the role of the one that an experiment's variant is scored by."""
CARD = "model_card.md"
"""The card among the files of a version's run; its description holds what fits."""
LONGEST_DESCRIPTION = 5_000
"""Characters that the registry keeps on PostgreSQL; on SQLite it takes any number."""


def model_name(settings: Settings) -> str:
    return f"nightjar_{settings.market.name}_{ROLE}"


def client(settings: Settings):
    """The MLflow client; the tracking address comes from the environment or the embedded service."""
    import mlflow

    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if uri is None:
        from jobs.services import mlflow as service
        from jobs.services.state import State

        uri = service.url(State(settings.home))
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    return mlflow.MlflowClient()


def use_experiment(settings: Settings, api: Any, of: str = ROLE) -> None:
    """The market's experiment of a purpose; without a server its files go below the installation."""
    import mlflow

    name = f"{settings.market.name}/{of}"
    if api.get_experiment_by_name(name) is None:
        local = not mlflow.get_tracking_uri().startswith("http")
        api.create_experiment(name, (settings.home / "mlartifacts").as_uri() if local else None)
    mlflow.set_experiment(name)


def create_version(api: Any, name: str, mlflow_run: str, card: str) -> str:
    """Register the files that a run logged; returns the number of the version."""
    from mlflow.exceptions import MlflowException

    try:
        api.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{api.get_run(mlflow_run).info.artifact_uri}/{ROLE}"
    described = model_card.shortened(card, LONGEST_DESCRIPTION)
    return str(api.create_model_version(name, source, mlflow_run, description=described).version)


def card_of(settings: Settings, version: str) -> str:
    """The whole model card of a version."""
    import mlflow

    found = client(settings).get_model_version(model_name(settings), version)
    return mlflow.artifacts.load_text(f"runs:/{found.run_id}/{CARD}")


def champion_of(api: Any, settings: Settings) -> Any | None:
    """The version that the alias champion names, or None."""
    return _of_alias(api, settings, "champion")


def newest_of(api: Any, settings: Settings) -> Any | None:
    """The version that was trained last, whatever came of it, or None."""
    return _of_alias(api, settings, CHALLENGER)


def _of_alias(api: Any, settings: Settings, alias: str) -> Any | None:
    from mlflow.exceptions import MlflowException

    try:
        return api.get_model_version_by_alias(model_name(settings), alias)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def promote(settings: Settings, version: str, reason: str, approver: str = "gate") -> dict[str, Any]:
    """Make a challenger that passed its gate the champion; the former champion becomes ``previous``.

    The aliases are read again under a lock: what was compared may have changed while somebody thought.

    Raises
    ------
    ContractError
        The version did not pass its gate, is no longer the challenger, or was compared with another champion.
    """
    api, name = client(settings), model_name(settings)
    with exclusive(settings.locks, f"models.{ROLE}") as token:
        challenger = api.get_model_version_by_alias(name, "challenger")
        champion = champion_of(api, settings)
        now = str(champion.version) if champion else ""
        if now == version:
            return {"champion": version, "previous": None}
        if str(challenger.version) != version:
            raise ContractError(f"{name} version {version} is not the challenger any more: {challenger.version} is.")
        if challenger.tags.get("state") != "challenger":
            raise ContractError(
                f"{name} version {version} is {challenger.tags.get('state')}, so it cannot be promoted: see its card."
            )
        if challenger.tags["compared_with"] != now:
            raise ContractError(
                f"{name} version {version} was compared with version {challenger.tags['compared_with'] or 'none'}, but "
                f"{now or 'none'} is champion now: train again, so that it is compared with that one."
            )
        token.verify()
        _set_champion(api, name, version, champion, reason, approver)
    return {"champion": version, "previous": now or None}


def _set_champion(api: Any, name: str, version: str, former: Any | None, reason: str, approver: str) -> None:
    if former is not None:
        api.set_registered_model_alias(name, "previous", former.version)
        api.set_model_version_tag(name, former.version, "state", "previous")
    api.set_registered_model_alias(name, "champion", version)
    for key, value in {"state": "champion", "reason": reason, "approver": approver}.items():
        api.set_model_version_tag(name, version, key, value)


def reject(settings: Settings, version: str, reason: str, approver: str) -> dict[str, Any]:
    """Keep the champion; the version says who refused it and why.

    Raises
    ------
    ContractError
        The version is the champion.
    """
    api, name = client(settings), model_name(settings)
    with exclusive(settings.locks, f"models.{ROLE}"):
        champion = champion_of(api, settings)
        if champion is not None and str(champion.version) == version:
            raise ContractError(f"{name} version {version} is the champion: roll back instead of rejecting it.")
        for key, value in {"state": "rejected", "reason": reason, "approver": approver}.items():
            api.set_model_version_tag(name, version, key, value)
    return {"rejected": version, "champion": str(champion.version) if champion else None}


def restore_champion(settings: Settings, version: str, reason: str) -> dict[str, Any]:
    """Make the version of a release that is rolled back to the champion again.

    Raises
    ------
    ContractError
        The registry does not answer, or has no such version.
    """
    from mlflow.exceptions import MlflowException

    api, name = client(settings), model_name(settings)
    try:
        with exclusive(settings.locks, f"models.{ROLE}") as token:
            former = champion_of(api, settings)
            if former is None or str(former.version) != version:
                token.verify()
                _set_champion(api, name, version, former, reason, "rollback")
    except MlflowException as error:
        raise ContractError(
            f"{name} version {version} cannot be made champion again ({error}): see that MLflow answers and has it. "
            "What is served stays as it is until then."
        ) from error
    return {"champion": version, "previous": str(former.version) if former else None}


def load_version(settings: Settings, api: Any, version: str) -> Ranker:
    """A fitted ranker of the registry."""
    return load(fetch(settings, api, version))


def fetch(settings: Settings, api: Any, version: str) -> Path:
    """A local copy of a version's files, fetched once.

    Raises
    ------
    ContractError
        The files are not those that were registered, or MLflow does not have them any more.
    """
    name = model_name(settings)
    found = api.get_model_version(name, version)
    target = settings.artifacts / "models.ranker" / f"{name}-{version}"
    if not target.exists():
        _download(found, target)
    # a version that was registered before versions had a checksum is taken as it is
    return checked(target, found.tags["checksum"]) if "checksum" in found.tags else target


def _download(found: Any, target: Path) -> None:
    import mlflow
    from mlflow.exceptions import MlflowException

    work = target.with_name(f".{target.name}.{os.getpid()}")
    work.mkdir(parents=True, exist_ok=True)
    try:
        mlflow.artifacts.download_artifacts(run_id=found.run_id, artifact_path=ROLE, dst_path=str(work))
        sealed(work / ROLE, found.name, found.version)
        if not target.exists():
            (work / ROLE).rename(target)
    except (MlflowException, OSError) as error:
        raise ContractError(
            f"The files of {found.name} version {found.version} cannot be fetched from MLflow ({error}): bring the "
            f"artifacts of run {found.run_id} back, or give the day another version with `nightjar repin`."
        ) from error
    finally:
        shutil.rmtree(work)


def sealed(folder: Path, name: str, version: str) -> str:
    """Write the version's name into its folder; returns the checksum of all files."""
    (folder / "VERSION").write_text(f"{name}/{version}")
    return folder_checksum(folder)


def open_pin(settings: Settings, pin: Mapping[str, Any]) -> Path:
    """The folder of a pinned model; fetched again where it is gone, as after a move of the installation.

    Raises
    ------
    ContractError
        Its files are not those that were pinned.
    """
    path = Path(pin["path"])
    if not path.exists():
        path = fetch(settings, client(settings), pin["version"])
    return checked(path, pin["checksum"])


def pin(settings: Settings, ds: dt.date, run_id: str, role: str = ROLE) -> dict[str, Any]:
    """The model that ``ds`` uses, decided once and logged.

    A day keeps the pin that it has. A day before the newest pin gets the pin of the nearest earlier
    day, else none (popularity): never a later champion. Any other day gets the champion, if that was
    trained on nothing later than the day.

    Parameters
    ----------
    role
        ``ranker``; or ``challenger``, the newest version, for the variants of an experiment that are scored by it: one
        that did not pass its gate, was rejected, or is champion by now is none.
    """
    lake = Lake(settings)
    held = pinned(lake, role, ds)
    if held is not None:
        return held
    pins = [r for r in lake.rows(ops.MODEL_PIN.name).to_pylist() if r["role"] == role]
    if any(r["ds"] > ds for r in pins):
        earlier = [r for r in pins if r["ds"] < ds]
        row = dict(max(earlier, key=lambda r: (r["ds"], r["at_ms"]))) if earlier else {}
    else:
        row = _newest_of(settings, ds, role)
    return _write_pin(lake, ds, row, run_id, None, role)


def repin(
    settings: Settings, ds: dt.date, version: str, reason: str, run_id: str, force: bool = False
) -> dict[str, Any]:
    """Give a day another version, on purpose: reruns of the day use it from now on, and the old pin stays on record.

    Parameters
    ----------
    version
        A version of the registry, or ``popularity`` for none.
    force
        Take a version that a person rejected.

    Raises
    ------
    ContractError
        The version saw data of after the day, did not pass its gate, was rejected, or does not exist.
    """
    if not reason.strip():
        raise ContractError(f"A re-pin of {ds} needs a reason: say why in --reason.")
    row = {} if version == "popularity" else _row_of(settings, ds, version, force)
    return _write_pin(Lake(settings), ds, row, run_id, reason)


def _row_of(settings: Settings, ds: dt.date, version: str, force: bool) -> dict[str, Any]:
    from mlflow.exceptions import MlflowException

    api, name = client(settings), model_name(settings)
    try:
        found = api.get_model_version(name, version)
    except MlflowException as error:
        raise ContractError(f"{name} has no version {version!r}: see MLflow's registry.") from error
    if dt.date.fromisoformat(found.tags["data_until"]) > ds:
        raise ContractError(
            f"{name} version {version} was trained on data up to {found.tags['data_until']}: it knows what came after "
            f"{ds}. Choose a version of that day or before."
        )
    if found.tags["state"] == "refused":
        raise ContractError(f"{name} version {version} did not pass its gate: see gate.json of its run.")
    if found.tags["state"] == "rejected" and not force:
        raise ContractError(
            f"{name} version {version} was rejected by {found.tags['approver']} ({found.tags['reason']}): choose "
            "another version, or take it all the same with --force."
        )
    return _pin_of(settings, api, version)


def _write_pin(
    lake: Lake, ds: dt.date, row: dict[str, Any], run_id: str, reason: str | None, role: str = ROLE
) -> dict[str, Any]:
    made = {
        "ds": ds,
        "role": role,
        **{key: row.get(key, "") for key in ("model", "version", "path", "checksum")},
        "run_id": run_id,
        "reason": reason,
        "at_ms": now_ms(),
    }
    lake.append(ops.MODEL_PIN, [made])
    return made


def _newest_of(settings: Settings, ds: dt.date, role: str) -> dict[str, Any]:
    api = client(settings)
    found = champion_of(api, settings) if role == ROLE else newest_of(api, settings)
    if found is None or dt.date.fromisoformat(found.tags["data_until"]) > ds:
        return {}
    if role == CHALLENGER and found.tags.get("state") != CHALLENGER:
        return {}
    return _pin_of(settings, api, str(found.version))


def _pin_of(settings: Settings, api: Any, version: str) -> dict[str, Any]:
    path = fetch(settings, api, version)
    return {"model": model_name(settings), "version": version, "path": str(path), "checksum": folder_checksum(path)}
