r"""``audit.gmv``: the day's GMV taken apart, to the cent.

.. math:: GMV = \sum_{lag} impressions \times CTR \times CVR \times AOV + unattributed

An order line of the day is *attributed* to the last click on the item by the same user before it, if a
showing led to that click on the click's own day and it happened on the day or within the label window of the
training rows before it. ``lag`` is the days between. The rest has no showing to explain it: it is
*unattributed*.

The product is exact because no rate is ever rounded. Four integers are carried for each lag: showings I and
the clicks C they led to on the day of the click, orders O and their amount A on ds. The rates are the
ratios CTR = C/I, CVR = O/C and AOV = A/O, so that their product I x C/I x O/C x A/O is A itself. Where no
order is attributed all of it is 0; where one is, a showing and a click exist, so nothing divides by 0.
The rates in the table are rounded for reading; the integers are what reconciles.
"""

from __future__ import annotations

from fractions import Fraction

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, NoParams, Table, TableInput, between, in_set, no_rows_where
from models.training_pairs import LABEL_DAYS

LAGS = tuple(f"lag_{n}" for n in range(LABEL_DAYS + 1))
UNATTRIBUTED = "unattributed"

CONTRACT = Table(
    name="audit.gmv",
    group="audit",
    owner="quality",
    description="GMV of the day (sales, refunds in) as showings x CTR x CVR x AOV by days between click and order, "
    "and what no showing explains. The parts add up to the day's GMV to the cent.",
    columns=[
        Column("part", "string", "lag_0: clicked on ds; lag_1: on the day before; unattributed: no showing led to it."),
        Column("impressions", "bigint", "Showings on the day of the click; null where there is no click."),
        Column("clicks", "bigint", "Clicks of that day that one of its showings led to."),
        Column("orders", "bigint", "Different orders of ds with a line of this part."),
        Column("amount_minor", "bigint", "Amount of those lines: showings x CTR x CVR x AOV.", "minor"),
        Column("ctr", "double", "Clicks by showings, rounded for reading.", digits=9),
        Column("cvr", "double", "Orders by clicks.", digits=9),
        Column("aov_minor", "double", "Amount by orders.", "minor", digits=6),
        Column("gmv_minor", "bigint", "GMV of ds: the sum over all parts, counted apart from them.", "minor"),
    ],
    keys=["part"],
    inputs=[
        TableInput("silver.orders"),
        TableInput("silver.events", days=LABEL_DAYS + 1, optional=True),
        TableInput("silver.impressions", days=LABEL_DAYS + 1, optional=True),
    ],
    checks=[
        in_set("part", (*LAGS, UNATTRIBUTED)),
        between("amount_minor", 0, None),
        no_rows_where("sum(amount_minor) OVER (PARTITION BY ds) <> gmv_minor", "the parts are not the day's GMV"),
    ],
)


def explained(impressions: int, clicks: int, orders: int, amount_minor: int) -> Fraction:
    """Showings x CTR x CVR x AOV, as exact fractions.

    Examples
    --------
    100 showings x 7/100 x 3/7 x 1000/3:

    >>> explained(100, 7, 3, 1000)
    Fraction(1000, 1)
    """
    if not orders:
        return Fraction(0)
    return impressions * Fraction(clicks, impressions) * Fraction(orders, clicks) * Fraction(amount_minor, orders)


def build(
    orders: DataFrame, events: DataFrame, impressions: DataFrame, *, days: DayRange, params: NoParams
) -> DataFrame:
    sold = orders.where("kind = 'sale'").select(
        "ds", "order_line_id", "order_id", "user_id", "item_id", "at_ms", "amount_minor"
    )
    clicks = events.where("action = 'click' AND item_id IS NOT NULL").join(
        impressions.select("ds", "impression_id"), ["ds", "impression_id"], "left_semi"
    )
    parts = (
        attributed(sold, clicks)
        .groupBy("ds", "lag")
        .agg(
            F.count_distinct("order_id").alias("orders"),
            F.sum("amount_minor").alias("amount_minor"),
        )
    )
    totals = sold.groupBy("ds").agg(F.sum("amount_minor").alias("gmv_minor"))
    shown = impressions.groupBy(F.col("ds").alias("clicked_ds")).agg(F.count(F.lit(1)).alias("impressions"))
    clicked = clicks.groupBy(F.col("ds").alias("clicked_ds")).agg(F.count(F.lit(1)).alias("clicks"))
    lags = F.explode(F.array(*[F.lit(n) for n in range(LABEL_DAYS + 1)], F.lit(None).cast("int")))
    every = totals.select("ds", "gmv_minor", lags.alias("lag")).withColumn("clicked_ds", F.expr("date_sub(ds, lag)"))
    same_part = every["ds"].eqNullSafe(parts["ds"]) & every["lag"].eqNullSafe(parts["lag"])
    joined = every.join(parts, same_part, "left").select(every["*"], parts["orders"], parts["amount_minor"])
    return (
        joined.join(shown, "clicked_ds", "left")
        .join(clicked, "clicked_ds", "left")
        .fillna(0, ["orders", "amount_minor"])
        .withColumns({n: F.when(F.col("lag").isNotNull(), F.coalesce(n, F.lit(0))) for n in ("impressions", "clicks")})
        .withColumn("part", F.coalesce(F.concat(F.lit("lag_"), "lag"), F.lit(UNATTRIBUTED)))
        .withColumn("ctr", F.try_divide("clicks", "impressions"))
        .withColumn("cvr", F.try_divide("orders", "clicks"))
        .withColumn("aov_minor", F.try_divide("amount_minor", "orders"))
    )


def attributed(sold: DataFrame, clicks: DataFrame) -> DataFrame:
    """Order lines with ``lag``: days since their last click, null where no click explains them."""
    made = clicks.select(F.col("ds").alias("clicked_ds"), "user_id", "item_id", F.col("at_ms").alias("clicked_ms"))
    lag = F.datediff("ds", "clicked_ds")
    led = (
        sold.join(made, ["user_id", "item_id"])
        .where((F.col("clicked_ms") <= F.col("at_ms")) & lag.between(0, LABEL_DAYS))
        .groupBy("ds", "order_line_id")
        .agg(F.min(lag).alias("lag"))
    )
    return sold.join(led, ["ds", "order_line_id"], "left")
