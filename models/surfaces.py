"""Surfaces and contexts as data: where lists are shown, and what differs for whom and when.

A *surface* is a place with a list for each user: its length, quotas of channels, objective, rules, slots kept for
ads. A *context* of it names users and days by known columns and overrides any of these; the first one that
matches decides. ``models/surfaces/*.yaml`` are the shipped ones; option ``surfaces`` of a market's file is merged
over them key by key, where null takes an entry away. A new surface or context is an entry there and no code::

    surfaces:
      feed:
        length: 30
        contexts:
          rainy_monday: {when: {weekday: [0]}, rules: {mmr: {relevance: 0.8}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache, reduce
from pathlib import Path
from typing import Any

import yaml
from pyspark.sql import Column as SparkColumn
from pyspark.sql import functions as F

from features import user_activity, user_context, user_profile
from jobs.contract import Column
from jobs.errors import SettingsError
from jobs.settings import Market

FOLDER = Path(__file__).resolve().parent / "surfaces"
USUAL = "usual"
"""The context of who is in none of the surface's."""
OBJECTIVES = ("score", "pctr", "pcvr", "relevance", "quality", "newness")
"""What an objective may weigh: the ranker's heads, and of the item its quality and 1 / (1 + age in weeks)."""
OF_THE_DAY = (
    Column("weekday", "int", "Weekday of the day on which the list is shown, 0 is Monday."),
    Column("is_weekend", "boolean", "That day is a Saturday or Sunday."),
    Column("campaigns", "int", "Campaigns for everyone that run on that day."),
    Column("requests_7d", "int", "Requests with showings in the 7 days ending on ds."),
    Column("commute_share", "double", "Part of them on the way to or from work.", digits=4),
    Column("fast_share", "double", "Part of them that were swiped fast.", digits=4),
    Column("spending_rank", "double", "Percentile rank by the amount bought in 28 days, 1 is most.", digits=4),
)
"""Signals that `models.contexts` makes; all others are columns of the tables in `READ`."""
READ = (user_activity.CONTRACT, user_profile.CONTRACT, user_context.CONTRACT)


def _signals() -> dict[str, Column]:
    """Columns that a condition may name: no sensitive one, and no place of a person."""
    known = {c.name: c for table in READ for c in table.columns if not (c.subject or c.sensitive)}
    plain = ("int", "bigint", "double", "boolean", "string")
    return {name: c for name, c in {**known, **{c.name: c for c in OF_THE_DAY}}.items() if c.type in plain}


SIGNALS = _signals()


@dataclass(frozen=True)
class Condition:
    """What a column must be: one of ``values``, or a number from ``low`` to ``high`` (both included)."""

    column: str
    values: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None

    @property
    def holds(self) -> SparkColumn:
        """True where it holds; a column without a value meets no condition."""
        at = F.col(self.column)
        bounds = [at.isin(*self.values)] if self.values else []
        bounds += [] if self.low is None else [at >= self.low]
        bounds += [] if self.high is None else [at <= self.high]
        return F.coalesce(reduce(lambda a, b: a & b, bounds), F.lit(False))


