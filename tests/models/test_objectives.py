"""The fusion of objectives, by hand."""

from __future__ import annotations

import pytest
from pyspark.sql import functions as F

from jobs.errors import ContractError
from models.objectives import geometric
from models.ranked import Params

ROWS = [
    ("all", 0.25, 0.05, 32.0),
    ("no heads but one", 0.25, None, None),
    ("bought more often than clicked", 0.25, 0.5, 1.0),
    ("never", 0.0, 0.0, 0.0),
    ("unknown", None, 0.5, 3.0),
]


def test_objectives_are_multiplied_with_their_weights_as_exponents(spark):
    frame = spark.createDataFrame(ROWS, "name string, pctr double, pcvr double, dwell double")
    score = geometric(F.col("pctr"), F.col("pcvr"), F.col("dwell"), 0.6, 0.3, 0.1)
    found = {r["name"]: r["score"] for r in frame.select("name", score.alias("score")).collect()}
    # a fifth of the clicks lead to a purchase: 0.05 / 0.25
    assert found["all"] == pytest.approx(0.25**0.6 * 0.2**0.3 * 32**0.1)
    assert found["no heads but one"] == pytest.approx(0.25**0.6)
    # a chance is at most 1
    assert found["bought more often than clicked"] == pytest.approx(0.25**0.6)
    assert 0 < found["never"] < 1e-5
    assert found["unknown"] is None


def test_another_order_is_refused():
    with pytest.raises(ContractError, match="order_by is 'gmv', but must be rank, pctr or fusion"):
        Params(order_by="gmv")
