"""``silver.*`` of the landing feeds: typed, with surrogate keys, deduplicated, bad rows quarantined.

Facts belong to the day of their own time. A row delivered on day A is owned by exactly one day: the
day of its event where that is A or up to the market's ``late_days`` before, else A itself, where it is refused.
State rows replace what was known of their key from their day of arrival on, unless something said later is known
already (feeds with a time); the table is a daily snapshot that reads its own yesterday.

Coordinates end here: silver keeps the cell of a coarse grid instead, and nothing after bronze has them,
the refused rows in quarantine included.
"""

from __future__ import annotations

from functools import reduce

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F

from features.grid import cell_of
from jobs.contract import WARN, Check, Column, DayRange, Node, NoParams, Table, TableInput, not_null, rows_between
from jobs.keys import surrogate
from jobs.landing import FEEDS, Feed, Field, allowed
from jobs.settings import MOST_LATE_DAYS, Market
from jobs.tables.bronze import as_declared

ENTITIES = {"users": "user_id", "items": "item_id", "creators": "creator_id"}


def silver_name(field: Field) -> str:
    return f"{field.name}_ms" if field.type == "timestamp" else field.name


def has_coordinates(feed: Feed) -> bool:
    return {"latitude", "longitude"} <= {f.name for f in feed.fields}


def silver_column(field: Field) -> Column:
    kind = "bigint" if field.ident or field.type == "timestamp" else field.type
    return Column(
        silver_name(field),
        kind,
        field.description,
        unit="ms" if field.type == "timestamp" else field.unit,
        subject=field.subject,
        sensitive=field.sensitive,
        digits=6 if kind == "double" else None,
    )


def contract(feed: Feed) -> Table:
    kept = [silver_column(f) for f in feed.fields if f.keep]
    state = feed.mode == "state"
    extra = [Column("arrival_ds", "date", "Day on which the row was delivered.", nullable=False)]
    if feed.name in ENTITIES:
        extra.append(
            Column(
                "original_id",
                "string",
                "The source's id, which people see.",
                subject=feed.name == "users",
                nullable=False,
            )
        )
    if feed.mode == "facts":
        extra.append(Column("local_hour", "int", "Hour of day in the market's time zone.", unit="h"))
    if has_coordinates(feed):
        extra.append(Column("cell", "bigint", "Grid cell of about 500 m (features.grid).", subject=True))
    source = TableInput(f"bronze.{feed.name}", ahead=0 if state else MOST_LATE_DAYS, alias="bronze")
    own = [TableInput(f"silver.{feed.name}", lag=1, optional=True, alias="yesterday")] if state else []
    required = [silver_name(f) for f in feed.fields if f.required and f.name not in feed.key]
    checks: list[Check] = [not_null(name) for name in required]
    if feed.needed:
        checks.append(rows_between(1))
    elif not checks:
        checks.append(rows_between(0, verdict=WARN))
    return Table(
        name=f"silver.{feed.name}",
        group="silver",
        owner="platform",
        description=feed.description,
        columns=[*kept, *extra],
        keys=list(feed.key),
        inputs=[source, *own],
        checks=checks,
        stateful=state,
        rejects=feed.mode,
    )


def typed(field: Field, market: Market) -> SparkColumn:
    """The field's value in its silver type; null where it cannot be read."""
    return surrogate(market, field.ident, F.col(field.name)) if field.ident else as_declared(field)


def refusal(feed: Feed, market: Market) -> SparkColumn:
    """Name of the first rule that a parsed row breaks, null for a good row.

    Reads the delivered columns and their typed twins, prefixed ``t_``.
    """
    rules: list[tuple[SparkColumn, str]] = [(F.col("raw").isNotNull(), "unparseable")]
    text = [F.col(f.name).contains("\ufffd") for f in feed.fields]
    rules.append((reduce(lambda a, b: a | b, [F.coalesce(t, F.lit(False)) for t in text]), "not_utf8"))
    for field in feed.fields:
        given, value = F.col(field.name), F.col(f"t_{field.name}")
        if field.required:
            rules.append((given.isNull() | (F.trim(given) == ""), f"missing:{field.name}"))
        if field.type != "string":
            rules.append((given.isNotNull() & (F.trim(given) != "") & value.isNull(), f"bad_type:{field.name}"))
        if values := allowed(field, market):
            rules.append((given.isNotNull() & ~given.isin(*values), f"unknown_value:{field.name}"))
        for bound, broken in (
            (field.low, value < field.low if field.low is not None else None),
            (field.high, value > field.high if field.high is not None else None),
        ):
            if bound is not None:
                rules.append((broken, f"out_of_range:{field.name}"))
    if feed.mode == "facts":
        rules.append((F.col("event_ds") > F.col("arrival_ds"), f"future:{feed.time}"))
        rules.append((F.col("event_ds") < F.date_sub("arrival_ds", market.late_days), "late"))
    return reduce(lambda chain, rule: chain.when(rule[0], rule[1]), rules[1:], F.when(*rules[0]))


def parsed(feed: Feed, bronze: DataFrame, market: Market) -> DataFrame:
    """Bronze rows with typed twins, ``arrival_ds``, the refusing rule and the row as JSON where refused."""
    twins = {f"t_{f.name}": typed(f, market) for f in feed.fields}
    return (
        bronze.withColumnRenamed("ds", "arrival_ds")
        .withColumns(twins)
        .withColumn("_reject", refusal(feed, market))
        .withColumn("_raw", F.when(F.col("_reject").isNotNull(), as_evidence(feed)))
        .withColumn("_file", F.col("file"))
        .withColumn("_tie", F.xxhash64(*[f.name for f in feed.fields]))
    )


