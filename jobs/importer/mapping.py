"""The mapping language: what a file says about source files, and how it becomes typed, frozen values.

Nothing here touches Spark or the source files: a mapping can be read and refused anywhere.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from jobs.errors import ImportMappingError, LandingError, SettingsError
from jobs.landing import Feed
from jobs.landing import feed as landing_feed
from jobs.settings import Market

VERSION = 1
FORMATS = ("csv", "jsonl", "parquet")
FIRST = "first"
RESERVED = ("_file", "_corrupt", "_reason")


@dataclass(frozen=True)
class Source:
    """A named frame read from files.

    Parameters
    ----------
    files
        Glob below the source folder.
    format
        ``csv`` (any separator, gzip by its suffix), ``jsonl`` or ``parquet``.
    columns
        Names for a CSV without a header line.
    null
        Text that stands for no value, besides the empty one.
    types
        Spark SQL types of columns that are not text. A row whose value does not convert is rejected.
    """

    name: str
    files: str
    format: str = "csv"
    separator: str = ","
    header: bool = True
    columns: tuple[str, ...] = ()
    null: str = ""
    encoding: str = "UTF-8"
    quote: str = '"'
    escape: str = '"'
    multiline: bool = False
    types: AnyMapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FeedMapping:
    """How one feed is made from a source or a view.

    Parameters
    ----------
    source
        Name of the source or view (``from`` in the file).
    select
        Spark SQL expression of each feed column.
    where
        Spark SQL condition; other rows are left out.
    day
        Expression of the moment that puts a row into a day, or ``first`` for the market's first day;
        None is the feed's own time column.
    """

    feed: Feed
    source: str
    select: AnyMapping[str, str]
    day: str | None = None
    where: str | None = None


@dataclass(frozen=True)
class DataMapping:
    """A whole mapping file; see docs/bring-your-own-data.md for the language."""

    path: Path
    market: Market
    sources: AnyMapping[str, Source]
    feeds: AnyMapping[str, FeedMapping]
    views: AnyMapping[str, str] = field(default_factory=dict)
    first: dt.date | None = None
    last: dt.date | None = None

    def error(self, where: str, message: str) -> ImportMappingError:
        """An error that names this file and the place in it."""
        return ImportMappingError(f"{self.path}: {where}: {message}")


@dataclass(frozen=True)
class _Node:
    """A piece of the file with its place, for messages."""

    path: Path
    where: str
    value: Any

    def error(self, message: str) -> ImportMappingError:
        place = f"{self.where}: " if self.where else ""
        return ImportMappingError(f"{self.path}: {place}{message}")

    def child(self, key: str) -> _Node:
        return _Node(self.path, f"{self.where}.{key}" if self.where else key, self.value[key])

    def table(self, known: tuple[str, ...] = (), needed: tuple[str, ...] = ()) -> dict[str, _Node]:
        """This piece as a table of pieces; ``known`` limits its keys."""
        if not isinstance(self.value, dict):
            raise self.error(f"expected options with values, found {_kind(self.value)}.")
        # YAML reads the bare word null as no key at all, and numbers and booleans as themselves.
        named = {"null" if k is None else str(k): v for k, v in self.value.items()}
        if known and (unknown := sorted(set(named) - set(known))):
            raise self.error(f"unknown option {unknown}; use {list(known)}.")
        if missing := [k for k in needed if k not in named]:
            raise self.error(f"{missing[0]} is missing.")
        node = replace(self, value=named)
        return {key: node.child(key) for key in named}

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.error(f"expected a text, found {_kind(self.value)}; put it in quotes.")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.error(f"expected true or false, found {_kind(self.value)}.")
        return self.value

    def texts(self) -> tuple[str, ...]:
        if not isinstance(self.value, list) or not all(isinstance(v, str) for v in self.value):
            raise self.error(f"expected a list of texts, found {_kind(self.value)}.")
        return tuple(self.value)

    def date(self) -> dt.date:
        if isinstance(self.value, dt.date) and not isinstance(self.value, dt.datetime):
            return self.value
        raise self.error(f"expected a date like 2024-01-31, found {_kind(self.value)}.")

    def sql(self) -> str:
        """An expression; YAML's numbers and booleans are literals."""
        if isinstance(self.value, bool):
            return str(self.value).lower()
        if isinstance(self.value, (int, float)):
            return str(self.value)
        if isinstance(self.value, str) and self.value.strip():
            return self.value.strip().rstrip(";")
        raise self.error(f"expected a Spark SQL expression, found {_kind(self.value)}.")


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{value!r} ({type(value).__name__})"


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would keep the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} stands twice", key.start_mark)
            seen.add(getattr(key, "value", ""))
        return super().construct_mapping(node, deep)


