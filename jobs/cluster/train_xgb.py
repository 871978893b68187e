"""Fit XGBoost heads with ``xgboost.spark``: run by spark-submit, given a folder that all machines see.

It reads ``wanted.json`` and ``rows/<head>/*.parquet`` (`models.rankers.xgb_cluster` writes both), and writes
``made/<head>.ubj`` and ``made/<head>.json`` with the learning curve. It imports nothing of the project, so that nothing
needs to be shipped.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from xgboost.spark import SparkXGBClassifier, SparkXGBRanker, SparkXGBRegressor

KINDS = {"ctr": SparkXGBClassifier, "cvr": SparkXGBClassifier, "dwell": SparkXGBRegressor, "rank": SparkXGBRanker}


def main(folder: Path) -> None:
    wanted = json.loads((folder / "wanted.json").read_text())
    spark = SparkSession.builder.getOrCreate()
    (folder / "made").mkdir(exist_ok=True)
    for head, options in wanted["heads"].items():
        rows = spark.read.parquet(str(folder / "rows" / head))
        fitted = fit(head, rows, wanted["features"], options, wanted["workers"])
        fitted.get_booster().save_model(folder / "made" / f"{head}.ubj")
        history = fitted.training_summary
        curves = {
            "train": history.train_objective_history,
            "valid": history.validation_objective_history,
        }
        (folder / "made" / f"{head}.json").write_text(json.dumps(curves))
    spark.stop()


def fit(head: str, rows: DataFrame, features: list[str], options: dict[str, Any], workers: int) -> Any:
    """One head; rows whose ``valid`` is true stop the growth."""
    columns = {"qid_col": "qid"} if head == "rank" else {"weight_col": "weight"}
    estimator = KINDS[head](
        features_col=features,
        label_col="label",
        validation_indicator_col="valid",
        num_workers=workers,
        # else a part may hold rows of one kind only
        force_repartition=True,
        **columns,
        **options,
    )
    return estimator.fit(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
