"""A training run: fitted, measured, logged in MLflow with its evidence, and registered as challenger."""

from __future__ import annotations

import datetime as dt
import json
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from jobs import artifacts, cluster, objectives, ops
from jobs.contract import digest, make_params
from jobs.errors import ContractError
from jobs.lake import Lake
from jobs.runner import code_version
from jobs.settings import Settings
from models import model_card, plots, registry
from models import promotion_gate as promotion
from models.evaluation import BY_RANK, GROUP, Measured, evaluate
from models.promotion_gate import Line
from models.rankers import xgb, xgb_cluster
from models.rankers.ranker import SEQUENCE, CannotGoOn, Declared, Ranker, ranker
from models.rankers.rows import numbers, query_ids
from models.registry import ROLE
from models.served_order import CONTENT_TYPE, ServedOrder
from quality.badcases.regression import CONFIRMED, Replay, replay

HELD_DAYS = 2
"""Days held out: the first stops the growth and calibrates, the second judges what came of it."""
TRAIN_DAYS = 28
MAX_ROWS = 2_000_000
"""Rows of a training set, by default; more are thinned to some of the people, with all of their rows."""
DEFAULT_RANKER = "xgb"
LIBRARIES = ("numpy", "pyarrow", "scikit-learn", "xgboost", "keras", "jax", "mlflow")
EXAMPLES, SEQUENCES, ITEMS, USERS = "training.examples", "features.user_sequence", "silver.items", "silver.users"
ADDED = {SEQUENCES: "sequences", ITEMS: "content types", USERS: "groups"}
"""What is added to the examples, and what for."""


@dataclass(frozen=True)
class Data:
    """Rows of ``training.examples``: to fit, to stop and calibrate, to judge.

    ``versions`` are the Delta versions that were read, by table: of the examples, and of what was added to them.
    ``people`` is the share of all people whose rows they are.
    """

    train: pa.Table
    valid: pa.Table
    held: pa.Table
    versions: Mapping[str, int]
    people: float = 1.0

    @property
    def days(self) -> list[dt.date]:
        return sorted({d for part in (self.train, self.valid, self.held) for d in part["ds"].unique().to_pylist()})


@dataclass(frozen=True)
class Options:
    """What a market says of its ranker besides the ranker's own parameters.

    Parameters
    ----------
    ranker
        Name of the module in ``models/rankers``.
    warm
        Go on from the champion where that can be done.
    max_rows
        Rows of a training set, at most.
    """

    ranker: str = DEFAULT_RANKER
    warm: bool = False
    max_rows: int = MAX_ROWS


def chosen(settings: Settings) -> tuple[Declared, Any, Options]:
    """The ranker that the market trains, its parameters, and what else ``params["models.ranker"]`` says.

    Raises
    ------
    ContractError
        There is no such ranker or option, or a value is of another kind.
    """
    where = f"market {settings.market.name}, models.ranker"
    given = settings.market.params.get("models.ranker", {})
    own = {field.name for field in fields(Options)}
    options = make_params(Options, {name: value for name, value in given.items() if name in own}, where)
    if options.max_rows < 1:
        raise ContractError(f"{where}: max_rows is {options.max_rows}, it must be above 0.")
    declared = ranker(options.ranker)
    rest = {name: value for name, value in given.items() if name not in own}
    return declared, make_params(declared.params, rest, where), options


def training_set(settings: Settings, ds: dt.date, sequences: tuple[str, ...] = (), most: int = MAX_ROWS) -> Data:
    """The examples of the last 28 days up to ``ds``; the last two are held out.

    Parameters
    ----------
    sequences
        Sequence columns that the ranker reads; they are joined as known on the evening before the showing.
    most
        Rows at most, about: beyond, people are drawn by a hash of their key, the same ones on every day and for every
        ranker, with all of their rows, so that lists stay whole.

    Raises
    ------
    ContractError
        There are too few days to hold some out.
    """
    lake = Lake(settings)
    wanted = [EXAMPLES, ITEMS, *([SEQUENCES] * (SEQUENCE in sequences)), *([USERS] * bool(settings.market.groups))]
    # what a night publishes meanwhile is not read: the rows are those of the versions that the run records
    versions = {table: version for table in wanted if (version := lake.version(table)) is not None}
    known = lake.days(EXAMPLES, at=versions.get(EXAMPLES))
    days = [d for d in known if ds - dt.timedelta(days=TRAIN_DAYS) < d <= ds]
    if EXAMPLES not in versions or len(days) < HELD_DAYS + 1:
        raise ContractError(
            f"There are {len(days)} days of training.examples up to {ds}, {HELD_DAYS + 1} are needed: "
            "build more history, e.g. `nightjar run training.examples --from … --to …`."
        )
    items = _content_types(lake, ds, versions.get(ITEMS))

    counts = lake.counts(EXAMPLES, at=versions[EXAMPLES])
    people = min(1.0, most / max(1, sum(counts[str(day)] for day in days)))

    def of(day: dt.date) -> pa.Table:
        rows = _drawn(lake.rows(EXAMPLES, at=versions[EXAMPLES], ds=[day]), people)
        rows = rows.sort_by([("user_id", "ascending"), ("item_id", "ascending")])
        if SEQUENCE in sequences:
            rows = _with_sequences(lake, rows, versions.get(SEQUENCES))
        return _with_content_types(rows, items)

    # sorted and joined a day at a time, so that there is one copy of the rows and not several
    *before, calibrating, judged = (of(day) for day in days)
    judged = _with_groups(lake, settings, judged, ds, versions.get(USERS))
    return Data(pa.concat_tables(before), calibrating, judged, versions, people)


