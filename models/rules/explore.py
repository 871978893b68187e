"""Places of exploration: a bandit decides, place by place, whether to explore and in which direction.

Arms are directions in which the ranker knows little: new creators, the long tail, new items; and none, which
leaves the place to the best candidate. Within an arm the item is drawn evenly among the user's best. The logged
propensity is the probability of arm and item together; who has no candidate for an arm is not offered it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.bandit import NO_ARM, Evidence, floored, greedy, linucb, thompson
from models.pool import Pool
from models.rules.rule import Rule, Step, Taken, must, must_be_places
from models.surfaces import Surface

ARMS = ("new_creator", "long_tail", "new_item")
POLICIES = ("thompson", "linucb")
_ARM, _ITEM = 1, 2


@dataclass(frozen=True)
class Explore(Rule):
    """Options.

    Parameters
    ----------
    places
        Which places, from 1, are up to the bandit.
    arms
        Some of `ARMS`.
    policy
        ``thompson`` by the evidence of the user's context, or ``linucb`` by the user's signals.
    floor
        Least probability of every arm, so that there is evidence of it tomorrow.
    width
        How many of the user's best candidates of the arm the item is drawn from.
    prior_showings, prior_rate
        What is believed of an arm before the first showing.
    alpha
        Width of LinUCB's confidence bound.
    new_days
        An item is new for so many days.
    """

    places: tuple[int, ...] = (8, 14, 18)
    arms: tuple[str, ...] = ARMS
    policy: str = "thompson"
    floor: float = 0.1
    width: int = 10
    prior_showings: float = 20.0
    prior_rate: float = 0.05
    alpha: float = 0.5
    new_days: int = 7

    def __post_init__(self) -> None:
        known = set(self.arms) <= set(ARMS) and len(set(self.arms)) == len(self.arms)
        must(bool(self.arms) and known, "explore", f"arms are some of {ARMS}, each once, not {self.arms}.")
        must(self.policy in POLICIES, "explore", f"policy is one of {POLICIES}, not {self.policy!r}.")
        most = 1 / (len(self.arms) + 1)
        must(0 < self.floor <= most, "explore", f"floor is above 0 and at most {most:.3g}, not {self.floor}.")
        must_be_places(self.places, "explore")
        must(self.width >= 1 and self.prior_showings > 0, "explore", "width and prior_showings are above 0.")
        must(0 < self.prior_rate < 1, "explore", f"prior_rate is between 0 and 1, not {self.prior_rate}.")

    def step(self, pool: Pool, surface: Surface) -> Step:
        return _Drawing(pool, self)

    def probabilities(self, pool: Pool) -> np.ndarray:
        """Of each arm (`NO_ARM` first) for each user, shape ``(u, k)``."""
        arms = (NO_ARM, *self.arms)
        rows = list(pool.evidence or ())
        if self.policy == "linucb":
            evidence = Evidence.of(rows, arms, pool.signals.shape[1])
            chances = greedy(linucb(evidence, pool.signals, self.alpha))
        else:
            evidence = Evidence.of([r for r in rows if r["context"] == pool.context], arms, pool.signals.shape[1])
            prior = (self.prior_rate * self.prior_showings, (1 - self.prior_rate) * self.prior_showings)
            chances = np.tile(thompson(evidence, prior), (pool.shape[0], 1))
        return floored(chances, self.floor)


class _Drawing(Step):
    def __init__(self, pool: Pool, options: Explore) -> None:
        self.pool, self.options = pool, options
        self.chances = options.probabilities(pool)
        member = {
            "new_creator": pool.of("novice"),
            "long_tail": pool.of("long_tail"),
            "new_item": pool.of("age_days") < options.new_days,
        }
        self.members = [member[arm] for arm in options.arms]

    def takes(self, place: int, allowed: np.ndarray) -> Taken | None:
        if place + 1 not in self.options.places:
            return None
        usable = [member & allowed for member in self.members]
        offered = np.stack([np.ones(len(allowed), dtype=bool), *(each.any(axis=1) for each in usable)], axis=1)
        chances = np.where(offered, self.chances, 0.0)
        chances /= chances.sum(axis=1, keepdims=True)
        below = np.cumsum(chances, axis=1)[:, :-1]
        arm = (self.pool.drawn(10 * place + _ARM)[:, None] >= below).sum(axis=1)
        # rounding of the sums must not choose an arm that is not offered
        arm = np.where(offered[np.arange(len(arm)), arm], arm, 0)
        chosen, share = self._items(place, arm, usable)
        propensity = chances[np.arange(len(arm)), arm] * share
        names = np.array([NO_ARM, *self.options.arms], dtype=object)[arm]
        return Taken(chosen, "exploration", np.round(propensity, 9), self._why(names), names)

    def _items(self, place: int, arm: np.ndarray, usable: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The item drawn by user, -1 without exploration, and the probability of it given the arm."""
        chosen, share = np.full(len(arm), -1), np.ones(len(arm))
        drawn = self.pool.drawn(10 * place + _ITEM)
        for number, mask in enumerate(usable, 1):
            rows = np.flatnonzero(arm == number)
            values = np.where(mask[rows], self.pool.value[rows], -np.inf)
            best = np.argsort(-values, axis=1, kind="stable")[:, : self.options.width]
            count = np.minimum(mask[rows].sum(axis=1), self.options.width)
            chosen[rows] = best[np.arange(len(rows)), (drawn[rows] * count).astype(int)]
            share[rows] = 1 / count
        return chosen, share

    def _why(self, names: np.ndarray) -> np.ndarray:
        said = {arm: f"{self.options.policy} drew {arm}" for arm in (NO_ARM, *self.options.arms)}
        return np.array([said[name] for name in names], dtype=object)


RULE = Explore
