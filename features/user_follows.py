"""Whom each user follows: the creators of the items on which they last asked to, and have not refused since.

A follow stands for as long as the window sees it. The day is that of the last follow, not of the first of an unbroken
row of them: so it is the same whether or not the window still holds the first. Where a user both follows a creator
and ends it within a day, on different items, the aggregates do not tell which came last: it counts as ended.
"""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.windows import check_horizon, spread
from jobs.contract import Column, DayRange, Table, TableInput, no_rows_where

HORIZON = 365


@dataclass(frozen=True)
class Params:
    """``horizon``: days after which a follow that was not repeated is forgotten."""

    horizon: int = HORIZON

    def __post_init__(self) -> None:
        check_horizon("features.user_follows", self.horizon, HORIZON)


CONTRACT = Table(
    name="features.user_follows",
    group="features",
    owner="user-understanding",
    description="The creators that each user follows, from 365 days (option horizon) of daily aggregates; unfollowing "
    "or blocking one ends it.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("creator_id", "bigint", "Surrogate key of the creator, as the item's on ds."),
        Column("followed_ds", "date", "Last day on which the user followed the creator.", nullable=False),
    ],
    keys=["user_id", "creator_id"],
    inputs=[TableInput("silver.user_item_daily", days=HORIZON), TableInput("silver.items")],
    checks=[no_rows_where("followed_ds > ds", "a follow is of a later day")],
)


def build(user_item_daily: DataFrame, items: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    creators = items.where("creator_id IS NOT NULL").select("ds", "item_id", "creator_id")
    last = {
        name: F.max(F.when(F.col("follows") == told, F.col("event_ds"))).alias(name)
        for name, told in (("followed_ds", 1), ("_ended", -1))
    }
    return (
        spread(user_item_daily.where("follows <> 0"), days, params.horizon)
        .join(creators, ["ds", "item_id"])
        .groupBy("ds", "user_id", "creator_id")
        .agg(*last.values())
        .where("followed_ds > _ended OR (followed_ds IS NOT NULL AND _ended IS NULL)")
    )