def _drawn(rows: pa.Table, people: float) -> pa.Table:
    """The rows of a share of the people."""
    if people == 1:
        return rows
    drawn = pd.util.hash_array(rows["user_id"].to_numpy()) < people * 2.0**64
    return rows.filter(pa.array(drawn))


def _with_sequences(lake: Lake, rows: pa.Table, version: int | None) -> pa.Table:
    """Add ``recent_items``, as known at the end of the day before the showing."""
    shown = rows["shown_ds"].to_numpy()
    parts, places = [], []
    for day in np.unique(shown):
        past = lake.rows(SEQUENCES, ["user_id", "items"], at=version, ds=[(day - np.timedelta64(1, "D")).item()])
        of = np.flatnonzero(shown == day)
        at = pc.index_in(rows["user_id"].take(pa.array(of)), past["user_id"]).combine_chunks()
        parts.append(past["items"].combine_chunks().take(at))
        places.append(of)
    items = pa.chunked_array(parts).take(pa.array(np.argsort(np.concatenate(places))))
    return rows.append_column(SEQUENCE, items)


def _content_types(lake: Lake, ds: dt.date, version: int | None) -> pa.Table | None:
    """The kind of each item, by which the weights of the objectives differ; None where no item is known."""
    days = [d for d in lake.days(ITEMS, at=version) if d <= ds]
    return lake.rows(ITEMS, ["item_id", CONTENT_TYPE], at=version, ds=[days[-1]]) if days else None


def _with_content_types(rows: pa.Table, items: pa.Table | None) -> pa.Table:
    """Add the kind of each item; never to fit with."""
    if items is None:
        return rows
    at = pc.index_in(rows["item_id"], items["item_id"]).combine_chunks()
    return rows.append_column(CONTENT_TYPE, items[CONTENT_TYPE].combine_chunks().take(at))


def _with_groups(lake: Lake, settings: Settings, held: pa.Table, ds: dt.date, version: int | None) -> pa.Table:
    """Add the groups by which the market audits: to judge with, never to fit with."""
    groups = list(settings.market.groups)
    days = [d for d in lake.days(USERS, at=version) if d <= ds]
    if not groups or not days:
        return held
    users = lake.rows(USERS, ["user_id", *groups], at=version, ds=[days[-1]])
    at = pc.index_in(held["user_id"], users["user_id"])
    for name in groups:
        values = users[name].combine_chunks().cast(pa.string())
        held = held.append_column(GROUP + name, values.take(at.combine_chunks()))
    return held


def training_due(settings: Settings, ds: dt.date, every_days: int = 7) -> bool:
    """True where there is no model, the newest is ``every_days`` old, or the features have drifted since.

    The newest version counts, whatever came of it: one that was refused, or waits for a person, is not trained again
    each night. Without a champion, though, the night after tries again what the gate refused, with a day more of data;
    and where the gate alone decides, a version that passed and was not promoted had its night cut off.
    """
    lake = Lake(settings)
    if any(r["ds"] > ds and r["role"] == ROLE for r in lake.rows(ops.MODEL_PIN.name).to_pylist()):
        return False
    if len(lake.days("training.examples")) < HELD_DAYS + 1:
        return False
    api = registry.client(settings)
    newest = registry.newest_of(api, settings)
    if newest is None:
        return True
    until, state = dt.date.fromisoformat(newest.tags["data_until"]), newest.tags["state"]
    cut_off = state == registry.CHALLENGER and settings.promotion == "auto"
    if registry.champion_of(api, settings) is None and (cut_off or state == "refused"):
        return True
    same_night = cut_off and until == ds
    audited = [d for d in lake.days("audit.drift") if until < d <= ds]
    has_drifted = bool(audited) and artifacts.drifted(lake, audited[-1])
    return same_night or (ds - until).days >= every_days or has_drifted


