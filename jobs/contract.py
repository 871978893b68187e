"""What a node of the pipeline declares: its table or artifact, its inputs, its checks.

A node is a contract and a pure ``build``. Everything else (Delta schema, checks, Airflow tasks and
assets, the order of work, lineage, the dictionary) is derived from the contract. This module
knows no table by name and imports neither Spark nor a model library.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any

from jobs.errors import ContractError

LAYERS = ("bronze", "silver", "features", "training", "candidates", "serving", "audit", "ops", "models")
TYPES = re.compile(r"^(string|int|bigint|double|float|boolean|date|timestamp|array<.+>|struct<.+>|map<.+>)$")
FAIL, WARN = "fail", "warn"
ADDS_UP, KNOWN_IN = "adds_up", "known_in"
"""Kinds of checks that hold a table against another one."""
OF_ROWS = ("between", "in_set", "no_rows_where")
"""Kinds of checks that say of every row whether it holds: every table may have them, the others need a gate."""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Parameters
    ----------
    name, type, description
        ``type`` is a Spark SQL type name.
    unit
        Unit of measure, for the dictionary.
    subject
        The column identifies a person; erasure and export follow it.
    sensitive
        A protected attribute: for audits only, refused as an input of candidates and ranking.
    nullable
        False adds a NOT NULL constraint. Keys are never null.
    digits
        Decimals to which a float column is rounded before it is written and compared.
    """

    name: str
    type: str
    description: str
    unit: str | None = None
    subject: bool = False
    sensitive: bool = False
    nullable: bool = True
    digits: int | None = None

    def __post_init__(self) -> None:
        if not TYPES.match(self.type):
            raise ContractError(f"Column {self.name} has type {self.type!r}, which is not a Spark SQL type.")
        if self.type in ("double", "float") and self.digits is None:
            raise ContractError(f"Column {self.name} is a {self.type}: declare digits=, its decimals.")


def ddl(columns: Iterable[Column]) -> str:
    """Columns as a schema in Spark SQL."""
    return ", ".join(f"`{c.name}` {c.type}" for c in columns)


@dataclass(frozen=True)
class Check:
    """A declared expectation on a table; ``kind`` names the rule and ``args`` its bounds.

    ``verdict`` is ``"fail"`` (stops the publish) or ``"warn"`` (shown in the report).
    """

    kind: str
    args: dict[str, Any]
    verdict: str = FAIL
    column: str | None = None

    @property
    def name(self) -> str:
        bounds = ",".join(f"{k}={v}" for k, v in self.args.items() if v is not None)
        return f"{self.kind}({', '.join(p for p in (self.column, bounds) if p)})"


def between(column: str, low: float | None, high: float | None, verdict: str = FAIL) -> Check:
    """Every non-null value lies in ``[low, high]``; ``None`` leaves that side open."""
    return Check("between", {"low": low, "high": high}, verdict, column)


def not_null(column: str, verdict: str = FAIL, mostly: float = 1.0) -> Check:
    """At least the share ``mostly`` of the values is not null."""
    return Check("not_null", {"mostly": mostly}, verdict, column)


def in_set(column: str, values: Sequence[str], verdict: str = FAIL) -> Check:
    """Every non-null value is one of ``values``."""
    return Check("in_set", {"values": tuple(values)}, verdict, column)


def rows_between(low: int, high: int | None = None, verdict: str = FAIL) -> Check:
    """The number of rows of the checked day lies in ``[low, high]``."""
    return Check("rows_between", {"low": low, "high": high}, verdict)


def no_rows_where(condition: str, why: str, verdict: str = FAIL) -> Check:
    """No row satisfies the SQL ``condition``; ``why`` says in words what such a row would mean.

    Spark reads it at a gate; of a table without one DuckDB does.
    """
    return Check("no_rows_where", {"condition": condition, "why": why}, verdict)


def adds_up(ours: str, table: str, theirs: str, why: str, verdict: str = FAIL) -> Check:
    """On every day the aggregate ``ours`` (SQL) of the rows equals ``theirs`` of ``table``; no rows count as 0."""
    return Check(ADDS_UP, {"ours": ours, "table": table, "theirs": theirs, "why": why}, verdict)


def known_in(column: str, table: str, verdict: str = FAIL, other: str | None = None, where: str | None = None) -> Check:
    """Every non-null value of ``column`` is one that ``table`` has on the same day; without a row it knows none.

    There its column is ``other``, if that is not its name as well, and the SQL condition ``where`` must hold.
    """
    return Check(KNOWN_IN, {"table": table, "other": other, "where": where}, verdict, column)


@dataclass(frozen=True)
class TableInput:
    """A table read by a node.

    Parameters
    ----------
    table
        Full name, as ``silver.events``.
    days
        Look-back in days, the built day included: 1 reads ds alone, 7 reads ds-6 to ds.
    ahead
        Days after ds that are read where they exist (late arrivals); 0 by default.
    lag
        The newest day read is ``ds - lag``.
    optional
        The node is built without it when the table has no data; the argument is then an empty frame.
    alias
        Argument name of ``build``; the last part of the table's name by default.
    """

    table: str
    days: int = 1
    ahead: int = 0
    lag: int = 0
    optional: bool = False
    alias: str | None = None

    @property
    def argument(self) -> str:
        return self.alias or self.table.split(".", 1)[1]

    def window(self, days: DayRange) -> DayRange:
        """The days of this input that a build of ``days`` may read."""
        return DayRange(
            days.first - dt.timedelta(days=self.lag + self.days - 1),
            days.last + dt.timedelta(days=self.ahead - self.lag),
        )


