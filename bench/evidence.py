"""Which ranker orders best, and what each group of features is worth: held-out showings, with intervals over users.

``python -m bench evidence [WORLD|HOME] [PART …] [mlflow=URI] [market=NAME] [days=N]``. A world is simulated and built
first; the path of an installation is read and not written to. ``days`` fits on the last so many. Parts are subjects of
the table (``baselines``, and the names of ``bench.rankers``), ``ablation`` (xgb without one group of features) and
``groups`` (what reweighing and calibration by group cost); all of them by default. Every figure is printed, and logged
as a run of the experiment ``<market>/evidence`` in MLflow, with the table as an artifact.

All fit on the same rows, are stopped and calibrated by the same day, and judged on the next one. Intervals are 95 %,
percentile bootstrap over users; differences are paired by user.
"""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from bench.meter import engine, figure
from bench.rankers import RANKERS
from bench.worlds import WORLDS, land
from jobs.lake import Lake
from jobs.settings import Settings, load_settings
from models import registry
from models.evaluation import Figure, mean_of, of_groups, resampled
from models.rankers.ranker import SEQUENCE, Ranker, ranker
from models.rankers.rows import feature_matrix, numbers, query_ids
from models.ranking_features import CONTEXT, EXPECTED, INTEREST, PAIR, PARTS
from models.served_order import ServedOrder
from models.training import Data, training_set
from quality.metrics.auc import auc

Scores = dict[str, np.ndarray]
BY_GROUP = {"group_feature": "profile_tenure_days", "group_edges": (30.0,)}
HISTORY_DAYS = 90


def bench(where: str = "small", *options: str) -> None:
    """Print, and log in MLflow, the figures of the parts that are asked for."""
    given = dict(option.split("=", 1) for option in options if "=" in option)
    parts = [option for option in options if "=" not in option] or ["baselines", *RANKERS, "ablation", "groups"]
    if where in WORLDS:
        settings = _built(where)
    else:
        os.environ["NIGHTJAR_HOME"] = str(Path(where).resolve())
        settings = load_settings(given.get("market", "demo"))
    # what is logged goes to the benchmark's own MLflow, or to the one that is named; never into what is read
    log_to = Path(os.environ["MLFLOW_TRACKING_URI"].removeprefix("sqlite:///")).parent
    if "mlflow" in given:
        os.environ["MLFLOW_TRACKING_URI"] = given["mlflow"]
        log_to = Path(given["mlflow"].removeprefix("sqlite:///")).resolve().parent
    ds = Lake(settings).days("training.examples")[-1]
    data = _last(training_set(settings, ds, (SEQUENCE,)), int(given.get("days", 28)))
    size = f"{where}: {data.train.num_rows:,} rows to fit, {data.held.num_rows:,} of {ds} to judge"
    for part in parts:
        rows = list(PIECES[part](settings, data) if part in PIECES else ranked(part, data))
        for row in rows:
            for name, value in row["figures"].items():
                said = f"95 % [{value.lo:.4f}, {value.hi:.4f}]" if isinstance(value, Figure) else None
                figure(f"{row['subject']}.{name}", value.value if said else value, row.get("unit", ""), size, said)
        _log(replace(settings, home=log_to), part, size, rows)


def _last(data: Data, days: int) -> Data:
    """The data with the last so many days to fit on."""
    known = sorted(data.train["ds"].unique().to_pylist())[-days:]
    return replace(data, train=data.train.filter(pc.is_in(data.train["ds"], pa.array(known))))


def _built(world: str) -> Settings:
    """A simulated world with its examples, in the benchmark's own installation."""
    from jobs import steps
    from jobs.session import connect
    from jobs.simulator import WorldConfig

    config = WorldConfig(**WORLDS[world])
    settings = land(config)
    with engine():
        spark = connect(settings)
        steps.build_days(str(config.date(0)), str(config.date(config.days - 1)), "demo", "evidence", spark)
        spark.stop()
    return settings


# -- the table of rankers ------------------------------------------------------------------------


