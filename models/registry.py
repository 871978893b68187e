"""The life of a ranker in MLflow: logged with its evidence, registered, gated, promoted, pinned."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs import ops
from jobs.artifacts import folder_checksum, pinned
from jobs.contract import digest
from jobs.errors import ContractError
from jobs.lake import Lake
from jobs.publishing import now_ms
from jobs.runner import code_version
from jobs.settings import Settings
from models import model_card, plots
from models.evaluation import Line, evaluate, gate
from models.rankers.xgb import XgbParams, XgbRanker, fit
from models.ranking_features import FEATURES

ROLE = "ranker"
HELD_DAYS = 2
"""Days held out: the first stops the growth and calibrates, the second judges what came of it."""
TRAIN_DAYS = 28


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


def training_set(settings: Settings, ds: dt.date) -> tuple[pa.Table, pa.Table, pa.Table, int]:
    """Rows to fit, to calibrate and to judge (the last two days), and the Delta version read.

    Raises
    ------
    ContractError
        There are too few days to hold some out.
    """
    lake = Lake(settings)
    opened = lake.open("training.examples")
    days = [d for d in lake.days("training.examples") if ds - dt.timedelta(days=TRAIN_DAYS) < d <= ds]
    if opened is None or len(days) < HELD_DAYS + 1:
        raise ContractError(
            f"There are {len(days)} days of training.examples up to {ds}, {HELD_DAYS + 1} are needed: "
            "build more history, e.g. `nightjar run training.examples --from … --to …`."
        )
    whole = lake.rows("training.examples", ds=days)
    whole = whole.sort_by([("ds", "ascending"), ("user_id", "ascending"), ("item_id", "ascending")])
    judged, calibrating = days[-1], days[-2]
    ds_of = whole["ds"]
    return (
        whole.filter(pc.less(ds_of, pa.scalar(calibrating))),
        whole.filter(pc.equal(ds_of, pa.scalar(calibrating))),
        whole.filter(pc.equal(ds_of, pa.scalar(judged))),
        opened.version(),
    )


def train(settings: Settings, ds: dt.date, run_id: str, params: XgbParams | None = None) -> dict[str, Any]:
    """Fit a ranker on the examples up to ``ds``, log it with its evidence and register it as challenger.

    Returns
    -------
    dict
        ``version``, ``mlflow_run``, ``metrics`` and the verdict of the gate with its lines.
    """
    params = params or XgbParams(**settings.market.params.get("models.ranker", {}))
    rows, calibrating, held, delta_version = training_set(settings, ds)
    ranker = fit(rows, calibrating, params)
    measured = evaluate(ranker, held)
    api = client(settings)
    champion = champion_of(api, settings)
    rival = evaluate(load_version(settings, api, champion.version), held) if champion else None
    lines = gate(measured, rival)
    return _log(settings, api, ranker, params, ds, run_id, rows, held, delta_version, measured, rival, lines, champion)


def _log(
    settings: Settings,
    api: Any,
    ranker: XgbRanker,
    params: XgbParams,
    ds: dt.date,
    run_id: str,
    rows: pa.Table,
    held: pa.Table,
    delta_version: int,
    measured: Any,
    rival: Any,
    lines: list[Line],
    champion: Any,
) -> dict[str, Any]:
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    _experiment(settings, api)
    days = sorted({str(d) for d in rows["ds"].to_pylist()} | {str(d) for d in held["ds"].to_pylist()})
    facts = {
        "data_until": str(ds),
        "first_day": days[0],
        "last_day": days[-1],
        "delta_version": delta_version,
        "code_version": code_version(),
        "params_hash": digest(params),
    }
    with mlflow.start_run(run_name=f"{ROLE} {ds}") as run, tempfile.TemporaryDirectory() as work:
        folder = Path(work) / ROLE
        ranker.save(folder)
        mlflow.log_params({**asdict(params), "train_rows": rows.num_rows, "valid_rows": held.num_rows})
        mlflow.set_tags({"nightjar.run_id": run_id, "nightjar.market": settings.market.name, **facts})
        mlflow.log_metrics(measured.flat())
        _log_datasets(settings, {"train": rows, "validation": held}, delta_version)
        plots.write(ranker, held, Path(work) / "plots")
        mlflow.log_artifacts(str(Path(work) / "plots"), "plots")
        passed = all(line.passed or not line.fails for line in lines)
        verdict = {"passed": passed, "lines": [asdict(line) for line in lines], **facts}
        (folder / "gate.json").write_text(json.dumps(verdict, indent=1, default=str))
        mlflow.log_artifacts(str(folder), ROLE)
        signature = ModelSignature(
            inputs=Schema([ColSpec("float", name) for name in FEATURES]), outputs=Schema([ColSpec("float")])
        )
        logged = mlflow.xgboost.log_model(
            ranker.boosters["ctr"],
            name=ROLE,
            signature=signature,
            model_format="ubj",
            pip_requirements=["xgboost", "mlflow", "pandas"],
            registered_model_name=model_name(settings),
        )
        version = str(logged.registered_model_version)
        name = model_name(settings)
        card = model_card.render(settings, ranker, facts, measured, rival, lines, champion)
        mlflow.log_text(card, "model_card.md")
        api.update_model_version(name, version, description=card)
        for key, value in {**facts, "state": "challenger" if passed else "refused"}.items():
            api.set_model_version_tag(name, version, key, str(value))
        api.set_registered_model_alias(name, "challenger", version)
        return {
            "version": version,
            "mlflow_run": run.info.run_id,
            "passed": passed,
            "metrics": measured.flat(),
            "lines": [asdict(line) for line in lines],
        }


def _experiment(settings: Settings, api: Any) -> None:
    """The market's experiment; without a server its files go below the installation, not the working folder."""
    import mlflow

    name = f"{settings.market.name}/{ROLE}"
    if api.get_experiment_by_name(name) is None:
        local = not mlflow.get_tracking_uri().startswith("http")
        api.create_experiment(name, (settings.home / "mlartifacts").as_uri() if local else None)
    mlflow.set_experiment(name)


