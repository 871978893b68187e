"""XGBoost rankers: calibrated pCTR, pCVR where conversions exist, expected dwell, and LambdaMART.

A saved ranker holds ``ctr.ubj``, ``cvr.ubj``, ``dwell.ubj``, ``rank.ubj``, ``calibration.json``, ``ranker.json``.

Training reads batches: XGBoost keeps a byte a value (its bin), and besides that a batch at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.errors import ContractError
from models.rankers.groups import Groups, Reweighing
from models.rankers.ranker import Ranker, Spec, check_labels, has_both
from models.rankers.rows import Columns, Stream, batches, feature_matrix, numbers, query_ids, row_weights, whole_queries
from models.ranking_features import FEATURES

RANKER = Spec("xgb", "Gradient boosted trees: pCTR, pCVR, dwell and LambdaMART heads.")
SCORES = {"ctr": "pctr", "cvr": "pcvr"}
MAX_BIN = 128
LAMBDAMART, ODDS = "lambdamart", "odds"
LEAST_OFFSET = 1e-7
"""What a row starts from where its ``offset`` is 0 or not known."""


@dataclass(frozen=True)
class XgbParams:
    """Trees of each head, their depth, learning rate, sampling and seed; ``threads`` 1 is reproducible anywhere.

    Parameters
    ----------
    min_conversions
        With fewer, no pCVR head is fitted; with fewer clicks of known length, no dwell head.
    order
        What orders a list (the head ``rank``): ``lambdamart``, fitted on the order within a user and day, or ``odds``
        of a click, as they are before calibration, which makes steps. Where negatives are drawn and weighed
        (``training.pairs``) only the latter knows how many more there are.
    offset
        A feature that is a chance already, such as ``pair_expected``: the trees of pCTR start from it and learn what
        it leaves, so that few rows suffice. None by default.
    group_feature, group_edges
        Groups of ``models.rankers.groups``; none by default.
    reweigh, calibrate_groups
        Weigh training rows so that label and group are independent, on top of what the rows weigh by themselves
        (``weight``); calibrate each group by itself.
    """

    trees: int = 120
    depth: int = 6
    learning_rate: float = 0.1
    min_child_weight: float = 5.0
    subsample: float = 0.8
    colsample: float = 0.8
    early_stopping: int = 15
    min_conversions: int = 200
    threads: int = 2
    seed: int = 7
    order: str = LAMBDAMART
    offset: str = ""
    group_feature: str = ""
    group_edges: tuple[float, ...] = ()
    reweigh: bool = False
    calibrate_groups: bool = False

    def __post_init__(self) -> None:
        if self.order not in (LAMBDAMART, ODDS):
            raise ContractError(f"Ranker xgb: order is {self.order!r}, but must be {LAMBDAMART} or {ODDS}.")
        if self.offset and self.offset not in FEATURES:
            raise ContractError(f"Ranker xgb: offset {self.offset!r} is no ranking feature (models.ranking_features).")

    @property
    def groups(self) -> Groups:
        return Groups(self.group_feature, self.group_edges)


Params = XgbParams


@dataclass
class XgbRanker(Ranker):
    """Boosters by head."""

    spec = RANKER

    boosters: dict[str, Any] = field(default_factory=dict)

    @property
    def heads(self) -> tuple[str, ...]:
        fitted = tuple(SCORES.get(head, head) for head in self.boosters)
        return (*fitted, "rank") if self._option("order") == ODDS else fitted

    def _option(self, name: str) -> Any:
        return self.facts.get("params", {}).get(name, getattr(XgbParams(), name))

    def raw(self, columns: Columns) -> dict[str, np.ndarray]:
        matrix, offset = feature_matrix(columns, self.features), self._option("offset")
        made = {}
        for head, booster in self.boosters.items():
            start = start_of(columns, offset) if offset and head == "ctr" else None
            raw = booster.inplace_predict(matrix, validate_features=False, base_margin=start).astype(np.float64)
            made[SCORES.get(head, head)] = np.expm1(raw) if head == "dwell" else raw
        if self._option("order") == ODDS:
            # float32 holds no chance beyond 1 - 6e-8
            chance = np.clip(made["pctr"], 1e-12, 1 - 1e-7)
            made["rank"] = np.log(chance / (1 - chance))
        return made

    def save_weights(self, folder: Path) -> None:
        for head, booster in self.boosters.items():
            booster.save_model(folder / f"{head}.ubj")

    def importance(self, columns: Columns) -> dict[str, float]:
        """Mean absolute SHAP value of each feature in the pCTR head, in log-odds (Lundberg et al., 2020)."""
        import xgboost

        matrix = xgboost.DMatrix(feature_matrix(columns, self.features), feature_names=list(self.features))
        shares = np.abs(self.boosters["ctr"].predict(matrix, pred_contribs=True)[:, :-1]).mean(axis=0)
        return dict(zip(self.features, shares.astype(float).tolist(), strict=True))

    @classmethod
    def load_weights(cls, folder: Path, described: dict[str, Any], threads: int) -> XgbRanker:
        import xgboost

        boosters = {}
        for head in sorted(path.stem for path in folder.glob("*.ubj")):
            boosters[head] = xgboost.Booster({"nthread": threads})
            boosters[head].load_model(folder / f"{head}.ubj")
        return cls(boosters=boosters)


def fit(train: Stream, valid: pa.Table, params: XgbParams, start: XgbRanker | None = None) -> XgbRanker:
    """Fit every head the data supports; the validation days stop the growth and calibrate.

    Parameters
    ----------
    train, valid
        Rows of ``training.examples`` in order of day and user; ``valid`` holds later days.
    start
        Its trees are kept, and the new ones added to them.

    Raises
    ------
    ContractError
        There is no positive or no negative row to learn from.
    """
    facts, weights = counted(train, params)
    check_labels(facts["clicks"], facts["rows"])
    ranker = XgbRanker(facts={**facts, "params": asdict(params), "valid_rows": valid.num_rows, "curves": {}})
    for head in heads_of(facts, valid, params):
        earlier = start.boosters.get(head) if start else None
        booster, curve = _fit_head(head, train, valid, params, weights if params.reweigh else {}, earlier)
        ranker.boosters[head], ranker.facts["curves"][head] = booster, curve
    ranker.facts["best"] = {head: booster.best_iteration for head, booster in ranker.boosters.items()}
    if params.calibrate_groups:
        ranker.groups = params.groups
    ranker.calibrate(valid)
    return ranker


def counted(train: Stream, params: XgbParams) -> tuple[dict[str, int], dict[str, Reweighing]]:
    """How many rows there are of what, and for each label how groups and labels meet."""
    found = {"rows": 0, "clicks": 0, "conversions": 0, "timed": 0}
    weights = {"label": Reweighing(params.groups), "converted": Reweighing(params.groups)}
    for batch in batches(train):
        found["rows"] += batch.num_rows
        found["clicks"] += int(numbers(batch, "label").sum())
        found["conversions"] += int(numbers(batch, "converted").sum())
        found["timed"] += int((numbers(batch, "dwell_ms") > 0).sum())
        if params.reweigh:
            for label, weight in weights.items():
                weight.add(batch, numbers(batch, label, np.int64))
    return found, weights


def heads_of(facts: dict[str, int], valid: pa.Table, params: XgbParams) -> list[str]:
    """The heads that the data supports."""
    heads = ["ctr", "rank"] if params.order == LAMBDAMART else ["ctr"]
    if facts["conversions"] >= params.min_conversions and has_both(numbers(valid, "converted")):
        heads.append("cvr")
    if facts["timed"] >= params.min_conversions and (numbers(valid, "dwell_ms") > 0).any():
        heads.append("dwell")
    return sorted(heads)


OBJECTIVES: dict[str, dict[str, Any]] = {
    "ctr": {"objective": "binary:logistic", "eval_metric": "logloss"},
    "cvr": {"objective": "binary:logistic", "eval_metric": "logloss"},
    "dwell": {"objective": "reg:squarederror", "eval_metric": "rmse"},
    "rank": {
        "objective": "rank:ndcg",
        "eval_metric": "ndcg@10",
        "lambdarank_pair_method": "topk",
        "lambdarank_num_pair_per_sample": 10,
    },
}


def _fit_head(
    head: str, train: Stream, valid: pa.Table, params: XgbParams, weights: dict[str, Reweighing], start: Any
) -> tuple[Any, dict[str, list[float]]]:
    import xgboost

    data = _matrix(head, train, params, weights, None)
    held = _matrix(head, valid, params, {}, data)
    options = {
        "max_depth": params.depth,
        "eta": params.learning_rate,
        "min_child_weight": params.min_child_weight,
        "subsample": params.subsample,
        "colsample_bytree": params.colsample,
        "seed": params.seed,
        "nthread": params.threads,
        "tree_method": "hist",
        "max_bin": MAX_BIN,
        **OBJECTIVES[head],
    }
    curve: dict[str, Any] = {}
    booster = xgboost.train(
        options,
        data,
        params.trees,
        evals=[(data, "train"), (held, "valid")],
        early_stopping_rounds=params.early_stopping,
        evals_result=curve,
        verbose_eval=False,
        xgb_model=start,
    )
    best = booster.best_iteration
    cut = booster[: best + 1]
    cut.best_iteration = best
    metric = OBJECTIVES[head]["eval_metric"]
    return cut, {part: [round(v, 6) for v in curve[part][metric]] for part in ("train", "valid")}


def _matrix(head: str, source: Stream, params: XgbParams, weights: dict[str, Reweighing], ref: Any) -> Any:
    """The rows of a head, quantised batch by batch."""
    import xgboost

    class Parts(xgboost.DataIter):
        def reset(self) -> None:
            self.left = head_parts(head, source, weights, params.offset)

        def next(self, input_data: Any) -> bool:
            part = next(self.left, None)
            if part is not None:
                input_data(feature_names=list(FEATURES), **part)
            return part is not None

    parts = Parts()
    parts.reset()
    made = xgboost.QuantileDMatrix(parts, ref=ref, max_bin=MAX_BIN, nthread=params.threads)
    if head == "rank":
        # pairs of a query are learnt together, so it has one weight
        made.set_weight(query_weights(source))
    return made


def query_weights(source: Stream) -> np.ndarray:
    """The mean weight of the rows of each (day, user)."""
    rows = pa.Table.from_batches([batch.select(["shown_ds", "user_id", "weight"]) for batch in source.to_batches()])
    query = query_ids(rows)
    return np.bincount(query, row_weights(rows)) / np.bincount(query)


def start_of(columns: Columns, offset: str) -> np.ndarray:
    """Log-odds that the trees start from: those of the feature ``offset``, float32."""
    chance = np.nan_to_num(feature_matrix(columns, (offset,))[:, 0], nan=0.0).clip(LEAST_OFFSET, 1 - 1e-6)
    return np.log(chance / (1 - chance)).astype(np.float32)


def head_parts(
    head: str, source: Stream, weights: dict[str, Reweighing], offset: str = ""
) -> Iterator[dict[str, np.ndarray]]:
    """The rows of a head batch by batch: ``data``, ``label``, ``qid`` or ``weight``, and ``base_margin``."""
    label = {"ctr": "label", "rank": "label", "cvr": "converted"}.get(head)
    queries = 0
    # XGBoost takes each batch's queries for others than those before
    for batch in whole_queries(source) if head == "rank" else batches(source):
        if head == "dwell":
            batch = batch.filter(pa.array(numbers(batch, "dwell_ms") > 0))
        if not batch.num_rows:
            continue
        target = np.log1p(numbers(batch, "dwell_ms") / 1000) if label is None else numbers(batch, label)
        part = {"data": feature_matrix(batch, FEATURES), "label": target}
        if head == "rank":
            part["qid"] = query_ids(batch) + queries
            queries = int(part["qid"][-1]) + 1
        elif label is not None:
            part["weight"] = row_weights(batch)
            if offset and head == "ctr":
                part["base_margin"] = start_of(batch, offset)
            if label in weights:
                part["weight"] = part["weight"] * weights[label].of(batch, target.astype(np.int64))
        yield part
