"""XGBoost rankers: calibrated pCTR, calibrated pCVR where conversions exist, and LambdaMART.

A ranker is a folder of native files: ``ctr.ubj``, ``cvr.ubj``, ``rank.ubj``, ``calibration.json``,
``ranker.json``. Loading runs no code from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jobs.errors import ContractError
from models.ranking_features import FEATURES


@dataclass(frozen=True)
class XgbParams:
    """Trees of each head, their depth, learning rate, sampling and seed; ``threads`` 1 is reproducible anywhere.

    ``min_conversions``: with fewer, no pCVR head is fitted.
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


@dataclass
class XgbRanker:
    """Fitted heads with their calibrations (piecewise linear, as x and y knots)."""

    features: tuple[str, ...] = FEATURES
    boosters: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def score(self, columns: Mapping[str, np.ndarray] | pa.RecordBatch | pa.Table) -> dict[str, np.ndarray]:
        """Score rows.

        Parameters
        ----------
        columns
            Every feature by name, float, null or NaN for unknown.

        Returns
        -------
        dict
            ``pctr`` and ``pcvr`` in [0, 1] (``pcvr`` only where fitted) and ``rank`` (LambdaMART's
            relevance, comparable within a user), float64 arrays of one value a row.

        Raises
        ------
        ContractError
            A feature that the ranker was trained on is missing.
        """
        matrix = feature_matrix(columns, self.features)
        scores = {}
        for head, booster in self.boosters.items():
            raw = booster.inplace_predict(matrix, validate_features=False).astype(np.float64)
            name = {"ctr": "pctr", "cvr": "pcvr"}.get(head, head)
            scores[name] = np.interp(raw, *self.calibration[head]) if head in self.calibration else raw
        return scores

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for head, booster in self.boosters.items():
            booster.save_model(folder / f"{head}.ubj")
        (folder / "calibration.json").write_text(json.dumps(self.calibration, sort_keys=True))
        described = {"features": list(self.features), "heads": sorted(self.boosters), "facts": self.facts}
        (folder / "ranker.json").write_text(json.dumps(described, sort_keys=True, indent=1))

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> XgbRanker:
        import xgboost

        described = json.loads((folder / "ranker.json").read_text())
        boosters = {}
        for head in described["heads"]:
            boosters[head] = xgboost.Booster({"nthread": threads})
            boosters[head].load_model(folder / f"{head}.ubj")
        calibration = {k: tuple(v) for k, v in json.loads((folder / "calibration.json").read_text()).items()}
        return cls(tuple(described["features"]), boosters, calibration, described["facts"])


def feature_matrix(columns: Any, features: tuple[str, ...]) -> np.ndarray:
    """float32, shape ``(rows, features)``; null is NaN."""
    names = columns.schema.names if hasattr(columns, "schema") else list(columns)
    if missing := [f for f in features if f not in names]:
        raise ContractError(f"Scoring lacks the features {missing} that the ranker was trained on.")
    made = [_as_float(columns[f] if isinstance(columns, Mapping) else columns.column(f)) for f in features]
    return np.column_stack(made)


def _as_float(values: Any) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return values.astype(np.float32)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values.cast(pa.float32()).to_numpy(zero_copy_only=False).astype(np.float32)


