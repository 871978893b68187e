"""Spark's errors in one line, and expressions checked one by one so that an error names its place."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping

from pyspark.errors import PySparkException
from pyspark.logger import PySparkLogger
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.errors import ImportMappingError
from jobs.importer.mapping import DataMapping

_STATE = re.compile(r"\s*SQLSTATE: \w+")
_QUOTED = re.compile(r"`([^`]*)`")


def short(error: Exception) -> str:
    """The first line of Spark's message, without the JVM's stack and the SQL state."""
    text = _STATE.sub("", str(error).strip())
    return (text.splitlines() or [type(error).__name__])[0].split(" JVM stacktrace")[0].strip()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the page of JSON off stderr that the client prints with each analysis error."""
    loggers = [PySparkLogger.getLogger(name) for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger")]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, disabled in zip(loggers, before, strict=True):
            logger.disabled = disabled


def select(
    mapping: DataMapping, where: str, frame: DataFrame, name: str, expressions: Mapping[str, str], prefix: str = ""
) -> DataFrame:
    """``frame`` with the expressions as columns ``<prefix><column>`` beside its own.

    Raises
    ------
    ImportMappingError
        An expression is wrong; the message names its column, and the frame's columns where it uses another.
    """

    def added(chosen: Mapping[str, str]) -> DataFrame:
        result = frame.select("*", *(F.expr(text).alias(prefix + column) for column, text in chosen.items()))
        result.schema  # noqa: B018 - asks the server to analyse it
        return result

    try:
        return added(expressions)
    except PySparkException:
        for column, text in expressions.items():
            try:
                added({column: text})
            except PySparkException as error:
                raise expression_error(mapping, f"{where}.{column}", frame, name, error) from None
        raise


def expression_error(
    mapping: DataMapping, where: str, frame: DataFrame, name: str, error: PySparkException
) -> ImportMappingError:
    """The error of one expression over ``frame``, which the mapping calls ``name``."""
    if (error.getCondition() or "").startswith("UNRESOLVED_COLUMN"):
        wanted = (error.getMessageParameters() or {}).get("objectName", short(error))
        columns = [c for c in frame.columns if not c.startswith("_")]
        column = ".".join(_QUOTED.findall(wanted)) or wanted
        return mapping.error(where, f"there is no column {column} in {name}; it has {columns}.")
    return mapping.error(where, f"Spark refuses the expression: {short(error)}")


def run_error(mapping: DataMapping, where: str, error: PySparkException) -> ImportMappingError:
    """An error that came up while the rows were computed."""
    condition = error.getCondition() or ""
    hint = ""
    if condition.startswith(("CAST_", "CANNOT_PARSE")):
        hint = " Declare the column under types, or use try_cast, so that such rows are rejected one by one."
    return mapping.error(where, f"{short(error)}{hint}")