def train(settings: Settings, ds: dt.date, run_id: str, warm: bool = False) -> dict[str, Any]:
    """Fit a ranker on the examples up to ``ds``, log it with its evidence and register it as challenger.

    Parameters
    ----------
    warm
        Go on from the champion, or not at all. The market's option ``warm`` goes on where that can be done.

    Returns
    -------
    dict
        ``version``, ``mlflow_run``, ``metrics``, the verdict of the gate with its lines, and the card.

    Raises
    ------
    CannotGoOn
        With ``warm``: the champion is of another kind, or has other features or parameters, or knows later days.
    """
    declared, params, options = chosen(settings)
    api = registry.client(settings)
    champion = registry.champion_of(api, settings)
    rival = registry.load_version(settings, api, champion.version) if champion else None
    sequences = (*declared.spec.sequences, *(rival.spec.sequences if rival else ()))
    data = training_set(settings, ds, sequences, options.max_rows)
    if warm or options.warm:
        fitted, started = _gone_on(settings, declared, params, data, (champion, rival), insist=warm)
    else:
        fitted, started = fit_ranker(settings, declared, params, data), "nothing"
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / ROLE
        fitted.save(folder)
        order = objectives.served_order(settings, ds)
        size = sum(f.stat().st_size for f in folder.rglob("*")) / 2**20
        measured = evaluate(fitted, data.held, order=order, size_mb=size)
        theirs = evaluate(rival, data.held, order=order) if rival else None
        limits = make_params(
            promotion.Params, dict(settings.market.params.get("models.gate", {})), f"market {settings.market.name}"
        )
        replayed = replay_cases(fitted, data, confirmed_cases(settings, ds), order)
        lines = promotion.gate(measured, theirs, limits, skewed_features(settings, ds), replayed)
        run = _Run(ds, run_id, data, fitted, measured, theirs, replayed, lines, champion, params, started)
        return _log(settings, api, run, Path(work))


def _gone_on(
    settings: Settings,
    declared: Declared,
    params: Any,
    data: Data,
    of: tuple[Any | None, Ranker | None],
    insist: bool,
) -> tuple[Ranker, str]:
    """A ranker that goes on from the champion (its version and itself, ``of``), and what it started from.

    Where that cannot be, it is fitted anew, or with ``insist`` refused.
    """
    champion, rival = of
    try:
        if rival is None:
            raise CannotGoOn("There is no champion to go on from: train without --warm.")
        _check_start(settings, champion, rival, declared, params, data)
        return declared.fit(data.train, data.valid, params, start=rival), f"version {champion.version}"
    except CannotGoOn as error:
        if insist:
            raise
        return fit_ranker(settings, declared, params, data), f"nothing: {error}"


def _check_start(settings: Settings, champion: Any, rival: Ranker, declared: Declared, params: Any, data: Data) -> None:
    """Refuse to go on from a champion that is not what would be fitted, or has seen what shall judge.

    Raises
    ------
    CannotGoOn
        With the reason.
    """
    theirs = rival.facts["params"]
    mine = json.loads(json.dumps(asdict(params)))
    other = sorted(name for name in mine if name != "threads" and mine[name] != theirs.get(name))
    if rival.spec is not declared.spec:
        reason = f"is a {rival.spec.name}, and a {declared.spec.name} is trained"
    elif rival.features != declared.spec.features:
        reason = "was fitted on other features"
    elif other:
        reason = f"was fitted with other parameters ({', '.join(other)})"
    elif champion.tags["data_until"] > str(data.days[-1]):
        reason = f"knows the days to {champion.tags['data_until']}, which judge here"
    elif cluster.cluster_of(settings) is not None:
        reason = "is on this machine, and trees are grown on a cluster"
    else:
        return
    raise CannotGoOn(f"The champion, version {champion.version}, {reason}: fit anew, without --warm.")


