"""Metric definitions as data: ``metrics/<name>.yaml`` says what is counted, from which table, in which words.

A file is one version of one metric, and never changes its meaning: the digest in the file covers everything
that a figure depends on, so an edited expression needs a new file, ``metrics/<name>.v2.yaml``. Both versions
are then computed side by side; from its ``valid_from`` on the newer one is in force.

Expressions are Spark SQL over the columns of the source table. ``{name}`` stands for a parameter of the
definition, ``{days}`` for the length of its window.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from jobs.contract import Table, digest
from jobs.errors import ContractError

FOLDER = Path(__file__).resolve().parent.parent / "metrics"
AGE = "age"
"""Column that a window adds to its rows: how many days before ds the row's day lies, 0 is ds."""
NEEDED = ("name", "version", "description", "calibre", "unit", "owner", "valid_from")
MEANING = ("source", "days", "scope", "grain", "measures", "numerator", "denominator", "parameters", "unit")
"""What the digest covers. Words, owner and breakdowns may be mended without a new version."""
OPTIONS = (*NEEDED, "expression", "dimensions", "digest", *(name for name in MEANING if name != "unit"))

_AGGREGATE = re.compile(r"(sum|count|count_if|min|max)\s*\(", re.IGNORECASE)
_REFERENCE = re.compile(r"([a-z][a-z0-9_]*)@([1-9][0-9]*)")
_TEXT = re.compile(r"'(?:[^'\\]|\\.|'')*'")
_NAME = re.compile(r"(?<![\w.])`?([A-Za-z_]\w*)`?(?!\w)(?!\s*\()")
_WORDS = re.compile(
    r"and|or|not|in|is|null|true|false|case|when|then|else|end|between|like|rlike|distinct|as|cast"
    r"|int|bigint|double|float|string|boolean|date|interval|days?|div",
    re.IGNORECASE,
)


class _Loader(yaml.SafeLoader):
    """Refuses an option that stands twice: YAML would keep the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"{twice[0]} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True)
class Definition:
    """One version of one metric.

    Parameters
    ----------
    name, version
        ``version`` counts from 1.
    description, calibre
        What the figure says, and in words what counts and what does not.
    unit, owner
        For the dictionary.
    valid_from
        First day on which this version is the one that people mean.
    numerator, denominator
        With a ``source`` an aggregate of its rows each, else another metric's ``name@version``. Without a
        denominator the value is the numerator (``expression`` in the file).
    source
        The table whose rows are counted.
    days
        Length of the window that ends on ds.
    scope
        Condition that a row of the source meets to be counted at all.
    grain, measures
        With a grain, rows are first aggregated to one each of its columns, by ``measures``; numerator and
        denominator then read measures and grain.
    dimensions
        Columns by whose values the metric is broken down, besides the total.
    parameters
        The numbers of the definition.
    path
        The file.
    """

    name: str
    version: int
    description: str
    calibre: str
    unit: str
    owner: str
    valid_from: dt.date
    numerator: str
    denominator: str | None = None
    source: str | None = None
    days: int = 1
    scope: str | None = None
    grain: tuple[str, ...] = ()
    measures: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    dimensions: tuple[str, ...] = ()
    parameters: Mapping[str, int | float] = field(default_factory=lambda: MappingProxyType({}))
    path: Path = Path()

    @property
    def key(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def references(self) -> tuple[str, ...]:
        """Metrics that a ratio without a source divides."""
        return () if self.source else tuple(r for r in (self.numerator, self.denominator) if r)

    def error(self, option: str, message: str) -> ContractError:
        return ContractError(f"{self.path.name}: {option}: {message}")

    @property
    def expressions(self) -> Iterator[tuple[str, str, bool]]:
        """Option, SQL and whether it reads the source's rows (else what the grain made of them)."""
        if not self.source:
            return
        if self.scope:
            yield "scope", self.scope, True
        yield from ((f"measures.{name}", sql, True) for name, sql in self.measures.items())
        yield "numerator" if self.denominator else "expression", self.numerator, not self.grain
        if self.denominator:
            yield "denominator", self.denominator, not self.grain