@dataclass(frozen=True)
class ArtifactInput:
    """An artifact (a fitted model, an index) read by a node as a folder path.

    ``max_age`` days is how old it may be; ``optional`` hands ``None`` to ``build`` when there is none.
    """

    artifact: str
    max_age: int = 30
    optional: bool = False
    alias: str | None = None

    @property
    def argument(self) -> str:
        return self.alias or self.artifact.split(".", 1)[1]


@dataclass(frozen=True)
class ModelInput:
    """The registered model that is pinned for the day in a role, as a folder path; None before the first."""

    role: str

    @property
    def argument(self) -> str:
        return self.role


@dataclass(frozen=True)
class LandingInput:
    """A landing feed, read as delivered: every column a string (see ``jobs.landing``)."""

    feed: str

    @property
    def argument(self) -> str:
        return self.feed


@dataclass(frozen=True)
class DayRange:
    """An inclusive range of days."""

    first: dt.date
    last: dt.date

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ContractError(f"The range of days {self.first} to {self.last} runs backwards.")

    @classmethod
    def day(cls, ds: dt.date | str) -> DayRange:
        ds = dt.date.fromisoformat(ds) if isinstance(ds, str) else ds
        return cls(ds, ds)

    def __iter__(self) -> Iterator[dt.date]:
        return (self.first + dt.timedelta(days=n) for n in range(len(self)))

    def __len__(self) -> int:
        return (self.last - self.first).days + 1

    def __str__(self) -> str:
        return str(self.first) if len(self) == 1 else f"{self.first} to {self.last}"

    @classmethod
    def covering(cls, ranges: Iterable[DayRange]) -> DayRange:
        """The shortest range that holds all of one or more ranges."""
        found = list(ranges)
        return cls(min(r.first for r in found), max(r.last for r in found))

    def split(self, starts: Sequence[dt.date]) -> list[DayRange]:
        """The range cut before each of the days ``starts``."""
        firsts = [self.first, *(d for d in sorted(starts) if self.first < d <= self.last)]
        lasts = [*(d - dt.timedelta(days=1) for d in firsts[1:]), self.last]
        return [DayRange(first, last) for first, last in zip(firsts, lasts, strict=True)]

    def where(self, column: str = "ds") -> str:
        """The range as a SQL predicate on a DATE column."""
        if len(self) == 1:
            return f"{column} = DATE'{self.first}'"
        return f"{column} >= DATE'{self.first}' AND {column} <= DATE'{self.last}'"


@dataclass(frozen=True)
class NoParams:
    """The parameters of a node that has none."""


@dataclass(frozen=True)
class Ranked:
    """Columns of a feature table that rankers read; what they read is named ``prefix`` + column.

    Parameters
    ----------
    key
        ``user_id``, ``item_id`` or ``creator_id``: whose features they are.
    kind
        For a table of several kinds of keys (``kind``, ``id``): the kind whose rows are read.
    """

    prefix: str
    key: str
    columns: Sequence[str]
    kind: str | None = None


DS = Column("ds", "date", "The day of the data, in the market's time zone.", nullable=False)


