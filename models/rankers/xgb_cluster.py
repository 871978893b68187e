"""XGBoost rankers fitted on a Spark cluster: the same heads from the same rows, and the same files in the end.

Rows are written a batch at a time, so the driver holds no more of them than a local fit does; trees grow where the rows
are. Two things differ from a local fit: quantiles are merged from those of the parts, so trees are alike and not equal;
and ``xgboost.spark`` knows no weight of a query, so LambdaMART sees a query of weight 3 three times, which gives it the
same gradients.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import ContractError
from models.rankers import xgb
from models.rankers.ranker import check_labels
from models.rankers.rows import Stream, query_ids
from models.rankers.xgb import MAX_BIN, OBJECTIVES, XgbParams, XgbRanker
from models.ranking_features import FEATURES

Run = Callable[[Path], None]
"""Fits what a folder asks for on a cluster (``jobs/cluster/train_xgb.py``) and returns when it is there."""


def fit(train: Stream, valid: pa.Table, params: XgbParams, folder: Path, run: Run, workers: int) -> XgbRanker:
    """Fit every head that the data supports, as `models.rankers.xgb.fit` does.

    Parameters
    ----------
    train, valid, params
        As there; ``threads`` does not count, a worker has one.
    folder
        Seen by all machines; rows, options and boosters pass through it.
    run, workers
        What runs the job; how many tasks train one head together.

    Raises
    ------
    ContractError
        There is no positive or no negative row to learn from, or the trees are to start from an ``offset``.
    """
    if params.offset:
        raise ContractError(
            f"Ranker xgb: trees that start from {params.offset!r} are not grown on a cluster: leave offset or the "
            "cluster out."
        )
    facts, weights = xgb.counted(train, params)
    check_labels(facts["clicks"], facts["rows"])
    heads = xgb.heads_of(facts, valid, params)
    for head in heads:
        write_rows(head, train, valid, folder / "rows" / head, weights if params.reweigh else {})
    wanted = {"workers": workers, "features": list(FEATURES), "heads": {head: _options(head, params) for head in heads}}
    (folder / "wanted.json").write_text(json.dumps(wanted))
    run(folder)
    ranker = XgbRanker(facts={**facts, "params": asdict(params), "valid_rows": valid.num_rows, "curves": {}})
    for head in heads:
        booster, curve = _made(head, folder / "made")
        ranker.boosters[head], ranker.facts["curves"][head] = booster, curve
    ranker.facts |= {"best": {h: b.best_iteration for h, b in ranker.boosters.items()}, "workers": workers}
    if params.calibrate_groups:
        ranker.groups = params.groups
    ranker.calibrate(valid)
    return ranker


def _options(head: str, params: XgbParams) -> dict[str, Any]:
    """Options of the estimator; its class says the objective, but for the ranker's."""
    own = {k: v for k, v in OBJECTIVES[head].items() if head == "rank" or k != "objective"}
    return {
        "n_estimators": params.trees,
        "max_depth": params.depth,
        "learning_rate": params.learning_rate,
        "min_child_weight": params.min_child_weight,
        "subsample": params.subsample,
        "colsample_bytree": params.colsample,
        "random_state": params.seed,
        "early_stopping_rounds": params.early_stopping,
        "tree_method": "hist",
        "max_bin": MAX_BIN,
        **own,
    }


def write_rows(head: str, train: Stream, valid: pa.Table, folder: Path, weights: dict[str, Any]) -> None:
    """Write the rows of a head: features, ``label``, ``valid``, and ``weight`` or ``qid``."""
    folder.mkdir(parents=True)
    queries = 0
    for name, source, weigh in (("train", train, weights), ("valid", valid, {})):
        writer = None
        for part in _parts(head, source, weigh):
            if head == "rank":
                part["qid"] = _spread(part["qid"], name == "valid", queries, valid)
            table = _table(part, name == "valid")
            writer = writer or pq.ParquetWriter(folder / f"{name}.parquet", table.schema)
            writer.write_table(table)
            if head == "rank" and name == "train":
                queries = int(part["qid"][-1]) // 2 + 1
        if writer is not None:
            writer.close()


def _parts(head: str, source: Stream, weights: dict[str, Any]) -> Iterator[dict[str, np.ndarray]]:
    if head != "rank":
        yield from xgb.head_parts(head, source, weights)
        return
    by_query = np.maximum(1, np.round(xgb.query_weights(source))).astype(np.int64)
    # a number for each copy of a query, ascending
    first = np.cumsum(by_query) - by_query
    for part in xgb.head_parts(head, source, weights):
        query = part["qid"]
        copies = by_query[query]
        row = np.repeat(np.arange(len(query)), copies)
        copy = np.arange(len(row)) - np.repeat(np.cumsum(copies) - copies, copies)
        qid = first[query[row]] + copy
        order = np.argsort(qid, kind="stable")
        yield {"data": part["data"][row][order], "label": part["label"][row][order], "qid": qid[order]}


def _spread(qid: np.ndarray, is_valid: bool, queries: int, valid: pa.Table) -> np.ndarray:
    """Even numbers for training, odd ones over the same range for validation: parts are ranges, and need both kinds."""
    if not is_valid:
        return 2 * qid
    stride = max(1, queries // max(1, int(query_ids(valid)[-1]) + 1))
    return 2 * stride * qid + 1


def _table(part: dict[str, np.ndarray], is_valid: bool) -> pa.Table:
    columns = {name: part["data"][:, at] for at, name in enumerate(FEATURES)}
    columns["label"] = part["label"].astype(np.float32)
    columns["valid"] = np.full(len(part["label"]), is_valid)
    if "qid" in part:
        columns["qid"] = part["qid"].astype(np.int64)
    else:
        columns["weight"] = part.get("weight", np.ones(len(part["label"]))).astype(np.float32)
    return pa.table(columns)


def _made(head: str, folder: Path) -> tuple[Any, dict[str, list[float]]]:
    """The booster up to its best tree, and its learning curve."""
    import xgboost

    whole = xgboost.Booster()
    whole.load_model(folder / f"{head}.ubj")
    best = int(whole.attr("best_iteration"))
    cut = whole[: best + 1]
    cut.best_iteration, cut.feature_names = best, list(FEATURES)
    metric, curves = OBJECTIVES[head]["eval_metric"], json.loads((folder / f"{head}.json").read_text())
    return cut, {part: [round(v, 6) for v in curves[part][metric]] for part in ("train", "valid")}
