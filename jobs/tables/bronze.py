"""``bronze.*``: what landed, by day of arrival, as delivered; every column a string, nothing lost."""

from __future__ import annotations

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, LandingInput, Node, NoParams, Table
from jobs.landing import FEEDS, Feed
from jobs.settings import Market


def contract(feed: Feed) -> Table:
    delivered = [Column(f.name, "string", f.description, subject=f.subject, sensitive=f.sensitive) for f in feed.fields]
    return Table(
        name=f"bronze.{feed.name}",
        group="bronze",
        owner="platform",
        description=f"{feed.description} As delivered, by day of arrival.",
        columns=[
            *delivered,
            Column("event_ds", "date", "Day of the event's own time; null where it has none or cannot be read."),
            Column("extra", "string", "JSON of delivered columns that the feed does not declare."),
            Column("raw", "string", "The line, where it could not be parsed."),
            Column("file", "string", "File that delivered it."),
        ],
        keys=[],
        inputs=[LandingInput(feed.name)],
    )


def node(feed: Feed) -> Node:
    def build(*, days: DayRange, params: NoParams, market: Market, **inputs: DataFrame) -> DataFrame:
        event_ds = F.lit(None).cast("date")
        if feed.time is not None:
            event_ds = F.from_utc_timestamp(F.try_to_timestamp(F.col(feed.time)), market.timezone).cast("date")
        return inputs[feed.name].withColumn("event_ds", event_ds)

    return Node(contract(feed), build)


NODES = [node(feed) for feed in FEEDS]
