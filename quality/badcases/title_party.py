"""Titles that promise what the content does not hold (clickbait, "title party")."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.windows import spread
from jobs.contract import DayRange, TableInput
from jobs.settings import Market
from quality.badcases.detector import POLICY, RANKING, Detector

HISTORY = 28
WORDS = (
    r"you will not believe|you won'?t believe|shocking|the secret of|secrets? (that|they)|everyone is wrong|only today|"
    r"what happened next|will blow your mind|doctors hate|the truth about|this is why|can'?t miss|gone wrong|"
    r"震惊|惊呆|不看后悔|速看|真相|竟然|万万没想到|太可怕|全网都在|不转不是"
)


@dataclass(frozen=True)
class Params:
    """When clicks and what follows them contradict each other.

    Parameters
    ----------
    words
        Regular expression (case does not matter) of phrases that withhold or exaggerate.
    min_clicks
        Clicks in 28 days below which nothing is said of what follows them.
    click_share
        The item is clicked at least so often as the market's items, relatively.
    dwell_share
        A click holds less than this part of the time that others of the kind hold, as of their length.
    worded_dwell_share
        The same for an item whose title has such words.
    prior_impressions
        Average showings that are added to an item's own.
    """

    words: str = WORDS
    min_clicks: int = 10
    click_share: float = 0.8
    dwell_share: float = 0.55
    worded_dwell_share: float = 0.8
    prior_impressions: float = 100.0


DETECTOR = Detector(
    "title_party",
    "An item is clicked as often as others or more, and left much sooner; or its title has the words of clickbait and "
    "it is left sooner.",
    [TableInput("silver.item_daily", days=HISTORY), TableInput("silver.items")],
    layers=(POLICY, RANKING),
    otherwise="content",
    stops=True,
    label=0,
)


def contrast(item_daily: DataFrame, items: DataFrame, days: DayRange, params: Params) -> DataFrame:
    """How often each item is clicked and how long a click holds, against the market.

    Returns
    -------
    DataFrame
        ``ds, item_id, shown_today, clicks, click_ratio, dwell_ratio, worded``: ratios to the market's click rate and
        to the median time (by the length, where it has one) of items of the same content type.
    """
    summed = (
        spread(item_daily, days, HISTORY)
        .groupBy("ds", "item_id")
        .agg(
            *[F.sum(name).alias(name) for name in ("impressions", "clicks", "dwell_ms")],
            F.sum(F.when(F.col("age") == 0, F.col("impressions")).otherwise(0)).alias("shown_today"),
        )
    )
    has_length = F.col("duration_ms") > 0
    kind = Window.partitionBy("ds", "content_type", "timed")
    market = Window.partitionBy("ds")
    rate = F.try_divide(F.sum("clicks").over(market), F.sum("impressions").over(market))
    own = (F.col("clicks") + params.prior_impressions * rate) / (F.col("impressions") + params.prior_impressions)
    known = F.when(F.col("clicks") >= params.min_clicks, F.col("held"))
    return (
        items.where(days.where())
        .select("ds", "item_id", "title", "content_type", "duration_ms")
        .join(summed, ["ds", "item_id"])
        .withColumn("timed", F.coalesce(has_length, F.lit(False)))
        .withColumn(
            "held",
            F.try_divide("dwell_ms", "clicks") / F.when(F.col("timed"), F.col("duration_ms")).otherwise(1),
        )
        .select(
            "ds",
            "item_id",
            "shown_today",
            "clicks",
            F.try_divide(own, rate).alias("click_ratio"),
            F.try_divide(known, F.median(known).over(kind)).alias("dwell_ratio"),
            F.coalesce(F.lower("title").rlike(params.words), F.lit(False)).alias("worded"),
        )
    )


def detect(item_daily: DataFrame, items: DataFrame, *, days: DayRange, params: Params, market: Market) -> DataFrame:
    limit = F.when(F.col("worded"), params.worded_dwell_share).otherwise(params.dwell_share)
    left_early = (F.col("dwell_ratio") < limit) & (F.col("worded") | (F.col("click_ratio") >= params.click_share))
    # words alone are enough as long as too few people clicked to see what follows
    unproven = F.col("worded") & F.col("dwell_ratio").isNull()
    found = contrast(item_daily, items, days, params).where("shown_today > 0").where(left_early | unproven)
    figures = F.struct("clicks", *[F.round(n, 3).alias(n) for n in ("click_ratio", "dwell_ratio")], "worded")
    return found.select(
        "ds",
        F.lit(None).cast("bigint").alias("user_id"),
        "item_id",
        F.lit(None).cast("string").alias("category"),
        F.coalesce(F.try_divide(limit, "dwell_ratio"), F.lit(1.0)).alias("excess"),
        F.to_json(figures).alias("evidence"),
    )
