"""The fusion of objectives, by hand."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F

from jobs.contract import DayRange
from jobs.errors import ContractError
from jobs.lake import arrow_rows
from jobs.ops import OBJECTIVE_WEIGHTS
from jobs.settings import Market
from models.objective_weights import Weights
from models.objectives import geometric
from models.ranked import Params, _ordered
from models.served_order import ServedOrder

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
    # a probability of 0 counts as 0.01, no dwell as a millionth of a second
    assert found["never"] == pytest.approx(0.01**0.6 * 0.01**0.3 * 1e-6**0.1)
    assert found["unknown"] is None


def test_another_order_is_refused():
    with pytest.raises(ContractError, match="order_by is 'gmv', but must be rank, pctr or fusion"):
        Params(order_by="gmv")


DAY, MARKET = DayRange.day("2024-03-10"), Market("demo")
FUSION = Params(order_by="fusion")
HEADS = "item_id bigint, pctr double, pcvr double, dwell double, relevance double"
MOVED = {"first_ctr": 0.6, "first_cvr": 0.3, "first_dwell": 0.1, "ctr": 0.54, "cvr": 0.36, "dwell": 0.1}
RATES = {"ctr_rate": 0.1, "cvr_rate": 0.05, "dwell_rate": 30.0}


def test_each_type_is_fused_with_the_weights_of_its_day(tables):
    spark = tables("silver.items", [], "2024-03-10").sparkSession
    # an item of the type's own rates, one that sells better, and one of a type without weights
    rows = [(1, 0.1, 0.005, 30.0, None), (2, 0.1, 0.05, 30.0, None), (3, 0.1, 0.005, 30.0, None)]
    items = tables(
        "silver.items",
        [
            {"item_id": 1, "content_type": "video"},
            {"item_id": 2, "content_type": "video"},
            {"item_id": 3, "content_type": "article"},
        ],
        "2024-03-10",
    )
    log = arrow_rows(
        OBJECTIVE_WEIGHTS,
        [
            {"ds": dt.date(2024, 3, 10), "content_type": "video", "at_ms": 2, **MOVED, **RATES},
            {"ds": dt.date(2024, 3, 10), "content_type": "video", "at_ms": 1, **MOVED, **RATES, "ctr": 0.1},
        ],
    )
    made = _ordered(
        spark.createDataFrame(rows, HEADS), items, spark.createDataFrame(log), DAY, Params(order_by="fusion"), MARKET
    ).collect()
    score = {r["item_id"]: r["score"] for r in made}
    plain = 0.1**0.6 * 0.05**0.3 * 30**0.1
    # the usual item scores as before, so the type neither sinks nor rises
    assert score[1] == pytest.approx(plain) and score[3] == pytest.approx(plain)
    # ten times the sales by click: 10^0.36 instead of 10^0.3
    assert score[2] == pytest.approx(plain * 10**0.36)


def test_other_orders_read_one_head(tables):
    spark = tables("silver.items", [], "2024-03-10").sparkSession
    heads = spark.createDataFrame([(1, 0.1, None, None, 2.5), (2, 0.2, None, None, None)], HEADS)
    by = {}
    for order in ("rank", "pctr"):
        made = _ordered(heads, heads, heads, DAY, Params(order_by=order), MARKET)
        by[order] = [r["score"] for r in made.orderBy("item_id").collect()]
    assert by == {"rank": [2.5, 0.2], "pctr": [0.1, 0.2]}


def test_numpy_orders_as_spark_does(spark, tables):
    """Plateaus, types with weights of their own, and heads that are missing."""
    rng = np.random.default_rng(3)
    n = 400
    heads = {
        "item_id": np.arange(n),
        "pctr": np.round(rng.uniform(0, 0.6, n), 1),
        "pcvr": np.round(rng.uniform(0, 0.3, n), 1),
        "dwell": np.round(rng.uniform(0, 90, n), -1),
        "relevance": np.round(rng.normal(size=n), 1),
    }
    kinds = rng.choice(["video", "article"], n)
    items = [{"item_id": int(i), "content_type": str(k)} for i, k in zip(heads["item_id"], kinds)]
    row = {"ds": dt.date(2024, 3, 10), "content_type": "video", "at_ms": 1, **MOVED, **RATES}
    log = arrow_rows(OBJECTIVE_WEIGHTS, [row])
    frame = spark.createDataFrame(pa.table(heads).to_pandas(), HEADS)
    made = _ordered(frame, tables("silver.items", items, "2024-03-10"), spark.createDataFrame(log), DAY, FUSION, MARKET)
    by_spark = (
        made.orderBy(F.round("score", 9).desc(), F.round("relevance", 6).desc(), "item_id")
        .select("item_id")
        .toPandas()["item_id"]
    )
    order = ServedOrder.of_day("fusion", Weights(), log.to_pylist())
    scores = {"rank": heads["relevance"], **{name: heads[name] for name in ("pctr", "pcvr", "dwell")}}
    served = order.of(scores, pa.table({"content_type": kinds}))
    by_numpy = np.lexsort((heads["item_id"], -served))
    assert by_numpy.tolist() == by_spark.tolist()


def test_an_order_without_heads_is_the_one_that_is_left():
    scores = {"pctr": np.array([0.1, 0.3, 0.2])}
    for by in ("rank", "pctr", "fusion"):
        assert ServedOrder(by).of(scores, {}).tolist() == [0, 2, 1]
