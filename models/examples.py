"""Training rows: left what was shown, right what was known before; only days whose label windows have closed.

The rows of ``ds`` are the showings of ``ds - label_days``, with features as of the end of the day before
that. Target actions outside of any showing are positives too, with seeded negatives (``training.pairs``);
in a market without impressions these are all there is.
"""

from __future__ import annotations

import datetime as dt

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, NoParams, Table, TableInput
from models.ranking_features import CONTEXT, FEATURES, Known, assemble
from models.ranking_features import inputs as feature_inputs
from models.training_pairs import CONTRACT as PAIRS
from models.training_pairs import LABEL_DAYS

CONTRACT = Table(
    name="training.examples",
    group="examples",
    owner="model-life",
    description="Showings of the day ds - 1 with labels from a closed window and features as known the day before.",
    columns=[
        *[c for c in PAIRS.columns if c.name not in CONTEXT],
        *[Column(name, "float", "Ranking feature (models.ranking_features).", digits=6) for name in FEATURES],
    ],
    keys=PAIRS.keys,
    inputs=[TableInput("training.pairs"), *feature_inputs(lag=LABEL_DAYS + 1)],
)


def build(pairs: DataFrame, *, days: DayRange, params: NoParams, **known: DataFrame) -> DataFrame:
    back = dt.timedelta(days=LABEL_DAYS + 1)
    evenings = DayRange(days.first - back, days.last - back)
    rows = assemble(pairs.withColumn("ds", F.date_sub("shown_ds", 1)), evenings, Known(known))
    return rows.withColumn("ds", F.date_add("shown_ds", LABEL_DAYS))
