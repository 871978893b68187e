"""The law of the fusion weights, held to worlds of 60 days whose truth is planted."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.objective_weights import (
    FIRST,
    HELD,
    LOWERED,
    RESET,
    RESTORED,
    Decision,
    Params,
    Response,
    State,
    Weights,
    decide,
    floor,
)

START = dt.date(2024, 1, 1)
HOME, PARAMS = Weights(), Params()
World = Callable[[int, Weights], tuple[float, float, float]]
"""Factors of CTR, CVR and dwell on a day, with the weights of the night before."""


def day(n: int) -> dt.date:
    return START + dt.timedelta(days=n)


def live(world: World, seed: int = 1, days: int = 60, params: Params = PARAMS) -> list[Decision]:
    """Nights of one content type: 100,000 showings a day, CTR 10 %, CVR 5 %, 30 s a click, and weekends."""
    rng, history, made, state = np.random.default_rng(seed), {}, [], None
    for n in range(days):
        factors = world(n, state.weights if state else HOME)
        weekend = 1.2 if day(n).weekday() >= 5 else 1.0
        clicks = rng.binomial(100_000, 0.1 * weekend * factors[0])
        purchases = rng.binomial(clicks, 0.05 / weekend * factors[1])
        dwell = clicks * 30 * factors[2] * rng.normal(1, 0.01)
        history[day(n)] = Response(100_000, int(clicks), int(purchases), float(dwell))
        decision = decide(day(n), history, state, HOME, params)
        made, state = [*made, decision], decision.state
    return made


def moves(made: list[Decision]) -> list[tuple[int, str]]:
    return [(n, d.move) for n, d in enumerate(made) if d.move not in (HELD, FIRST)]


def weights(made: list[Decision]) -> np.ndarray:
    return np.array([[d.state.weights.ctr, d.state.weights.cvr, d.state.weights.dwell] for d in made])


def clickbait(first: int, last: int, ctr: float = 1.2, cvr: float = 0.75) -> World:
    """From one day to another more is clicked and less of it bought."""
    return lambda n, _: (ctr, cvr, 1.0) if first <= n <= last else (1.0, 1.0, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_moves_the_weights_within_bounds_and_its_end_brings_them_back(seed):
    made = live(clickbait(16, 28), seed)
    ctr, cvr, dwell = weights(made).T
    assert moves(made)[0][1] == LOWERED and 17 <= moves(made)[0][0] <= 22
    # each move takes 5 to 10 % of the weight itself; a return gives back no more than it took
    steps = ctr[1:] / ctr[:-1]
    assert all(0.9 - 1e-6 <= s <= 0.95 + 1e-6 for s in steps[steps < 1])
    assert all(s <= 1 / 0.9 + 1e-6 for s in steps)
    assert ctr.min() >= floor(HOME, PARAMS) == 0.42
    np.testing.assert_allclose(ctr + cvr, 0.9, atol=1e-5)
    assert set(dwell) == {0.1}
    # away, then back: the direction changes once, and it ends where it began
    order = [move for _, move in moves(made)]
    assert order == sorted(order) and set(order) == {LOWERED, RESTORED}
    assert made[-1].state.weights == HOME
    # two moves are at least a week apart
    days = [n for n, _ in moves(made)]
    assert min(np.diff(days)) >= 7


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_that_stays_ends_at_the_bound_and_rests_there(seed):
    made = live(clickbait(16, 99), seed)
    # 0.6 -> 0.54 -> 0.486 -> 0.4374 -> 0.42, a week apart
    assert [move for _, move in moves(made)] == [LOWERED] * 4
    assert made[-1].state.weights == Weights(0.42, 0.48, 0.1)
    assert "at its bound" in made[-1].reason


@pytest.mark.parametrize("seed", range(20))
def test_a_quiet_world_moves_nothing(seed):
    assert moves(live(lambda n, _: (1.0, 1.0, 1.0), seed)) == []


@pytest.mark.parametrize(
    "world",
    [
        lambda n, _: (1.2, 1.2, 1.2) if n > 16 else (1.0, 1.0, 1.0),  # all is better
        lambda n, _: (0.8, 0.8, 0.8) if n > 16 else (1.0, 1.0, 1.0),  # all is worse
        lambda n, _: (1.0, 0.7, 1.0) if n > 16 else (1.0, 1.0, 1.0),  # sales fall, clicks do not rise
        lambda n, _: (0.8, 1.2, 1.0) if n > 16 else (1.0, 1.0, 1.0),  # the other way round
        lambda n, _: (1.03, 0.97, 1.0) if n > 16 else (1.0, 1.0, 1.0),  # too small to count
    ],
)
def test_only_clicks_that_rise_while_what_they_lead_to_falls_move_weights(world):
    assert moves(live(world)) == []


def test_dwell_that_falls_gains_dwell_weight_and_both_share():
    made = live(lambda n, _: (1.2, 1.0, 0.7) if n > 16 else (1.0, 1.0, 1.0), days=24)
    assert made[-1].state.weights == Weights(0.54, 0.3, 0.16)
    made = live(lambda n, _: (1.2, 0.7, 0.7) if n > 16 else (1.0, 1.0, 1.0), days=24)
    # the first loss of 10 % is 0.06, in halves
    assert made[-1].state.weights == Weights(0.54, 0.33, 0.13)


@pytest.mark.parametrize("seed", range(5))
def test_weights_that_cure_what_moved_them_do_not_swing(seed):
    """The CTR weight itself makes the shift: a tenth less of it takes a third of the shift away, and back again."""

    def world(n: int, held: Weights) -> tuple[float, float, float]:
        if n <= 16:
            return 1.0, 1.0, 1.0
        left = max(0.0, 1 - (1 - held.ctr / HOME.ctr) / 0.3)
        return 1 + 0.2 * left, 1 - 0.25 * left, 1.0

    made = live(world, seed, days=180)
    pairs = list(zip(moves(made), moves(made)[1:]))
    turns = [n for (_, a), (n, b) in pairs if a != b]
    # in 60 days a return is tried once at most, and undone
    assert sum(n < 60 for n in turns) <= 2 and len(turns) <= 6, moves(made)
    # each way back is thought of for twice as long as the one before: 14 days, 28, 56
    waits = [n - m for (m, a), (n, b) in pairs if (a, b) == (LOWERED, RESTORED)]
    assert all(wait >= 14 * 2**k for k, wait in enumerate(waits)), waits


def test_a_relapse_doubles_the_patience():
    """Two waves: the second comes after a return has begun."""
    waves = [(16, 30), (47, 61)]
    made = live(lambda n, _: (1.2, 0.75, 1.0) if any(a <= n <= b for a, b in waves) else (1.0, 1.0, 1.0), days=120)
    relapsed = next(n for n, d in enumerate(made) if d.state.relapses)
    assert made[relapsed].move == LOWERED and relapsed > 47
    last_away = max(n for n, move in moves(made) if move == LOWERED)
    back = next(n for n, move in moves(made) if move == RESTORED and n > last_away)
    assert back - last_away >= 28


def test_calm_forgets_the_old_week():
    made = live(clickbait(16, 28), days=100)
    assert made[-1].state == State(HOME)
    assert any("forgotten" in d.reason for d in made)


def test_too_little_feedback_is_said_and_moves_nothing():
    few = {day(n): Response(1000, 10, 1, 100.0) for n in range(20)}
    decision = decide(day(19), few, State(HOME), HOME, PARAMS)
    assert (decision.move, decision.state) == (HELD, State(HOME))
    assert "too little was shown" in decision.reason
    assert "too little" in decide(day(5), {}, State(HOME), HOME, PARAMS).reason


def test_without_sales_dwell_alone_is_judged():
    """Articles are read and not bought."""
    history = {day(n): Response(9000, 900 + n, 0, 30.0 * (900 + n)) for n in range(14)}
    assert set(decide(day(13), history, State(HOME), HOME, PARAMS).changes) == {"ctr", "dwell"}


def test_a_person_can_switch_it_off_and_change_the_first_weights():
    away = State(Weights(0.5, 0.4, 0.1), day(9), day(16))
    assert decide(day(30), {}, away, HOME, replace(PARAMS, adjust=False)).state == State(HOME)
    changed = decide(day(30), {}, away, Weights(0.45, 0.45, 0.1), PARAMS)
    assert (changed.move, changed.state.weights) == (RESET, Weights(0.45, 0.45, 0.1))


def test_the_same_days_give_the_same_weights():
    assert live(clickbait(16, 28), 3) == live(clickbait(16, 28), 3)