def read_definitions(folder: Path = FOLDER, tables: Mapping[str, Table] | None = None) -> dict[str, Definition]:
    """Every definition of a folder by ``name@version``, in order.

    Parameters
    ----------
    folder
        Of ``*.yaml`` files.
    tables
        Contracts by name; where given, every source and column is looked up in them.

    Raises
    ------
    ContractError
        A file is no definition, has changed its meaning, or names a metric, table or column that does not
        exist; the message names file and option.
    """
    found = [read_definition(path) for path in sorted(folder.glob("*.yaml"))]
    definitions = {d.key: d for d in sorted(found, key=lambda d: (d.name, d.version))}
    for each in definitions.values():
        _check_references(each, definitions)
        _check_succession(each, definitions)
    if tables is not None:
        check_columns(definitions.values(), {name: [c.name for c in t.schema] for name, t in tables.items()})
    return definitions


def read_definition(path: Path) -> Definition:
    """Read one file.

    Raises
    ------
    ContractError
        An option is missing, unknown or mistyped, or the digest does not hold.
    """
    values = _options(path)
    made = _definition(path, values)
    expected = f"{made.name}.yaml" if made.version == 1 else f"{made.name}.v{made.version}.yaml"
    if path.name != expected:
        raise made.error("version", f"version {made.version} of {made.name} belongs into {expected}.")
    for option, sql, of_rows in made.expressions:
        if (not of_rows or option != "scope") and not _is_aggregate(sql):
            raise made.error(option, f"{sql!r} must be one of sum, count, count_if, min or max of an expression.")
    _check_grain(made)
    _check_digest(made, values.get("digest"))
    return made