def ranked(name: str, data: Data) -> Iterator[dict[str, Any]]:
    """A ranker's figures, in every order that its heads allow."""
    kind, options = RANKERS[name]
    declared = ranker(kind)
    started = time.monotonic()
    fitted = declared.fit(data.train, data.valid, declared.params(**options))
    seconds = time.monotonic() - started
    held = _sorted(data.held)
    scores = fitted.score(held)
    for by in ("rank", "pctr", "fusion"):
        if by != "rank" or "rank" in scores:
            order = ServedOrder(by).of(scores, held)
            yield {"subject": f"{name} by {by}", "figures": _figures(held, order, scores["pctr"])}
    yield {"subject": name, "figures": {"fit": seconds}, "unit": "s"}


def baselines(settings: Settings, data: Data) -> Iterator[dict[str, Any]]:
    """What needs no ranker: popularity of the week, what the user did with the item before, item-CF."""
    held = _sorted(data.held)
    known = {"popularity": "item_target_users_7d", "own history": "pair_strength"}
    for subject, feature in known.items():
        yield {"subject": subject, "figures": _figures(held, np.nan_to_num(feature_matrix(held, (feature,))[:, 0]))}
    yield {"subject": "item-CF", "figures": _figures(held, item_cf(settings, held))}


def item_cf(settings: Settings, held: pa.Table) -> np.ndarray:
    """Sum over the user's items of their cosine with the candidate, from what was known on the evening before.

    Sarwar, Karypis, Konstan and Riedl, Item-based collaborative filtering, WWW 2001; own items count for the others.
    """
    lake, shown = Lake(settings), held["shown_ds"][0].as_py()
    days = [shown - dt.timedelta(days=n) for n in range(1, HISTORY_DAYS + 1)]
    past = lake.rows("silver.user_item_daily", ["user_id", "item_id", "strength"], ds=days)
    past = past.filter(pc.greater(past["strength"], 0))
    users, user = np.unique(np.r_[numbers(past, "user_id"), numbers(held, "user_id")], return_inverse=True)
    items, item = np.unique(np.r_[numbers(past, "item_id"), numbers(held, "item_id")], return_inverse=True)
    n = past.num_rows
    took = sp.csr_matrix((numbers(past, "strength"), (user[:n], item[:n])), (len(users), len(items)))
    norm = np.sqrt(np.asarray(took.multiply(took).sum(axis=0)).ravel())
    unit = took @ sp.diags(np.divide(1, norm, out=np.zeros_like(norm), where=norm > 0))
    likeness = (unit.T @ unit).tolil()
    likeness.setdiag(0)
    return np.asarray((took @ likeness.tocsr())[user[n:], item[n:]]).ravel()


def _sorted(held: pa.Table) -> pa.Table:
    return held.sort_by([("shown_ds", "ascending"), ("user_id", "ascending"), ("item_id", "ascending")])


def _figures(held: pa.Table, order: np.ndarray, pctr: np.ndarray | None = None) -> dict[str, Figure]:
    label, group = numbers(held, "label"), query_ids(held)
    made = {
        "ndcg@10": mean_of(of_groups("ndcg", label, order, group)),
        "ndcg@10 of purchases": mean_of(of_groups("ndcg", numbers(held, "converted"), order, group)),
        "mrr@10": mean_of(of_groups("mrr", label, order, group)),
        "hit_rate@3": mean_of(of_groups("hit_rate", label, order, group, 3)),
    }
    if pctr is not None:
        made |= resampled({"auc_of_pctr": lambda at, users: auc(label[at], pctr[at])}, group)
    return made


# -- what features and fairness are worth --------------------------------------------------------


def feature_groups() -> dict[str, tuple[str, ...]]:
    """Ranking features by the table that they are of."""
    found: dict[str, tuple[str, ...]] = {}
    for part in PARTS:
        name = f"{part.table.split('.')[1]}{f' ({part.kind})' if part.kind else ''}"
        found[name] = part.features
    return found | {"pair": (*PAIR, EXPECTED), "interests": INTEREST, "position": CONTEXT}


