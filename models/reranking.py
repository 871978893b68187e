"""The lists of one pool: rules remove and adjust, then places are filled from the top, for all users at once.

A place goes to the candidate of largest value that no rule holds back. Where every candidate is held back, the
place is filled all the same and the rules that stand last in the surface's chain give way first: the candidate is
taken that breaks the latest rules only (lexicographic in the order of the chain). What a rule forbids is never
placed; such a list ends early.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.pool import Pool, scaled
from models.rules.rule import Rule, Step, Taken
from models.surfaces import Surface

ORGANIC = "organic"
WITHOUT = "without"
"""Under this name the log has what the surface's option of this name removes."""
REMOVED, HELD_BACK, TAKEN, RELAXED = "removed", "held_back", "taken", "relaxed"


@dataclass(frozen=True)
class Effect:
    """A rule did something to candidates: arrays of one length.

    ``user`` and ``candidate`` are rows and columns of the pool; ``place``, from 0, is where (-1: before any);
    ``why`` is one text or one for each.
    """

    rule: str
    action: str
    user: np.ndarray
    candidate: np.ndarray
    place: int
    why: str | np.ndarray


Held = tuple[Rule, Step, np.ndarray]
"""A rule at work and the candidates that it holds back from a place."""


@dataclass
class Lists:
    """What was placed, shape ``(u, places)``: candidate (-1: none), slot type, value, propensity (NaN) and arm."""

    places: Sequence[int]
    chosen: np.ndarray
    slot_type: np.ndarray
    value: np.ndarray
    propensity: np.ndarray
    arm: np.ndarray
    effects: list[Effect] = field(default_factory=list)

    @classmethod
    def empty(cls, users: int, places: Sequence[int]) -> Lists:
        shape = (users, len(places))
        nothing = np.full(shape, np.nan)
        slot_type, arm = np.full(shape, ORGANIC, dtype=object), np.full(shape, None, dtype=object)
        return cls(places, np.full(shape, -1), slot_type, nothing.copy(), nothing.copy(), arm)


def rerank(pool: Pool, surface: Surface, rules: Sequence[Rule]) -> Lists:
    """Lists of a surface for every user of the pool, with every effect of its rules.

    Parameters
    ----------
    pool
        Its ``value`` and ``open`` are made here.
    surface
        With the options of the pool's context (`Surface.under`).
    rules
        The surface's chain (`models.rules.rule.chain`).
    """
    lists = Lists.empty(pool.shape[0], surface.places)
    if 0 in pool.shape:
        return lists
    pool.value = objective(pool, surface.objective)
    lists.effects += _removed(pool, WITHOUT, [("found by channels alone that do not count here", pool.barred)])
    for rule in rules:
        lists.effects += _removed(pool, rule.name, rule.removed(pool))
        adjusted = rule.adjusted(pool)
        pool.value = pool.value if adjusted is None else np.round(adjusted, 9)
    steps = [(rule, step) for rule in rules if (step := rule.step(pool, surface)) is not None]
    filling = _Filling(pool, steps, lists)
    for number, place in enumerate(lists.places):
        filling.fill(number, place)
    return lists


def objective(pool: Pool, weights: Mapping[str, float]) -> np.ndarray:
    """Weighted sum of what a list is made for, each part scaled to 0..1 among a user's candidates."""
    parts = {**pool.heads, "quality": pool.of("quality"), "newness": 1 / (1 + pool.of("age_days") / 7)}
    total = sum(weight * scaled(parts[name], pool.present) for name, weight in weights.items())
    return np.round(total, 9)


def _removed(pool: Pool, rule: str, masks: Iterable[tuple[str, np.ndarray]]) -> Iterator[Effect]:
    for why, mask in masks:
        user, candidate = np.nonzero(mask & pool.open)
        pool.open[user, candidate] = False
        if len(user):
            yield Effect(rule, REMOVED, user, candidate, -1, why)