def _options(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except yaml.YAMLError as error:
        raise ContractError(f"{path.name}: it is not YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(values, dict):
        raise ContractError(f"{path.name}: a definition is a list of options with values.")
    if unknown := sorted(str(k) for k in set(values) - set(OPTIONS)):
        raise ContractError(f"{path.name}: {unknown[0]}: there is no such option; use {sorted(OPTIONS)}.")
    if missing := [name for name in NEEDED if values.get(name) in (None, "")]:
        raise ContractError(f"{path.name}: {missing[0]}: it is missing.")
    return {name: value for name, value in values.items() if value is not None}


_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(("name", "description", "calibre", "unit", "owner", "source"), (str, "a text")),
    **dict.fromkeys(("scope", "expression", "numerator", "denominator", "digest"), (str, "a text")),
    **dict.fromkeys(("version", "days"), (int, "a whole number from 1")),
    **dict.fromkeys(("grain", "dimensions"), (list, "a list of columns")),
    **dict.fromkeys(("measures", "parameters"), (dict, "names with values")),
    "valid_from": (dt.date, "a day, as 2024-03-14"),
}


def _definition(path: Path, values: dict[str, Any]) -> Definition:
    def error(option: str, message: str) -> ContractError:
        return ContractError(f"{path.name}: {option}: {message}")

    for option, value in values.items():
        kind, said = _TYPES[option]
        if not isinstance(value, kind) or isinstance(value, bool | dt.datetime) or (kind is int and value < 1):
            raise error(option, f"{value!r} must be {said}.")
    if ("expression" in values) == ("numerator" in values):
        raise error("expression", "give either an expression, or numerator and denominator.")
    if ("numerator" in values) != ("denominator" in values):
        raise error("denominator", "a numerator and a denominator come together.")
    parameters = values.get("parameters", {})
    for name, value in parameters.items():
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise error(f"parameters.{name}", f"{value!r} must be a number.")
    numbers = {"days": values.get("days", 1), **parameters}

    def filled(option: str, text: str) -> str:
        try:
            return text.format_map(numbers).strip()
        except (KeyError, ValueError, IndexError) as wrong:
            raise error(option, f"there is no parameter {wrong}; there are {sorted(numbers)}.") from None

    texts = ("calibre", "scope", "numerator", "denominator")
    given = {name: filled(name, values[name]) for name in texts if name in values}
    if "expression" in values:
        given["numerator"] = filled("expression", values["expression"])
    return Definition(
        **{name: values[name] for name in ("name", "version", "unit", "owner", "valid_from")},
        **given,
        description=values["description"].strip(),
        source=values.get("source"),
        days=values.get("days", 1),
        grain=tuple(values.get("grain", ())),
        measures=MappingProxyType({k: filled(f"measures.{k}", str(v)) for k, v in values.get("measures", {}).items()}),
        dimensions=tuple(values.get("dimensions", ())),
        parameters=MappingProxyType(parameters),
        path=path,
    )


def meaning(definition: Definition) -> str:
    """The digest of what the definition's figures depend on."""
    values = {name: getattr(definition, name) for name in MEANING}
    return digest({k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()})


def _check_digest(made: Definition, recorded: str | None) -> None:
    if recorded is None:
        raise made.error("digest", f"record what version {made.version} means: digest: {meaning(made)}")
    if recorded != meaning(made):
        following = f"{made.name}.v{made.version + 1}.yaml"
        raise made.error(
            "digest",
            f"the meaning of {made.key} has changed since it was recorded, and figures of it are published: "
            f"restore this file, and put the new definition into {following}.",
        )


def _check_grain(made: Definition) -> None:
    if not made.source:
        for option in ("scope", "grain", "measures"):
            if getattr(made, option):
                raise made.error(option, "a ratio of other metrics has a source of its own nowhere.")
        return
    if bool(made.grain) != bool(made.measures):
        raise made.error("measures", "grain and measures come together.")
    if wrong := [d for d in made.dimensions if made.grain and d not in made.grain]:
        raise made.error("dimensions", f"{wrong[0]!r} is none of the grain {list(made.grain)}.")


def _check_references(made: Definition, definitions: Mapping[str, Definition]) -> None:
    for option in ("numerator", "denominator"):
        named = getattr(made, option)
        if made.source or named is None:
            continue
        other = definitions.get(named) if _REFERENCE.fullmatch(named) else None
        if other is None:
            raise made.error(option, f"without a source it must be a metric as name@version; {named!r} is none.")
        if other.denominator:
            raise made.error(option, f"{named} is a ratio itself.")
        if wrong := [d for d in made.dimensions if d not in other.dimensions]:
            raise made.error("dimensions", f"{named} is not broken down by {wrong[0]!r}.")
    if not made.source and made.denominator is None:
        raise made.error("source", "it is missing.")


def _check_succession(made: Definition, definitions: Mapping[str, Definition]) -> None:
    if made.version == 1:
        return
    before = definitions.get(f"{made.name}@{made.version - 1}")
    if before is None:
        raise made.error("version", f"there is no version {made.version - 1} of {made.name}.")
    if made.valid_from < before.valid_from:
        raise made.error("valid_from", f"{made.valid_from} lies before that of version {before.version}.")


def check_columns(definitions: Iterable[Definition], columns: Mapping[str, Collection[str]]) -> None:
    """Look up every source and column.

    Parameters
    ----------
    definitions
        What to check.
    columns
        Columns of every table.

    Raises
    ------
    ContractError
        A table or column does not exist.
    """
    for each in definitions:
        if not each.source:
            continue
        if each.source not in columns:
            raise each.error("source", f"there is no table {each.source!r}.")
        of_rows = {*columns[each.source], AGE}
        of_grain = {*each.grain, *each.measures}
        for option, sql, rows in each.expressions:
            known, where = (of_rows, each.source) if rows else (of_grain, "what the grain makes")
            if unknown := sorted(names_in(sql) - known):
                raise each.error(option, f"{where} has no column {unknown[0]!r}; it has {sorted(known)}.")
        for option, named in (("grain", each.grain), ("dimensions", each.dimensions)):
            if unknown := sorted(set(named) - of_rows):
                raise each.error(option, f"{each.source} has no column {unknown[0]!r}; it has {sorted(of_rows)}.")


def names_in(sql: str) -> set[str]:
    """The column names in an expression.

    Examples
    --------
    >>> sorted(names_in("sum(if(kind = 'refund', -amount, amount)) "))
    ['amount', 'kind']
    """
    return {name for name in _NAME.findall(_TEXT.sub("''", sql)) if not _WORDS.fullmatch(name)}


def _is_aggregate(sql: str) -> bool:
    """One call of an aggregate, and nothing after it: a scope can then be put on it as its filter.

    Examples
    --------
    >>> _is_aggregate("sum(if(a > 0, a, 0))"), _is_aggregate("sum(a) / sum(b)"), _is_aggregate("a")
    (True, False, False)
    """
    text = _TEXT.sub("''", sql)
    opened = _AGGREGATE.match(text)
    if not opened:
        return False
    depth = 1
    for at in range(opened.end(), len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return at == len(text) - 1
    return False
