"""Rows of a feed, each with the day it belongs to or the reason why it cannot be landed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, Observation, Window
from pyspark.sql import functions as F

from jobs.errors import ImportMappingError
from jobs.importer import sql
from jobs.importer.mapping import FIRST, DataMapping, FeedMapping
from jobs.importer.sources import quoted
from jobs.landing import Field, allowed

OUTSIDE = "outside the days"
SUPERSEDED = "replaced by a later row of the same day"
WHERE = "where"
NO_DAY = "day: missing"
# Left out on purpose; everything else is a reject.
LEFT_OUT = (WHERE, OUTSIDE, SUPERSEDED)
_FLOATS = ("double", "float")


@dataclass(frozen=True)
class FeedFrame:
    """A feed's rows, typed: its columns, ``_day``, ``_reason``, and ``_file`` and ``_row`` for rejects.

    ``base`` is the source, ``raw`` has the expressions beside the source's columns, and ``before``
    counts the source's rows while a job runs.
    """

    mapped: FeedMapping
    frame: DataFrame
    reasons: tuple[str, ...]
    before: Observation
    raw: DataFrame
    base: DataFrame

    @property
    def name(self) -> str:
        return self.mapped.feed.name

    def run_error(self, mapping: DataMapping, error: PySparkException) -> ImportMappingError:
        """The error of this feed's job, with the column whose expression fails by itself, if one does."""
        where = f"feeds.{self.name}"
        for column in (c for c in self.raw.columns if c.startswith("_raw_")):
            try:
                self.raw.agg(F.count(column)).collect()
            except PySparkException as cause:
                name = "day" if column == "_raw__day" else f"select.{column.removeprefix('_raw_')}"
                return sql.run_error(mapping, f"{where}.{name}", cause)
        return sql.run_error(mapping, where, error)


def build_feed(mapping: DataMapping, mapped: FeedMapping, base: DataFrame) -> FeedFrame:
    """Apply a feed's expressions to its source and check each row against the feed's columns.

    Raises
    ------
    ImportMappingError
        An expression is wrong, or gives an id of a kind that does not print as an id.
    """
    where = f"feeds.{mapped.feed.name}"
    before = Observation(f"before_{mapped.feed.name}")
    kept = _filter(mapping, mapped, base.observe(before, F.count(F.lit(1)).alias("rows")), where)
    raw = sql.select(mapping, f"{where}.select", kept, mapped.source, mapped.select, prefix="_raw_")
    if mapped.day not in (None, FIRST):
        raw = sql.select(mapping, where, raw, mapped.source, {"day": mapped.day}, prefix="_raw__")
    _check_ids(mapping, mapped, raw, where)
    content = [c for c in base.columns if c != "_file"]
    file = F.col("_file") if "_file" in base.columns else F.lit(None).cast("string")
    fields = mapped.feed.fields
    given = [_checks(field, mapping) for field in fields if field.name in mapped.select]
    checks = {reason: bad for each in given for reason, bad in each.items()}
    day = _day(mapping, mapped)
    checks[NO_DAY] = day.isNull()
    frame = raw.select(
        *(_value(field, mapped).alias(field.name) for field in fields),
        day.alias("_day"),
        _moment(mapped).alias("_moment"),
        F.coalesce(*(F.when(bad, reason) for reason, bad in checks.items())).alias("_reason"),
        file.alias("_file"),
        F.to_json(F.struct(*map(quoted, content))).alias("_row"),
    )
    return FeedFrame(mapped, frame, (*checks, repeated(mapped)), before, raw, base)


def repeated(mapped: FeedMapping) -> str:
    """The reason of a fact whose key another row of its day has."""
    return f"{', '.join(mapped.feed.key)}: repeated"


def _filter(mapping: DataMapping, mapped: FeedMapping, frame: DataFrame, where: str) -> DataFrame:
    if mapped.where is None:
        return frame
    try:
        kept = frame.where(mapped.where)
        kept.schema  # noqa: B018 - asks the server to analyse it
    except PySparkException as error:
        raise sql.expression_error(mapping, f"{where}.where", frame, mapped.source, error) from None
    return kept


def _check_ids(mapping: DataMapping, mapped: FeedMapping, raw: DataFrame, where: str) -> None:
    types = dict(raw.dtypes)
    for name in {f.name for f in mapped.feed.fields if f.ident} | set(mapped.feed.key):
        if types.get(f"_raw_{name}") in _FLOATS:
            raise mapping.error(
                f"{where}.select.{name}", "is a floating-point number, which prints as 1.0E7: cast an id to bigint."
            )
    for field in mapped.feed.fields:
        kind = types.get(f"_raw_{field.name}", "")
        if kind.startswith(("array", "map", "struct")):
            raise mapping.error(f"{where}.select.{field.name}", f"is a {kind}, the feed has a {field.type}.")