def fit(train: pa.Table, valid: pa.Table, params: XgbParams) -> XgbRanker:
    """Fit every head the data supports; the validation days stop the growth and calibrate.

    Parameters
    ----------
    train, valid
        Rows of ``training.examples``; ``valid`` holds later days.

    Raises
    ------
    ContractError
        There is no positive or no negative row to learn from.
    """
    labels = train["label"].to_numpy()
    if not 0 < labels.sum() < len(labels):
        raise ContractError(
            f"The training set has {int(labels.sum())} positives of {len(labels)} rows: both are needed."
        )
    ranker = XgbRanker(facts={"params": asdict(params), "rows": train.num_rows, "valid_rows": valid.num_rows})
    ranker.boosters["ctr"] = _fit_binary(train, valid, "label", params)
    converted = int(train["converted"].to_numpy().sum())
    if converted >= params.min_conversions and _both(valid, "converted"):
        ranker.boosters["cvr"] = _fit_binary(train, valid, "converted", params)
    ranker.boosters["rank"] = _fit_ranking(train, valid, params)
    for head, label in (("ctr", "label"), ("cvr", "converted")):
        if head in ranker.boosters:
            raw = ranker.boosters[head].inplace_predict(feature_matrix(valid, FEATURES)).astype(np.float64)
            ranker.calibration[head] = isotonic(raw, valid[label].to_numpy())
    ranker.facts |= {"conversions": converted, "best": {h: b.best_iteration for h, b in ranker.boosters.items()}}
    return ranker


def _both(table: pa.Table, label: str) -> bool:
    values = table[label].to_numpy()
    return 0 < values.sum() < len(values)


def _common(params: XgbParams) -> dict[str, Any]:
    return {
        "max_depth": params.depth,
        "eta": params.learning_rate,
        "min_child_weight": params.min_child_weight,
        "subsample": params.subsample,
        "colsample_bytree": params.colsample,
        "seed": params.seed,
        "nthread": params.threads,
        "tree_method": "hist",
        "max_bin": 128,
    }


def _grow(options: dict[str, Any], data: Any, held: Any, params: XgbParams) -> Any:
    import xgboost

    booster = xgboost.train(
        options,
        data,
        params.trees,
        evals=[(held, "valid")],
        early_stopping_rounds=params.early_stopping,
        verbose_eval=False,
    )
    best = booster.best_iteration
    cut = booster[: best + 1]
    cut.best_iteration = best
    return cut


def _fit_binary(train: pa.Table, valid: pa.Table, label: str, params: XgbParams) -> Any:
    import xgboost

    data = xgboost.QuantileDMatrix(
        feature_matrix(train, FEATURES), train[label].to_numpy(), feature_names=list(FEATURES), max_bin=128
    )
    held = xgboost.QuantileDMatrix(
        feature_matrix(valid, FEATURES), valid[label].to_numpy(), ref=data, feature_names=list(FEATURES), max_bin=128
    )
    return _grow({**_common(params), "objective": "binary:logistic", "eval_metric": "logloss"}, data, held, params)


def _fit_ranking(train: pa.Table, valid: pa.Table, params: XgbParams) -> Any:
    import xgboost

    matrices = []
    for table in (train, valid):
        ordered = table.sort_by([("shown_ds", "ascending"), ("user_id", "ascending"), ("item_id", "ascending")])
        matrices.append(
            xgboost.QuantileDMatrix(
                feature_matrix(ordered, FEATURES),
                ordered["label"].to_numpy(),
                qid=query_ids(ordered),
                ref=matrices[0] if matrices else None,
                feature_names=list(FEATURES),
                max_bin=128,
            )
        )
    options = {
        **_common(params),
        "objective": "rank:ndcg",
        "eval_metric": "ndcg@10",
        "lambdarank_pair_method": "topk",
        "lambdarank_num_pair_per_sample": 10,
    }
    return _grow(options, *matrices, params)


def query_ids(table: pa.Table) -> np.ndarray:
    """A number per (day, user) run of rows that are sorted by them."""
    days = table["shown_ds"].to_numpy().astype("datetime64[D]").astype(np.int64)
    users = table["user_id"].to_numpy()
    new = np.r_[True, (np.diff(days) != 0) | (np.diff(users) != 0)]
    return np.cumsum(new) - 1


def isotonic(raw: np.ndarray, label: np.ndarray) -> tuple[list[float], list[float]]:
    """Knots of the isotonic regression of label on raw score (Zadrozny and Elkan, 2002)."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(out_of_bounds="clip", y_min=0.0, y_max=1.0).fit(raw, label)
    return fitted.X_thresholds_.astype(float).tolist(), fitted.y_thresholds_.astype(float).tolist()
