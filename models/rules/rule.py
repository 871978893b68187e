"""What a rule of the lists is: a file of this package with a `Rule` named ``RULE``.

A rule has three chances to act, and most use one. Before anything is placed it may remove candidates (`removed`)
and adjust their value (`adjusted`). While places are filled from the top, its `Step` may hold candidates back for
a place, forbid them, give them another value, or take the place itself. Every effect is logged with the rule's
name and its reason.

Options are the fields of the rule, a frozen dataclass: surfaces give them (``models/surfaces``).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.contract import make_params
from jobs.errors import ContractError, SettingsError
from models.pool import Pool
from models.surfaces import Surface


@dataclass(frozen=True)
class Taken:
    """A place that a rule takes itself.

    ``chosen``: candidate by user, -1 where the rule lets the place go; ``propensity``: the probability with which
    a policy chose so, NaN where nothing was drawn; ``why``, and the policy's ``arm``, by user.
    """

    chosen: np.ndarray
    slot_type: str
    propensity: np.ndarray
    why: np.ndarray
    arm: np.ndarray | None = None


class Step:
    """A rule at work while places are filled; ``place`` counts from 0, masks have the pool's shape."""

    why = ""
    """Why it holds candidates back, for the log."""

    def holds_back(self, place: int) -> np.ndarray | None:
        """Candidates that should not stand here; they may where the place cannot be filled otherwise."""
        return None

    def forbids(self, place: int) -> np.ndarray | None:
        """Candidates that must not stand here, whatever else."""
        return None

    def value(self, place: int) -> np.ndarray | None:
        """The candidates' value at this place."""
        return None

    def takes(self, place: int, allowed: np.ndarray) -> Taken | None:
        """The place, if it is the rule's to fill; ``allowed``: candidates that no rule holds back."""
        return None

    def placed(self, place: int, chosen: np.ndarray, slot_type: np.ndarray) -> None:
        """Learn what was placed: candidate by user (-1: none), and its slot type."""


class Rule:
    """Base of the rules; options are the fields of the subclass."""

    diversifies = False
    """It gives values by what is placed already: a surface has at most one such rule."""

    @property
    def name(self) -> str:
        """The name of its module."""
        return type(self).__module__.rsplit(".", 1)[1]

    def removed(self, pool: Pool) -> Iterator[tuple[str, np.ndarray]]:
        """Pairs of a reason and the mask of candidates that it takes out."""
        yield from ()

    def adjusted(self, pool: Pool) -> np.ndarray | None:
        """New values of the candidates."""
        return None

    def step(self, pool: Pool, surface: Surface) -> Step | None:
        """Its work while a list of the surface is filled."""
        return None


def discover_rules() -> dict[str, type[Rule]]:
    """Every module of this package that declares a ``RULE``, by name."""
    package = importlib.import_module("models.rules")
    found: dict[str, type[Rule]] = {}
    for info in pkgutil.iter_modules(package.__path__, prefix="models.rules."):
        module = importlib.import_module(info.name)
        if hasattr(module, "RULE"):
            found[info.name.rsplit(".", 1)[1]] = module.RULE
    return dict(sorted(found.items()))


def chain(rules: Mapping[str, Mapping[str, Any]], where: str) -> list[Rule]:
    """The rules of a surface in their order.

    Raises
    ------
    SettingsError
        A rule is not known or has an option that does not fit, or two rules diversify.
    """
    known = discover_rules()
    if unknown := sorted(set(rules) - set(known)):
        raise SettingsError(f"{where}: there is no rule {unknown}; there are {list(known)}.")
    try:
        made = [make_params(known[name], dict(options), f"{where}, rule {name}") for name, options in rules.items()]
    except ContractError as error:
        raise SettingsError(str(error)) from None
    if len(twice := [rule.name for rule in made if rule.diversifies]) > 1:
        raise SettingsError(f"{where}: {twice} both order by what is placed already; keep one of them.")
    return made


def must_be_places(places: Sequence[int], rule: str) -> None:
    """Refuse an option that does not name places of a list."""
    must(all(type(n) is int and n >= 1 for n in places), rule, f"places are from 1 on: {places}.")


def must(holds: bool, rule: str, message: str) -> None:
    """Refuse an option of a rule."""
    if not holds:
        raise SettingsError(f"Rule {rule}: {message}")
