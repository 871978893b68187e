"""How people speak: sentiment by user, item, creator and category over 28 days."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.windows import spread
from jobs.contract import Column, DayRange, Table, TableInput, between, in_set, no_rows_where

KINDS = ("user", "item", "creator", "category")
WINDOW = 28
Z = 1.959964


@dataclass(frozen=True)
class Params:
    """``prior_texts``: with how many texts of the market's mean a subject's mean is mixed."""

    prior_texts: float = 5.0


CONTRACT = Table(
    name="features.sentiment",
    group="features",
    owner="user-understanding",
    description="Sentiment of the texts of 28 days by user who wrote them, and by item, creator and category that "
    "they are about. shrunk = (n mean + m prior) / (n + m), prior the mean of all texts, m = 5; the interval of the "
    "negative share is Wilson's (95 %).",
    columns=[
        Column("kind", "string", "user, item, creator or category."),
        Column("value", "string", "The user, item or creator key, or the category."),
        Column("user_id", "bigint", "The user where kind is user, else null.", subject=True),
        Column("texts", "int", "Texts with a score."),
        Column("service_texts", "int", "Those of them that went to customer service."),
        Column("sentiment", "double", "Mean score.", digits=6),
        Column("sentiment_shrunk", "double", "Mean score, drawn to the market's mean where texts are few.", digits=6),
        Column("share_positive", "double", "Part of the texts that is positive.", digits=6),
        Column("share_negative", "double", "Part of the texts that is negative.", digits=6),
        Column("negative_low", "double", "Lower end of the interval of the negative share.", digits=6),
        Column("negative_high", "double", "Upper end of it.", digits=6),
    ],
    keys=["kind", "value"],
    inputs=[TableInput("features.review_signals", days=WINDOW), TableInput("silver.items")],
    checks=[
        in_set("kind", KINDS),
        between("sentiment", -1, 1),
        between("sentiment_shrunk", -1, 1),
        between("share_negative", 0, 1),
        between("texts", 1, None),
        no_rows_where(
            "share_negative < negative_low - 1e-6 OR share_negative > negative_high + 1e-6",
            "a share outside its own interval",
        ),
    ],
)


def build(review_signals: DataFrame, items: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    texts = spread(review_signals.where("sentiment IS NOT NULL"), days, WINDOW)
    market = texts.groupBy("ds").agg(F.avg(F.round("sentiment", 6)).alias("prior"))
    about = items.select("ds", "item_id", "creator_id", "category")
    subjects = [
        F.struct(F.lit(kind).alias("kind"), F.col(key).cast("string").alias("value"))
        for kind, key in zip(KINDS, ("user_id", "item_id", "creator_id", "category"))
    ]
    n = F.col("texts")
    return (
        texts.join(about, ["ds", "item_id"], "left")
        .withColumn("subject", F.explode(F.array(*subjects)))
        .where("subject.value IS NOT NULL")
        .groupBy("ds", "subject.kind", "subject.value")
        .agg(
            F.count(F.lit(1)).cast("int").alias("texts"),
            F.count_if(F.col("channel") == "service").cast("int").alias("service_texts"),
            F.avg("sentiment").alias("sentiment"),
            F.avg((F.col("label") == "positive").cast("double")).alias("share_positive"),
            F.avg((F.col("label") == "negative").cast("double")).alias("share_negative"),
        )
        .join(F.broadcast(market), "ds")
        .withColumn(
            "sentiment_shrunk",
            (n * F.col("sentiment") + params.prior_texts * F.col("prior")) / (n + params.prior_texts),
        )
        .withColumn("negative_low", wilson(F.col("share_negative"), n, -1))
        .withColumn("negative_high", wilson(F.col("share_negative"), n, 1))
        .withColumn("user_id", F.when(F.col("kind") == "user", F.col("value").cast("bigint")))
    )


def wilson(share, n, side: int):
    r"""One end of Wilson's interval: :math:`\frac{p + z^2/2n \pm z\sqrt{p(1-p)/n + z^2/4n^2}}{1 + z^2/n}`."""
    spread_ = Z * F.sqrt(share * (1 - share) / n + Z**2 / (4 * n * n))
    end = (share + Z**2 / (2 * n) + side * spread_) / (1 + Z**2 / n)
    # at 0 and 1 the ends meet the share but for the last bits
    return F.least(F.lit(1.0), F.greatest(F.lit(0.0), end))