def fit_ranker(settings: Settings, declared: Declared, params: Any, data: Data) -> Ranker:
    """Fit here, or on the Spark cluster that the market names.

    Raises
    ------
    ContractError
        A cluster is named for a ranker that is not fitted on one.
    """
    found = cluster.cluster_of(settings)
    if found is None:
        return declared.fit(data.train, data.valid, params)
    if declared.spec is not xgb.RANKER:
        raise ContractError(
            f"Ranker {declared.spec.name} is fitted on one machine, xgb alone on a cluster: choose xgb, or take "
            f"{cluster.OPTIONS} out of the params of market {settings.market.name}."
        )
    with cluster.exchange(settings, found) as folder:
        return xgb_cluster.fit(
            data.train,
            data.valid,
            params,
            folder,
            lambda at: cluster.submit(found, cluster.TRAIN_XGB, str(at)),
            found.workers,
        )


def confirmed_cases(settings: Settings, ds: dt.date) -> pa.Array:
    """Ids of the bad cases up to ``ds`` that a ranker answers for, by the causes in ``audit.badcase``."""
    lake = Lake(settings)
    days = [d for d in lake.days("audit.badcase") if ds - dt.timedelta(days=TRAIN_DAYS) < d <= ds]
    found = lake.rows("audit.badcase", ["case_id", "layer"], ds=days) if days else None
    if found is None:
        return pa.array([], pa.int64())
    return found.filter(pc.is_in(found["layer"], pa.array(CONFIRMED)))["case_id"].combine_chunks()


def replay_cases(ranker: Ranker, data: Data, confirmed: pa.Array, order: ServedOrder = BY_RANK) -> Replay:
    """How a ranker does on the confirmed cases of all the days, held out or not.

    What it was taught it must not repeat. Rows of other cases are neither judged nor judged against.
    """
    whole = pa.concat_tables([part.select(data.train.schema.names) for part in (data.train, data.valid, data.held)])
    query = query_ids(whole)
    is_case = pc.is_in(whole["case_id"], confirmed).to_numpy()
    use = np.isin(query, query[is_case]) & (is_case | pc.is_null(whole["case_id"]).to_numpy())
    rows, is_case = whole.filter(pa.array(use)), is_case[use]
    if not rows.num_rows:
        return promotion.NOT_REPLAYED
    case = np.full(rows.num_rows, np.nan)
    # ids use all 64 bits, which a float does not hold: their places among the known ones do
    case[is_case] = pc.index_in(rows["case_id"], confirmed).filter(pa.array(is_case)).to_numpy()
    scores = {head: np.nan_to_num(values) for head, values in ranker.score(rows).items()}
    return replay(query[use], case, numbers(rows, "label", np.int64), order.of(scores, rows))


def skewed_features(settings: Settings, ds: dt.date) -> list[str] | None:
    """Features that ``audit.skew`` of the last week found apart where it last could judge them; None without a day.

    A day on which a table had been built again says nothing of its features.
    """
    lake = Lake(settings)
    days = [d for d in lake.days("audit.skew") if ds - dt.timedelta(days=7) < d <= ds]
    if not days:
        return None
    rows = sorted(lake.rows("audit.skew", ds=days).to_pylist(), key=lambda r: r["ds"])
    newest = {r["feature"]: r["verdict"] for r in rows if r["verdict"] != "healed"}
    return sorted(feature for feature, verdict in newest.items() if verdict == "skew")


@dataclass(frozen=True)
class _Run:
    """What a training run made."""

    ds: dt.date
    run_id: str
    data: Data
    ranker: Ranker
    measured: Measured
    rival: Measured | None
    replayed: Replay
    lines: list[Line]
    champion: Any
    params: Any
    started: str

    @property
    def facts(self) -> dict[str, Any]:
        days = self.data.days
        return {
            "data_until": str(self.ds),
            "first_day": str(days[0]),
            "last_day": str(days[-1]),
            "delta_version": self.data.versions[EXAMPLES],
            "code_version": code_version(),
            "ranker": self.ranker.spec.name,
            "params_hash": digest(self.params),
            "started_from": self.started,
            "share_of_people": round(self.data.people, 4),
            # who it was compared with: a promotion is refused where that is no longer the champion
            "compared_with": str(self.champion.version) if self.champion else "",
        }


