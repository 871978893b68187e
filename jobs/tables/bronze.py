"""``bronze.*``: what landed, by day of arrival, as delivered; every column a string, nothing lost."""

from __future__ import annotations

from dataclasses import dataclass

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, LandingInput, Node, Table
from jobs.landing import FEEDS, Feed, Field
from jobs.settings import Market


@dataclass(frozen=True)
class Params:
    """``without``: columns that the source has stopped to deliver; other columns that vanish stop the day."""

    without: tuple[str, ...] = ()


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
            Column("unreadable", "string", "Columns whose value cannot be read in the declared type, by commas."),
            Column("raw", "string", "The line, where it could not be parsed."),
            Column("file", "string", "File that delivered it."),
        ],
        keys=[],
        inputs=[LandingInput(feed.name)],
    )


def as_declared(field: Field) -> SparkColumn:
    """The delivered value in the field's type, a moment in UTC milliseconds; null where it cannot be read."""
    value = F.col(field.name)
    if field.type == "string":
        return value
    if field.type == "timestamp":
        return F.unix_millis(F.try_to_timestamp(value))
    if field.type in ("int", "bigint"):
        # "3.0" is how some writers spell a nullable integer
        return F.regexp_replace(F.trim(value), r"\.0+$", "").try_cast(field.type)
    plain = F.trim(value).try_cast(field.type)
    # NaN and infinity are no measurements, pass a one-sided bound and would poison every sum
    return F.when(F.abs(plain) < F.lit(float("inf")), plain) if field.type == "double" else plain


def unreadable(feed: Feed) -> SparkColumn:
    """Names of the columns that were given a value of another type than theirs; null where there is none."""
    names = [
        F.when((F.trim(f.name) != "") & as_declared(f).isNull(), F.lit(f.name))
        for f in feed.fields
        if f.type != "string"
    ]
    return F.nullif(F.concat_ws(",", *names), F.lit(""))


def node(feed: Feed) -> Node:
    def build(*, days: DayRange, params: Params, market: Market, **inputs: DataFrame) -> DataFrame:
        event_ds = F.lit(None).cast("date")
        if feed.time is not None:
            event_ds = F.from_utc_timestamp(F.try_to_timestamp(F.col(feed.time)), market.timezone).cast("date")
        return inputs[feed.name].withColumns({"event_ds": event_ds, "unreadable": unreadable(feed)})

    return Node(contract(feed), build, Params)


NODES = [node(feed) for feed in FEEDS]