@dataclass(frozen=True)
class Context:
    """For whom and when (all conditions hold), and the options of the surface that differ then."""

    name: str
    when: tuple[Condition, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Surface:
    """Where lists are shown.

    Parameters
    ----------
    name, description
        ``name`` is the value of column ``surface``.
    length
        Places of a list, those kept for ads included.
    candidates
        How many of a user's ranked candidates the rules choose from.
    objective
        Weights of what a list is made for, by the names of `OBJECTIVES`; each is scaled to 0..1 among the
        candidates of a user.
    quotas
        Channel to places of the fused candidates that its best are sure of.
    without
        Channels that do not count here: what they alone found is removed.
    ad_slots
        Places, from 1, that stay free for ads.
    rules
        Rule to its options, in the order in which they are applied: a rule that stands later gives way first
        where a list cannot be filled under all of them (`models.rules`).
    contexts
        The first whose conditions hold overrides the options above.
    """

    name: str
    description: str = ""
    length: int = 20
    candidates: int = 200
    objective: Mapping[str, float] = field(default_factory=lambda: {"score": 1.0})
    quotas: Mapping[str, int] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    ad_slots: tuple[int, ...] = ()
    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    contexts: Mapping[str, Context] = field(default_factory=dict)

    def under(self, context: str) -> Surface:
        """The surface with the options that differ in a context."""
        if context == USUAL:
            return self
        chosen = self.contexts[context].options
        base = {f.name: getattr(self, f.name) for f in fields(self) if f.name in chosen}
        return replace(self, **_checked(f"Surface {self.name}, context {context}", merged(base, chosen)))

    @property
    def places(self) -> list[int]:
        """Places from 0 that a list fills: those that are not kept for ads."""
        return [place for place in range(self.length) if place + 1 not in self.ad_slots]

    @property
    def context(self) -> SparkColumn:
        """Name of the first context whose conditions hold for a row of signals, else `USUAL`."""
        found = F.lit(USUAL)
        for each in reversed(self.contexts.values()):
            holds = reduce(lambda a, b: a & b, [condition.holds for condition in each.when])
            found = F.when(holds, F.lit(each.name)).otherwise(found)
        return found


def surfaces(market: Market, over: Mapping[str, Any] | None = None) -> dict[str, Surface]:
    """Every surface of a market by name: the shipped ones with the market's own options over them.

    Parameters
    ----------
    over
        Options that are laid over these: a variant's.

    Raises
    ------
    SettingsError
        An option is unknown or has a value that does not fit; the message names surface and option.
    """
    options = merged(shipped(), _mapping("Surfaces of the market", market.surfaces))
    options = merged(options, over or {})
    return {name: read_surface(name, values) for name, values in sorted(options.items())}


@cache
def shipped() -> dict[str, Any]:
    """The shipped options by surface, one file each."""
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yaml"))}


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, mappings key by key; null takes an entry away, other values replace."""
    found = dict(base)
    for key, value in over.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(found.get(key), Mapping):
            found[key] = merged(found[key], value)
        else:
            found[key] = value
    return found


def read_surface(name: str, values: Any) -> Surface:
    """A surface from its options."""
    where = f"Surface {name}"
    _must(isinstance(name, str) and name.isidentifier(), where, "its name is a plain word.")
    plain = dict(_mapping(where, values))
    contexts = _mapping(f"{where}, contexts", plain.pop("contexts", {}))
    surface = Surface(name, **_checked(where, plain))
    found = {each: _read_context(name, each, options) for each, options in contexts.items()}
    surface = replace(surface, contexts=found)
    for each in found:
        surface.under(each)
    return surface


def _read_context(surface: str, name: str, values: Any) -> Context:
    where = f"Surface {surface}, context {name}"
    _must(isinstance(name, str) and name.isidentifier() and name != USUAL, where, f"a plain word, but not {USUAL!r}.")
    options = dict(_mapping(where, values))
    when = _mapping(f"{where}, when", options.pop("when", {}))
    _must(bool(when), where, "say when it holds (option when).")
    _must("description" not in options and "candidates" not in options, where, "description and candidates stay.")
    return Context(name, tuple(_read_condition(f"{where}, when", c, v) for c, v in when.items()), options)


def _read_condition(where: str, column: str, value: Any) -> Condition:
    if column not in SIGNALS:
        raise SettingsError(f"{where}: there is no column {column!r}; there are {sorted(SIGNALS)}.")
    kind = {"string": str, "boolean": bool}.get(SIGNALS[column].type, (int, float))
    if isinstance(value, Mapping):
        _must(set(value) <= {"min", "max"} and bool(value), f"{where}, {column}", "a range has min, max or both.")
        _must(all(_is_number(v) for v in value.values()), f"{where}, {column}", "min and max are numbers.")
        _must(kind == (int, float), f"{where}, {column}", "only a number lies in a range.")
        return Condition(column, low=value.get("min"), high=value.get("max"))
    values = tuple(value) if isinstance(value, list) else (value,)
    fits = values and all(isinstance(v, kind) and (kind is bool or not isinstance(v, bool)) for v in values)
    _must(bool(fits), f"{where}, {column}", f"{value!r} is no value of a {SIGNALS[column].type}.")
    return Condition(column, values)


def _checked(where: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a surface, each of the type and range that it must have."""
    known = {f.name for f in fields(Surface)} - {"name", "contexts"}
    if unknown := sorted(set(values) - known):
        raise SettingsError(f"{where}: unknown option {unknown}; it knows {sorted(known)}.")
    found = dict(values)
    for option, least, most in (("length", 1, 1000), ("candidates", 1, 1000)):
        if option in found:
            fits = isinstance(found[option], int) and least <= found[option] <= most
            _must(fits, where, f"{option} is a whole number from {least} to {most}, not {found[option]!r}.")
    if "objective" in found:
        weights = _mapping(f"{where}, objective", found["objective"])
        _must(set(weights) <= set(OBJECTIVES) and bool(weights), where, f"objective weighs some of {OBJECTIVES}.")
        _must(all(_is_number(w) for w in weights.values()), where, "weights of the objective are numbers.")
    if "quotas" in found:
        quotas = _mapping(f"{where}, quotas", found["quotas"])
        _must(all(type(n) is int and n >= 0 for n in quotas.values()), where, "quotas are whole numbers from 0 on.")
    if "without" in found:
        found["without"] = tuple(found["without"]) if isinstance(found["without"], list | tuple) else (None,)
        _must(all(isinstance(name, str) for name in found["without"]), where, "without lists names of channels.")
    if "ad_slots" in found:
        found["ad_slots"] = tuple(found["ad_slots"]) if isinstance(found["ad_slots"], list | tuple) else (None,)
        _must(all(type(n) is int and n >= 1 for n in found["ad_slots"]), where, "ad_slots lists places from 1 on.")
    for rule, options in _mapping(f"{where}, rules", found.get("rules", {})).items():
        _mapping(f"{where}, rule {rule}", options)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mapping(where: str, values: Any) -> Mapping[str, Any]:
    _must(isinstance(values, Mapping), where, f"it is a mapping of options to values, not {values!r}.")
    return values


def _must(holds: bool, where: str, message: str) -> None:
    if not holds:
        raise SettingsError(f"{where}: {message}")