def _log(settings: Settings, api: Any, run: _Run, work: Path) -> dict[str, Any]:
    import mlflow

    registry.use_experiment(settings, api)
    passed = promotion.passed(run.lines)
    with mlflow.start_run(run_name=f"{ROLE} {run.ds}") as active:
        mlflow.log_params({**asdict(run.params), "ranker": run.ranker.spec.name, "train_rows": run.data.train.num_rows})
        mlflow.set_tags({"nightjar.run_id": run.run_id, "nightjar.market": settings.market.name, **run.facts})
        mlflow.log_metrics(run.measured.flat() | {"regression_cases": run.replayed.n})
        _log_curves(run.ranker.facts["curves"])
        _log_datasets(settings, run.data)
        mlflow.log_dict(environment(), "environment.json")
        importance = plots.write(run.ranker, run.data.held, work / "plots")
        mlflow.log_artifacts(str(work / "plots"), "plots")
        verdict = {"passed": passed, "lines": [asdict(line) for line in run.lines], **run.facts}
        (work / ROLE / "gate.json").write_text(json.dumps(verdict, indent=1, default=str))
        _describe(run, work / ROLE, active.info.run_id)
        mlflow.log_artifacts(str(work / ROLE), ROLE)
        card = model_card.render(
            settings, run.ranker, run.facts, run.measured, run.rival, run.lines, run.champion, importance
        )
        mlflow.log_text(card, registry.CARD)
        version = _register(settings, api, run, card, passed, active.info.run_id, work / ROLE)
    return {
        "version": version,
        "mlflow_run": active.info.run_id,
        "passed": passed,
        "metrics": run.measured.flat(),
        "lines": [asdict(line) for line in run.lines],
        "card": card,
    }


def environment() -> dict[str, str]:
    """Versions of Python and of the libraries that decide what a fit comes to."""
    return {"python": platform.python_version(), "machine": platform.machine()} | {
        n: metadata.version(n) for n in LIBRARIES
    }


def _log_curves(curves: Mapping[str, Mapping[str, list[float]]]) -> None:
    """Learning curves as metrics with steps; a loss that is no number ends its curve."""
    import mlflow

    for head, parts in curves.items():
        for part, values in parts.items():
            for step, value in enumerate(values):
                if np.isfinite(value):
                    mlflow.log_metric(f"curve.{head}.{part}", value, step=step)


def _log_datasets(settings: Settings, data: Data) -> None:
    """Name the data of a run: Delta path, version and size; the rows stay where they are."""
    import mlflow
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    sources = {
        table: DeltaDatasetSource(path=str(settings.table_path(table)), delta_table_version=version)
        for table, version in data.versions.items()
    }
    for context, table in {"train": data.train, "calibration": data.valid, "validation": data.held}.items():
        head = table.slice(0, 50).to_pandas()
        digest_of = f"v{data.versions[EXAMPLES]}-{table.num_rows}"
        dataset = mlflow.data.from_pandas(
            head, source=sources[EXAMPLES], name=f"{EXAMPLES}:{context}", digest=digest_of
        )
        mlflow.log_input(dataset, context=context)
    for table in data.versions.keys() & ADDED.keys():
        dataset = MetaDataset(sources[table], name=table, digest=f"v{data.versions[table]}")
        mlflow.log_input(dataset, context=ADDED[table])


def _describe(run: _Run, folder: Path, mlflow_run: str) -> None:
    """Write MLflow's own description beside the ranker's files: signature and example, for its pages."""
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    spec = run.ranker.spec
    columns = [*run.ranker.features, *spec.ids, *spec.sequences]
    example = run.data.held.slice(0, 5).select(columns).to_pandas()
    kinds = dict.fromkeys(run.ranker.features, DataType.float) | dict.fromkeys(spec.ids, DataType.long)
    kinds |= dict.fromkeys(spec.sequences, Array(DataType.long))
    signature = ModelSignature(
        inputs=Schema([ColSpec(kinds[name], name, required=name in spec.ids) for name in columns]),
        outputs=Schema([ColSpec("double", head) for head in run.ranker.heads]),
    )
    (folder / "input_example.json").write_text(example.to_json(orient="split", index=False))
    described = Model(artifact_path=ROLE, run_id=mlflow_run, signature=signature)
    described.saved_input_example_info = {
        "artifact_path": "input_example.json",
        "type": "dataframe",
        "pandas_orient": "split",
    }
    described.add_flavor("nightjar", ranker=spec.name, loader="models.rankers.ranker.load")
    described.save(folder / "MLmodel")


def _register(settings: Settings, api: Any, run: _Run, card: str, passed: bool, mlflow_run: str, folder: Path) -> str:
    """Register the version with its card, facts and the checksum of its files; the alias challenger names it."""
    name = registry.model_name(settings)
    version = registry.create_version(api, name, mlflow_run, card)
    checksum = registry.sealed(folder, name, version)
    for key, value in {**run.facts, "checksum": checksum, "state": "challenger" if passed else "refused"}.items():
        api.set_model_version_tag(name, version, key, str(value))
    api.set_registered_model_alias(name, "challenger", version)
    return version