class _Filling:
    """Fills places one after the other."""

    def __init__(self, pool: Pool, steps: Sequence[tuple[Rule, Step]], lists: Lists) -> None:
        self.pool, self.steps, self.lists = pool, steps, lists
        self.left = pool.open.copy()
        self.told = np.zeros(pool.shape, dtype=bool)
        self.rows = np.arange(pool.shape[0])

    def fill(self, number: int, place: int) -> None:
        usable = self.left.copy()
        for _, step in self.steps:
            forbidden = step.forbids(place)
            if forbidden is not None:
                usable &= ~forbidden
        held = [(rule, step, mask) for rule, step in self.steps if (mask := step.holds_back(place)) is not None]
        broken = np.zeros(self.pool.shape, dtype=np.int64)
        for at, (_, _, mask) in enumerate(held):
            # the earlier a rule stands, the more it weighs against all later ones together
            broken |= mask.astype(np.int64) << (len(held) - 1 - at)
        value = self._value(place)
        least = np.where(usable, broken, np.iinfo(np.int64).max).min(axis=1)
        best = self._best(usable & (broken == least[:, None]), value)
        chosen = self._given(number, place, usable & (broken == 0), best)
        self._explain(place, chosen, best, value, held)
        self._place(number, place, chosen, value)

    def _value(self, place: int) -> np.ndarray:
        for _, step in self.steps:
            value = step.value(place)
            if value is not None:
                return np.round(value, 9)
        return self.pool.value

    @staticmethod
    def _best(mask: np.ndarray, value: np.ndarray) -> np.ndarray:
        """Of each user the masked candidate of largest value, the first of equal ones; -1 where there is none."""
        chosen = np.where(mask, value, -np.inf).argmax(axis=1)
        return np.where(mask.any(axis=1), chosen, -1)

    def _given(self, number: int, place: int, allowed: np.ndarray, best: np.ndarray) -> np.ndarray:
        """The candidates placed: what a rule takes the place for, else the best."""
        free, chosen = best >= 0, best.copy()
        for rule, step in self.steps:
            taken = step.takes(place, allowed)
            if taken is None:
                continue
            rows = np.flatnonzero(free & (taken.chosen >= 0))
            chosen[rows] = taken.chosen[rows]
            self.lists.slot_type[rows, number] = taken.slot_type
            self._log_policy(number, free, taken)
            if len(rows):
                effect = Effect(rule.name, TAKEN, rows, taken.chosen[rows], place, taken.why[rows])
                self.lists.effects.append(effect)
            free[rows] = False
        return chosen

    def _log_policy(self, number: int, free: np.ndarray, taken: Taken) -> None:
        drawn = free & np.isfinite(taken.propensity)
        self.lists.propensity[drawn, number] = taken.propensity[drawn]
        if taken.arm is not None:
            self.lists.arm[drawn, number] = taken.arm[drawn]

    def _explain(
        self, place: int, chosen: np.ndarray, best: np.ndarray, value: np.ndarray, held: Sequence[Held]
    ) -> None:
        """Log whom the rules kept from this place, once for each candidate, and the rules that gave way."""
        wanted = self._best(self.left, value)
        passed = (wanted >= 0) & (wanted != best) & ~self.told[self.rows, wanted]
        for rule, step in self.steps:
            mask = next((m for r, _, m in held if r is rule), None)
            forbidden = step.forbids(place)
            kept = np.zeros(len(passed), dtype=bool) if mask is None else mask[self.rows, wanted]
            kept |= False if forbidden is None else forbidden[self.rows, wanted]
            rows = np.flatnonzero(passed & kept)
            if len(rows):
                self.told[rows, wanted[rows]] = True
                passed[rows] = False
                self.lists.effects.append(Effect(rule.name, HELD_BACK, rows, wanted[rows], place, step.why))
        for rule, step, mask in held:
            rows = np.flatnonzero((chosen >= 0) & mask[self.rows, chosen])
            if len(rows):
                self.lists.effects.append(Effect(rule.name, RELAXED, rows, chosen[rows], place, step.why))

    def _place(self, number: int, place: int, chosen: np.ndarray, value: np.ndarray) -> None:
        rows = np.flatnonzero(chosen >= 0)
        self.lists.chosen[rows, number] = chosen[rows]
        self.lists.value[rows, number] = value[rows, chosen[rows]]
        self.left[rows, chosen[rows]] = False
        for _, step in self.steps:
            step.placed(place, chosen, self.lists.slot_type[:, number])