@dataclass(frozen=True)
class Table:
    """The contract of a table partitioned by ``ds``.

    Parameters
    ----------
    name, group, owner, description
        ``name`` is ``layer.table``; the Airflow task ``group`` builds it.
    columns
        Without ``ds``, which every table has first.
    keys
        Columns (besides ``ds``) that identify a row within a day: not null and unique.
    inputs
        Tables and artifacts read, each with a finite look-back.
    checks
        Expectations run at the group's gate, or on what was staged where the group has none (`OF_ROWS`).
    grain
        ``"range"``: one build may make many days; ``"day"``: the runner calls it a day at a time.
    stateful
        Reads its own yesterday; a range of days is then built in order.
    replace_by
        A further partition column whose values the build may replace alone.
    rejects
        ``"facts"`` or ``"state"``: a row-preserving step whose build returns the rows that it
        refuses too, with the rule in ``_reject`` and the source row in ``_raw``, and whose rows
        carry ``arrival_ds``; the runner reconciles them with the source (see ``jobs.reconcile``).
    append
        Versions are added under the ``replace_by`` value and never rewritten (served lists).
    workers
        The build runs project code in Spark's Python workers.
    ranked
        What rankers read of a feature table: it is in the training set and in what is scored.
    """

    name: str
    group: str
    owner: str
    description: str
    columns: Sequence[Column]
    keys: Sequence[str]
    inputs: Sequence[TableInput | ArtifactInput | ModelInput | LandingInput] = ()
    checks: Sequence[Check] = ()
    grain: str = "range"
    stateful: bool = False
    replace_by: str | None = None
    rejects: str | None = None
    append: bool = False
    workers: bool = False
    ranked: Sequence[Ranked] = ()
    kind: str = field(default="table", init=False)

    def __post_init__(self) -> None:
        layer, _, table = self.name.partition(".")
        if layer not in LAYERS or not table:
            raise ContractError(f"{self.name} is no table name: it must be one of {LAYERS}, a dot, a name.")
        if self.grain not in ("day", "range"):
            raise ContractError(f"{self.name}: grain must be 'day' or 'range', not {self.grain!r}.")
        names = [c.name for c in self.columns]
        if duplicated := {n for n in names if names.count(n) > 1}:
            raise ContractError(f"{self.name} declares {sorted(duplicated)} more than once.")
        if "ds" in names:
            raise ContractError(f"{self.name}: ds is there by itself, do not declare it.")
        for what, column in self._references():
            if column not in names:
                raise ContractError(f"{self.name}: {what} names column {column!r}, which it does not declare.")

    def _references(self) -> Iterator[tuple[str, str]]:
        yield from (("keys", key) for key in self.keys)
        if self.replace_by:
            yield "replace_by", self.replace_by
        yield from (("check " + check.name, check.column) for check in self.checks if check.column)
        yield from (("ranked", column) for each in self.ranked for column in each.columns)

    @property
    def schema(self) -> tuple[Column, ...]:
        """Every column in order, ``ds`` first; keys are not nullable."""
        keys = set(self.keys) | ({self.replace_by} if self.replace_by else set())
        return (DS, *(Column(**{**asdict(c), "nullable": False}) if c.name in keys else c for c in self.columns))

    @property
    def partitions(self) -> tuple[str, ...]:
        return ("ds", self.replace_by) if self.replace_by else ("ds",)

    def column(self, name: str) -> Column:
        for column in self.schema:
            if column.name == name:
                return column
        raise ContractError(f"{self.name} has no column {name!r}; it has {[c.name for c in self.schema]}.")


@dataclass(frozen=True)
class Artifact:
    """The contract of a fitted thing: a folder with a checksum and what it was made from.

    ``build`` receives ``out``, an empty folder, writes its files there and returns a dict of facts.
    It is fitted as of every ``every_days``-th day, counted from the calendar's first: which days these
    are does not depend on when or in which order days are built. ``log`` names a table of ``ops``: its columns are
    taken from the facts of every build. ``fill_gap``: it is also fitted as of the first day of a build that finds no
    fit of the last ``every_days`` days, so that a new lake does not wait for the calendar, or before which features
    began to drift (`jobs.artifacts.drift_begins`); for what serves lists, which are history, and not for features,
    whose days may be built in any order.
    """

    name: str
    group: str
    owner: str
    description: str
    inputs: Sequence[TableInput | ArtifactInput] = ()
    every_days: int = 1
    log: str | None = None
    fill_gap: bool = False
    kind: str = field(default="artifact", init=False)
    grain: str = field(default="day", init=False)
    stateful: bool = field(default=False, init=False)

    def fit_days(self, days: DayRange) -> list[dt.date]:
        """The days of a range on which it is fitted."""
        return [day for day in days if day.toordinal() % self.every_days == 0]


@dataclass(frozen=True)
class Node:
    """A contract with its ``build`` and the type of its parameters."""

    contract: Table | Artifact
    build: Callable[..., Any]
    params: type = NoParams
    module: str = ""

    @property
    def name(self) -> str:
        return self.contract.name

    @property
    def table_inputs(self) -> list[TableInput]:
        return [i for i in self.contract.inputs if isinstance(i, TableInput)]

    @property
    def artifact_inputs(self) -> list[ArtifactInput]:
        return [i for i in self.contract.inputs if isinstance(i, ArtifactInput)]

    @property
    def landing_inputs(self) -> list[LandingInput]:
        return [i for i in self.contract.inputs if isinstance(i, LandingInput)]

    @property
    def upstream(self) -> list[str]:
        """Names of the nodes read; itself (its own yesterday) and the logs, which no node makes, are left out."""
        names = [i.table for i in self.table_inputs] + [i.artifact for i in self.artifact_inputs]
        return [name for name in dict.fromkeys(names) if name != self.name and not name.startswith("ops.")]


def make_params(kind: type, values: dict[str, Any], where: str) -> Any:
    """Build frozen params of ``kind`` from configuration; an unknown or mistyped option is named."""
    known = {f.name: f for f in fields(kind)}
    if unknown := set(values) - set(known):
        raise ContractError(f"{where}: unknown option {sorted(unknown)}; it knows {sorted(known)}.")
    coerced = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    made = kind(**coerced)
    defaults = kind()
    for name in values:
        default, value = getattr(defaults, name), getattr(made, name)
        if default is None or isinstance(value, type(default)):
            continue
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            continue
        raise ContractError(f"{where}: option {name} is {value!r}, but must be like its default {default!r}.")
    return made


def digest(value: Any) -> str:
    """A short content hash of a JSON-able value or dataclass."""
    plain = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()[:16]
