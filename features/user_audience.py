"""Audience labels of each user, composed from base attributes. For audits and operations only.

A *composition* names attributes and labels each user by the values, where all are known:
``gender=female, age_band=25_34, city_tier=1``. A *rule* gives a name of its own to chosen values. Both are
options of the market, checked when they are read::

    params:
      features.user_audience:
        compositions: [[gender, age_band, city_tier], [region, device]]
        rules:
        - {label: young women in large cities, gender: [female], age_band: ["18_24", "25_34"], city_tier: [1, 2]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import reduce
from typing import Any

from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from jobs.contract import Column, DayRange, Table, TableInput, rows_between
from jobs.errors import ContractError

NAME = "features.user_audience"


@dataclass(frozen=True)
class Rule:
    """A label for users whose every named attribute has one of the values; an empty attribute is any."""

    label: str
    gender: tuple[str, ...] = ()
    age_band: tuple[str, ...] = ()
    income_band: tuple[str, ...] = ()
    region: tuple[str, ...] = ()
    city_tier: tuple[int, ...] = ()
    device: tuple[str, ...] = ()
    language: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.label or not isinstance(self.label, str):
            raise ContractError(f"{NAME}: a rule's label must be a text, not {self.label!r}.")
        for name in ATTRIBUTES:
            values, kind = getattr(self, name), int if name == "city_tier" else str
            if not isinstance(values, Sequence) or isinstance(values, str):
                raise ContractError(f"{NAME}: {name} of {self.label!r} must be a list of values, not {values!r}.")
            if wrong := [v for v in values if type(v) is not kind]:
                raise ContractError(f"{NAME}: {name} of {self.label!r} must be {kind.__name__}, not {wrong[0]!r}.")
            object.__setattr__(self, name, tuple(values))
        if not any(getattr(self, name) for name in ATTRIBUTES):
            raise ContractError(f"{NAME}: rule {self.label!r} names no attribute, it would label everybody.")

    def matches(self) -> SparkColumn:
        wanted = {name: getattr(self, name) for name in ATTRIBUTES if getattr(self, name)}
        return reduce(lambda a, b: a & b, [F.col(name).isin(*values) for name, values in wanted.items()])


ATTRIBUTES = tuple(f.name for f in fields(Rule) if f.name != "label")


@dataclass(frozen=True)
class Params:
    """``compositions`` of attributes, and ``rules`` (see `Rule`), which a market's file gives as mappings."""

    compositions: tuple[Sequence[str], ...] = (("gender", "age_band", "city_tier"), ("age_band", "income_band"))
    rules: tuple[Rule | Mapping[str, Any], ...] = (
        Rule("women 25-34 in tier-1 cities", gender=("female",), age_band=("25_34", "25-34"), city_tier=(1,)),
    )

    def __post_init__(self) -> None:
        for names in self.compositions:
            if isinstance(names, str) or not names or not set(names) <= set(ATTRIBUTES):
                raise ContractError(f"{NAME}: composition {names!r} must be a list of some of {list(ATTRIBUTES)}.")
        rules = tuple(rule if isinstance(rule, Rule) else read_rule(rule) for rule in self.rules)
        labels = [rule.label for rule in rules]
        if repeated := sorted({label for label in labels if labels.count(label) > 1}):
            raise ContractError(f"{NAME}: more than one rule has the label {repeated}.")
        object.__setattr__(self, "rules", rules)


def read_rule(values: Any) -> Rule:
    """A rule from a market's file; an option that it does not know is named."""
    if not isinstance(values, Mapping) or "label" not in values:
        raise ContractError(f"{NAME}: a rule is a mapping with a label, not {values!r}.")
    if unknown := sorted(set(values) - {"label", *ATTRIBUTES}):
        raise ContractError(f"{NAME}: rule {values['label']!r} has unknown options {unknown}; it knows {ATTRIBUTES}.")
    return Rule(**values)


CONTRACT = Table(
    name=NAME,
    group="features",
    owner="user-understanding",
    description="Audience labels of each known user, composed from base attributes (options compositions and rules). "
    "For audits and operations only.",
    columns=[
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("label", "string", "Audience label, made from sensitive attributes among others.", sensitive=True),
    ],
    keys=["user_id", "label"],
    inputs=[TableInput("features.user_profile")],
    checks=[rows_between(0, verdict="warn")],
)


def build(user_profile: DataFrame, *, days: DayRange, params: Params) -> DataFrame:
    labels = [composed(names) for names in params.compositions]
    labels += [F.when(rule.matches(), F.lit(rule.label)) for rule in params.rules]
    nothing = F.lit(None).cast("string")
    distinct = F.array_distinct(F.array_compact(F.array(nothing, *labels)))
    return user_profile.select("ds", "user_id", F.explode(distinct).alias("label"))


def composed(names: Sequence[str]) -> SparkColumn:
    """The label of a composition, null unless every attribute is known: ``concat`` of a null is null."""
    parts = [F.concat(F.lit(f"{', ' if at else ''}{name}="), F.col(name)) for at, name in enumerate(names)]
    return F.concat(*parts)
