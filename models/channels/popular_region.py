"""What most people of the user's region took this week; for newcomers, of whom the region is known."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import TableInput
from models.channels.channel import Channel
from models.channels.inverted import key_of

CHANNEL = Channel(
    "popular_region",
    "Items that most users of the same region took in 7 days.",
    [TableInput("features.user_profile"), TableInput("silver.user_item_daily", days=7)],
    weight=0.3,
    depth=30,
    personal=False,
)


def keys(user_profile: DataFrame) -> DataFrame:
    return user_profile.select("ds", "user_id", key_of("region").alias("key"), F.lit(1.0).alias("weight"))