def as_evidence(feed: Feed) -> SparkColumn:
    """A row as quarantine keeps it: the delivered values as JSON, or the line that could not be parsed.

    Fields that are not kept after silver are left out. In a line they cannot be told from others: each digit of it
    is masked then, which leaves its shape; the file that is named beside it has the line itself.
    """
    kept = [f.name for f in feed.fields if f.keep]
    line = F.col("raw") if len(kept) == len(feed.fields) else F.regexp_replace("raw", r"\p{N}", "#")
    return F.coalesce(line, F.to_json(F.struct(*kept)))


def typed_columns(feed: Feed) -> list[SparkColumn]:
    columns = [F.col(f"t_{f.name}").alias(silver_name(f)) for f in feed.fields if f.keep]
    if feed.name in ENTITIES:
        columns.append(F.coalesce(F.col(ENTITIES[feed.name]), F.lit("")).alias("original_id"))
    if has_coordinates(feed):
        columns.append(cell_of(F.col("t_latitude"), F.col("t_longitude")).alias("cell"))
    return columns


def build_facts(feed: Feed, bronze: DataFrame, days: DayRange, market: Market) -> DataFrame:
    """Rows owned by ``days``: the winner of an id repeated within its day is the first delivered.

    The same id on another day is another row. To refuse it, a day would have to read the arrivals of all days on
    which the id may have come before.
    """
    on_time = F.coalesce(
        F.col("event_ds").between(F.date_sub("arrival_ds", market.late_days), F.col("arrival_ds")), F.lit(False)
    )
    owned = (
        parsed(feed, bronze, market)
        .withColumn("ds", F.when(on_time, F.col("event_ds")).otherwise(F.col("arrival_ds")))
        .where(days.where())
    )
    first = Window.partitionBy("ds", F.col("_reject").isNull(), *feed.key).orderBy("arrival_ds", "_file", "_tie")
    local = F.from_utc_timestamp(F.timestamp_millis(f"t_{feed.time}"), market.timezone)
    return (
        owned.withColumn("_nth", F.row_number().over(first))
        .withColumn(
            "_reject", F.when(F.col("_reject").isNull() & (F.col("_nth") > 1), "duplicate").otherwise(F.col("_reject"))
        )
        .select("ds", *typed_columns(feed), "arrival_ds", F.hour(local).alias("local_hour"), "_reject", "_raw", "_file")
    )


def later_first(feed: Feed, market: Market) -> list[SparkColumn]:
    """The order of a key's state rows, the one that holds first: by their own time where they have one, then arrival.

    What is dated after its day of arrival counts as said on that day, or it would hold against all that comes.
    """
    said = []
    if feed.time is not None:
        moment = F.col(silver_name(feed.field(feed.time)))
        day = F.from_utc_timestamp(F.timestamp_millis(moment), market.timezone).cast("date")
        said = [F.least(day, "arrival_ds"), moment]
    return [F.desc(each) for each in (*said, "arrival_ds", "_file", "_tie")]


def build_state(feed: Feed, bronze: DataFrame, yesterday: DataFrame, days: DayRange, market: Market) -> DataFrame:
    """The snapshot of every day: of each key the last row (`later_first`) of those delivered by then, and refused rows.

    A row holds from its day of arrival to the day before a later row's first arrival; one that a later row of
    the same day or of a day before replaces is a duplicate.
    """
    columns = [*[silver_name(f) for f in feed.fields if f.keep], "arrival_ds"]
    columns += ["original_id"] if feed.name in ENTITIES else []
    marks = ["_reject", "_raw", "_file", "_tie"]
    delivered = parsed(feed, bronze, market).select(*marks, "arrival_ds", *typed_columns(feed))
    known = yesterday.where(f"ds = DATE'{days.first}' - INTERVAL 1 DAY").select(
        *[F.lit(None).cast("string").alias(m) for m in marks[:3]], F.lit(0).cast("bigint").alias("_tie"), *columns
    )
    of_key = Window.partitionBy(F.col("_reject").isNull(), *feed.key).orderBy(*later_first(feed, market))
    following = F.min("arrival_ds").over(of_key.rowsBetween(Window.unboundedPreceding, -1))
    good = F.col("_reject").isNull()
    replaced = good & F.coalesce(F.col("_next") <= F.col("arrival_ds"), F.lit(False))
    begins = F.greatest("arrival_ds", F.lit(days.first))
    ends = F.when(F.col("_reject").isNull(), F.coalesce(F.date_sub("_next", 1), F.lit(days.last)))
    return (
        delivered.select(*marks, *columns)
        .unionByName(known.select(*marks, *columns))
        .withColumn("_next", following)
        .withColumn("_reject", F.when(replaced, "duplicate").otherwise(F.col("_reject")))
        .withColumn("_begin", begins)
        .withColumn("_end", F.coalesce(ends, F.col("_begin")))
        .where("_end >= _begin")
        .withColumn("ds", F.explode(F.sequence("_begin", "_end")))
        .select("ds", *columns, "_reject", "_raw", "_file")
    )


def node(feed: Feed) -> Node:
    if feed.mode == "facts":

        def build(bronze: DataFrame, *, days: DayRange, params: NoParams, market: Market) -> DataFrame:
            return build_facts(feed, bronze, days, market)
    else:

        def build(
            bronze: DataFrame, yesterday: DataFrame, *, days: DayRange, params: NoParams, market: Market
        ) -> DataFrame:
            return build_state(feed, bronze, yesterday, days, market)

    return Node(contract(feed), build)


NODES = [node(feed) for feed in FEEDS]