def read_mapping(path: Path) -> DataMapping:
    """Read a mapping file.

    Raises
    ------
    ImportMappingError
        The file is missing, is not YAML, or an option, feed or column in it does not exist.
    """
    top = _Node(path, "", _load(path)).table(
        ("version", "market", "days", "sources", "views", "feeds"), ("version", "market", "sources", "feeds")
    )
    if top["version"].value != VERSION:
        raise top["version"].error(f"this Nightjar reads version {VERSION}, found {_kind(top['version'].value)}.")
    sources = {name: _source(name, node) for name, node in _named(top["sources"]).items()}
    views = {name: node.sql() for name, node in _named(top["views"]).items()} if "views" in top else {}
    if both := sorted(set(sources) & set(views)):
        raise top["views"].error(f"{both[0]} is the name of a source already.")
    feeds = {name: _feed(name, node, [*sources, *views]) for name, node in _named(top["feeds"]).items()}
    days = top["days"].table(("first", "last")) if "days" in top else {}
    first, last = (days[k].date() if k in days else None for k in ("first", "last"))
    if first and last and first > last:
        raise top["days"].error(f"first ({first}) is after last ({last}).")
    return DataMapping(path, _market(top["market"]), sources, feeds, views, first, last)


def _load(path: Path) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise ImportMappingError(f"{path}: there is no such mapping file.") from None
    except UnicodeDecodeError as error:
        raise ImportMappingError(f"{path}: is not UTF-8 (byte {error.start}).") from None
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or str(error)
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1})" if mark else ""
        raise ImportMappingError(f"{path}: is not YAML: {problem}{line}.") from None


def _named(node: _Node) -> dict[str, _Node]:
    table = node.table()
    if not table:
        raise node.error("is empty.")
    for name in table:
        if not name.isidentifier():
            raise node.error(f"{name!r}: a name has letters, digits and underscores only.")
    return table


def _market(node: _Node) -> Market:
    node.table(needed=("name",))
    try:
        return Market.from_mapping(node.value, "")
    except SettingsError as error:
        raise node.error(str(error).removeprefix(": ")) from None
    except (TypeError, AttributeError) as error:
        raise node.error(f"an option is of the wrong type ({error}).") from None


def _source(name: str, node: _Node) -> Source:
    texts = ("files", "format", "separator", "null", "encoding", "quote", "escape")
    flags = ("header", "multiline")
    table = node.table((*texts, *flags, "columns", "types"), ("files",))
    values: dict[str, Any] = {key: table[key].text() for key in texts if key in table}
    values |= {key: table[key].flag() for key in flags if key in table}
    if "columns" in table:
        values["columns"] = table["columns"].texts()
    if "types" in table:
        values["types"] = {column: kind.text() for column, kind in table["types"].table().items()}
    source = Source(name, **values)
    if source.format not in FORMATS:
        raise table["format"].error(f"unknown format {source.format!r}; use {list(FORMATS)}.")
    _check_glob(source.files, table["files"])
    if source.format == "csv" and source.header == bool(source.columns):
        raise node.error("give columns where header is false, and only there.")
    if clash := sorted({*source.columns, *source.types} & set(RESERVED)):
        raise node.error(f"the column name {clash[0]} is reserved.")
    return source


def _check_glob(files: str, node: _Node) -> None:
    glob = PurePosixPath(files)
    if not files or glob.is_absolute() or ".." in glob.parts:
        raise node.error(f"{files!r} must be a path inside the source folder.")


def _feed(name: str, node: _Node, frames: list[str]) -> FeedMapping:
    try:
        feed = landing_feed(name)
    except LandingError as error:
        raise node.error(str(error)) from None
    table = node.table(("from", "where", "select", "day"), ("from", "select"))
    source = table["from"].text()
    if source not in frames:
        raise table["from"].error(f"there is no source or view {source!r}; there are {sorted(frames)}.")
    select = {column: expression.sql() for column, expression in table["select"].table().items()}
    if unknown := sorted(set(select) - set(feed.names)):
        raise table["select"].error(f"feed {name} has no column {unknown}; it has {list(feed.names)}.")
    if missing := [f.name for f in feed.fields if f.required and f.name not in select]:
        raise table["select"].error(f"feed {name} needs the column {missing[0]}.")
    day = table["day"].sql() if "day" in table else (None if feed.time else FIRST)
    if day == FIRST and feed.mode == "facts":
        raise table["day"].error("facts belong to the day they happened: give an expression, or leave it out.")
    return FeedMapping(feed, source, select, day, table["where"].sql() if "where" in table else None)