def _value(field: Field, mapped: FeedMapping) -> Column:
    if field.name not in mapped.select:
        return F.lit(None).cast(field.type)
    return F.col(f"_raw_{field.name}").try_cast(field.type)


def _checks(field: Field, mapping: DataMapping) -> Mapping[str, Column]:
    """What can be wrong with a mapped column, by reason."""
    raw, value = F.col(f"_raw_{field.name}"), F.col(f"_raw_{field.name}").try_cast(field.type)
    checks: dict[str, Column] = {}
    if field.type != "string":
        checks[f"{field.name}: is no {field.type}"] = raw.isNotNull() & value.isNull()
    if field.required:
        empty = F.trim(value) == "" if field.type == "string" else F.lit(False)
        checks[f"{field.name}: missing"] = value.isNull() | empty
    if field.low is not None:
        checks[f"{field.name}: below {field.low}"] = value < field.low
    if field.high is not None:
        checks[f"{field.name}: above {field.high}"] = value > field.high
    if values := allowed(field, mapping.market):
        checks[f"{field.name}: not one of {', '.join(values)}"] = ~value.isin(*values)
    return checks


def _moment(mapped: FeedMapping) -> Column:
    """The moment that decides the day; null where that is the first day."""
    if mapped.day == FIRST:
        return F.lit(None).cast("timestamp")
    return F.col(f"_raw_{mapped.feed.time}" if mapped.day is None else "_raw__day").try_cast("timestamp")


def _day(mapping: DataMapping, mapped: FeedMapping) -> Column:
    if mapped.day == FIRST:
        # Before every day there is; it is moved up to the first one.
        return F.lit(dt.date(1, 1, 1))
    return F.from_utc_timestamp(_moment(mapped), mapping.market.timezone).cast("date")


def span(mapping: DataMapping, feeds: Mapping[str, FeedFrame]) -> tuple[dt.date, dt.date]:
    """The market's first and last day: from the mapping, else those of the facts, else of all rows.

    Raises
    ------
    ImportMappingError
        No row has a day.
    """
    if mapping.first and mapping.last:
        return mapping.first, mapping.last
    facts = [f for f in feeds.values() if f.mapped.feed.mode == "facts"]
    dated = facts or [f for f in feeds.values() if f.mapped.day != FIRST]
    low = high = None
    if dated:
        days = [f.frame.where("_reason is null").select("_day") for f in dated]
        union = days[0]
        for more in days[1:]:
            union = union.unionAll(more)
        try:
            low, high = union.agg(F.min("_day"), F.max("_day")).first() or (None, None)
        except PySparkException as error:
            errors = [f.run_error(mapping, error) for f in dated]
            raise next((e for e in errors if ".select." in str(e)), errors[0]) from None
    first, last = mapping.first or low, mapping.last or high
    if first is None or last is None:
        raise no_days(mapping, dated)
    if first > last:
        raise mapping.error("days", f"the data ends on {last}, before the first day {first}.")
    return first, last


def no_days(mapping: DataMapping, dated: list[FeedFrame]) -> ImportMappingError:
    """The error when nothing can be put into a day; it counts why."""
    if not dated:
        return mapping.error("days", "no feed has a time: give days: {first: ..., last: ...}.")
    reasons = {
        f"{f.name}: {r[0]}": r[1]
        for f in dated
        for r in f.frame.where("_reason is not null").groupBy("_reason").count().orderBy("_reason").collect()
    }
    return mapping.error("feeds", f"no row of {[f.name for f in dated]} can be used; rejected: {reasons or 'no rows'}.")


def within(feed: FeedFrame, first: dt.date, last: dt.date) -> DataFrame:
    """The rows with their final day and reason, once the market's days are known.

    State from before the first day is landed on the first day; of several rows of one key and
    day the last one stands. A fact whose key is repeated within its day is rejected.
    """
    state = feed.mapped.feed.mode == "state"
    day = F.greatest(F.col("_day"), F.lit(first)) if state else F.col("_day")
    outside = F.col("_reason").isNull() & ~day.between(F.lit(first), F.lit(last))
    dated = feed.frame.withColumns({"_day": day, "_reason": F.when(outside, OUTSIDE).otherwise(F.col("_reason"))})
    names = feed.mapped.feed.names
    # silver orders state by its own time, whatever day the mapping gives it
    moments = [feed.mapped.feed.time, "_moment"] if state and feed.mapped.feed.time else ["_moment"]
    order = [*(F.col(m).desc_nulls_last() for m in moments), *(F.col(name).asc_nulls_last() for name in names)]
    rank = F.row_number().over(Window.partitionBy(*feed.mapped.feed.key, "_day", "_reason").orderBy(*order))
    again = F.col("_reason").isNull() & (F.col("_rank") > 1)
    reason = F.when(again, SUPERSEDED if state else repeated(feed.mapped)).otherwise(F.col("_reason"))
    return dated.withColumn("_rank", rank).withColumn("_reason", reason).drop("_rank", "_moment")