def _log_datasets(settings: Settings, tables: dict[str, pa.Table], delta_version: int) -> None:
    """Name the data of a run: Delta path, version and size; the rows stay where they are."""
    import mlflow
    from mlflow.data.delta_dataset_source import DeltaDatasetSource

    path = str(settings.table_path("training.examples"))
    source = DeltaDatasetSource(path=path, delta_table_version=delta_version)
    for context, table in tables.items():
        head = table.slice(0, 50).to_pandas()
        dataset = mlflow.data.from_pandas(
            head, source=source, name=f"training.examples:{context}", digest=f"v{delta_version}-{table.num_rows}"
        )
        mlflow.log_input(dataset, context=context)


def champion_of(api: Any, settings: Settings) -> Any | None:
    """The version that the alias champion names, or None."""
    from mlflow.exceptions import MlflowException

    try:
        return api.get_model_version_by_alias(model_name(settings), "champion")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def promote(settings: Settings, version: str, reason: str) -> dict[str, Any]:
    """Make a challenger that passed its gate the champion; the former champion becomes ``previous``.

    Raises
    ------
    ContractError
        The version did not pass its gate, or is no longer the challenger.
    """
    api, name = client(settings), model_name(settings)
    challenger = api.get_model_version_by_alias(name, "challenger")
    if str(challenger.version) != version:
        raise ContractError(f"{name} version {version} is not the challenger any more: {challenger.version} is.")
    if challenger.tags.get("state") != "challenger":
        raise ContractError(f"{name} version {version} did not pass its gate: see gate.json of its run.")
    champion = champion_of(api, settings)
    if champion is not None:
        api.set_registered_model_alias(name, "previous", champion.version)
        api.set_model_version_tag(name, champion.version, "state", "previous")
    api.set_registered_model_alias(name, "champion", version)
    api.set_model_version_tag(name, version, "state", "champion")
    api.set_model_version_tag(name, version, "reason", reason)
    return {"champion": version, "previous": str(champion.version) if champion else None}


def load_version(settings: Settings, api: Any, version: str) -> XgbRanker:
    return XgbRanker.load(fetch(settings, api, version))


def fetch(settings: Settings, api: Any, version: str) -> Path:
    """A local copy of a version's files, fetched once."""
    import mlflow

    name = model_name(settings)
    target = settings.artifacts / "models.ranker" / f"{name}-{version}"
    if not target.exists():
        found = api.get_model_version(name, version)
        work = target.with_name(f".{target.name}.{os.getpid()}")
        work.mkdir(parents=True, exist_ok=True)
        mlflow.artifacts.download_artifacts(run_id=found.run_id, artifact_path=ROLE, dst_path=str(work))
        (work / ROLE / "VERSION").write_text(f"{name}/{version}")
        if target.exists():
            shutil.rmtree(work)
        else:
            (work / ROLE).rename(target)
            work.rmdir()
    return target


def pin(settings: Settings, ds: dt.date, run_id: str, reason: str | None = None) -> dict[str, Any]:
    """The model that ``ds`` uses, decided once and logged.

    A day keeps the pin that it has. A day before the newest pin gets the pin of the nearest earlier
    day, else none (popularity): never a later champion. Any other day gets the champion, if that was
    trained on nothing later than the day.
    """
    lake = Lake(settings)
    held = pinned(lake, ROLE, ds)
    if held is not None:
        return held
    pins = [r for r in lake.rows(ops.MODEL_PIN.name).to_pylist() if r["role"] == ROLE]
    if any(r["ds"] > ds for r in pins):
        earlier = [r for r in pins if r["ds"] < ds]
        row = dict(max(earlier, key=lambda r: (r["ds"], r["at_ms"]))) if earlier else {}
    else:
        row = _pin_champion(settings, ds)
    made = {
        "ds": ds,
        "role": ROLE,
        "model": row.get("model", ""),
        "version": row.get("version", ""),
        "path": row.get("path", ""),
        "checksum": row.get("checksum", ""),
        "run_id": run_id,
        "reason": reason,
        "at_ms": now_ms(),
    }
    lake.append(ops.MODEL_PIN, [made])
    return made


def _pin_champion(settings: Settings, ds: dt.date) -> dict[str, Any]:
    api = client(settings)
    champion = champion_of(api, settings)
    if champion is None or dt.date.fromisoformat(champion.tags["data_until"]) > ds:
        return {}
    path = fetch(settings, api, str(champion.version))
    return {
        "model": model_name(settings),
        "version": str(champion.version),
        "path": str(path),
        "checksum": folder_checksum(path),
    }


def training_due(settings: Settings, ds: dt.date, every_days: int = 7) -> bool:
    """True where there is no champion, or the newest was trained ``every_days`` or more before ``ds``."""
    lake = Lake(settings)
    if any(r["ds"] > ds and r["role"] == ROLE for r in lake.rows(ops.MODEL_PIN.name).to_pylist()):
        return False
    if len(lake.days("training.examples")) < HELD_DAYS + 1:
        return False
    champion = champion_of(client(settings), settings)
    return champion is None or (ds - dt.date.fromisoformat(champion.tags["data_until"])).days >= every_days