def ablation(settings: Settings, data: Data) -> Iterator[dict[str, Any]]:
    """NDCG@10 that xgb loses without a group of features: fitted and judged without it."""
    whole = _ndcg(_without(data, ()), {"min_conversions": 10**9})
    yield {"subject": "xgb with all features", "figures": {"ndcg@10": mean_of(whole)}}
    for name, columns in feature_groups().items():
        less = _ndcg(_without(data, columns), {"min_conversions": 10**9})
        yield {"subject": f"xgb without {name}", "figures": {"ndcg@10 difference": mean_of(less - whole)}}


def _without(data: Data, columns: tuple[str, ...]) -> Data:
    def emptied(table: pa.Table) -> pa.Table:
        for name in columns:
            at = table.schema.get_field_index(name)
            table = table.set_column(at, name, pa.nulls(table.num_rows, pa.float32()))
        return table

    return replace(data, train=emptied(data.train), valid=emptied(data.valid), held=emptied(data.held))


def groups(settings: Settings, data: Data) -> Iterator[dict[str, Any]]:
    """What fairness by group of tenure costs in NDCG@10, and what it does to calibration of each group."""
    usual = _fitted(data, {})
    before = _by_user(usual, data.held)
    yield {"subject": "xgb", "figures": _gaps(usual, data.held)}
    for name, options in (("reweigh", {"reweigh": True}), ("calibrate_groups", {"calibrate_groups": True})):
        fitted = _fitted(data, {**BY_GROUP, **options})
        price = {
            f"ndcg@10 difference by {by}": mean_of(v - before[by]) for by, v in _by_user(fitted, data.held).items()
        }
        yield {"subject": f"xgb with {name}", "figures": {**price, **_gaps(fitted, data.held)}}


def _gaps(fitted: Ranker, held: pa.Table) -> dict[str, float]:
    """Predicted less observed rate of the new and of the old."""
    tenure = feature_matrix(held, ("profile_tenure_days",))[:, 0]
    gap = fitted.score(held)["pctr"] - numbers(held, "label")
    return {
        f"pctr gap of the {name}": float(gap[of].mean())
        for name, of in (("new", tenure < 30), ("old", tenure >= 30))
        if of.any()
    }


def _fitted(data: Data, options: dict[str, Any]) -> Ranker:
    declared = ranker("xgb")
    return declared.fit(data.train, data.valid, declared.params(**options))


def _by_user(fitted: Ranker, held: pa.Table) -> dict[str, np.ndarray]:
    rows = _sorted(held)
    scores, label, group = fitted.score(rows), numbers(rows, "label"), query_ids(rows)
    return {by: of_groups("ndcg", label, ServedOrder(by).of(scores, rows), group) for by in ("rank", "pctr")}


def _ndcg(data: Data, options: dict[str, Any]) -> np.ndarray:
    return _by_user(_fitted(data, options), data.held)["rank"]


PIECES: dict[str, Callable[[Settings, Data], Iterator[dict[str, Any]]]] = {
    "baselines": baselines,
    "ablation": ablation,
    "groups": groups,
}


def _log(settings: Settings, part: str, size: str, rows: list[dict[str, Any]]) -> None:
    """A run of the experiment ``<market>/evidence``: figures as metrics, and as a table."""
    import mlflow

    registry.use_experiment(settings, registry.client(settings), "evidence")
    with mlflow.start_run(run_name=part):
        mlflow.set_tag("size", size)
        table: dict[str, list[Any]] = {"subject": [], "figure": [], "value": [], "lo": [], "hi": []}
        for row in rows:
            for name, value in row["figures"].items():
                whole = value if isinstance(value, Figure) else Figure(value, float("nan"), float("nan"))
                plain = f"{row['subject']}.{name}".replace("@", "_at_").replace("(", "").replace(")", "")
                mlflow.log_metric(plain, whole.value)
                for column, entry in zip(table, (row["subject"], name, whole.value, whole.lo, whole.hi), strict=True):
                    table[column].append(entry)
        mlflow.log_table(table, "evidence.json")
