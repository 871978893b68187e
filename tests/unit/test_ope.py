"""Off-policy estimators: on a bandit whose policies' values are known, and on a log of a real shop."""

from __future__ import annotations

import doctest
import gzip
import importlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jobs.errors import ContractError, EvidenceError
from quality.intervals import difference
from quality.ope import Least, Log, check_evidence, discover_estimators, estimate, ratio_of_sums

ESTIMATORS = discover_estimators()
OBD = Path(__file__).resolve().parents[3] / "shared" / "data" / "obd-small"
CONTEXTS, ACTIONS = 12, 5


class Bandit:
    """Contexts with known click probabilities, a logging policy and one to be judged."""

    def __init__(self, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.reward = rng.uniform(0.05, 0.5, (CONTEXTS, ACTIONS))
        self.logging = rng.dirichlet(np.full(ACTIONS, 2.0), CONTEXTS)
        self.judged = 0.3 / ACTIONS + 0.7 * np.eye(ACTIONS)[self.reward.argmax(axis=1)]
        self.value = float((self.judged * self.reward).sum(axis=1).mean())

    def log(self, rng: np.random.Generator, n: int, model: np.ndarray) -> Log:
        context = rng.integers(0, CONTEXTS, n)
        cumulative = self.logging.cumsum(axis=1)
        action = np.minimum((cumulative[context] < rng.random(n)[:, None]).sum(axis=1), ACTIONS - 1)
        return Log(
            reward=(rng.random(n) < self.reward[context, action]).astype(float),
            propensity=self.logging[context, action],
            target=self.judged[context, action],
            predicted=model[context, action],
            policy_value=(self.judged * model).sum(axis=1)[context],
        )


@pytest.fixture(scope="module")
def bandit() -> Bandit:
    return Bandit()


@pytest.mark.parametrize("name", ["quality.ope", *(f"quality.ope.{name}" for name in ESTIMATORS)])
def test_the_examples_of_the_docstrings_hold(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted and not found.failed


def test_every_file_is_an_estimator():
    assert set(ESTIMATORS) == {"dm", "dr", "ips", "snips"}


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_intervals_cover_the_known_value(bandit, name):
    rng = np.random.default_rng(2)
    wrong = np.full((CONTEXTS, ACTIONS), 0.4)
    covered = 0
    for _ in range(400):
        found = estimate(ESTIMATORS[name], bandit.log(rng, 1500, wrong))
        covered += found.low <= bandit.value <= found.high
    # 95 % of 400, give or take four standard errors of 1.1 %
    assert 0.906 <= covered / 400 <= 0.994


def test_the_direct_method_is_as_good_as_its_model_and_doubly_robust_is_not_misled(bandit):
    rng = np.random.default_rng(3)
    right = bandit.log(rng, 40_000, bandit.reward)
    assert estimate(ESTIMATORS["dm"], right).value == pytest.approx(bandit.value, abs=0.003)
    wrong = bandit.log(rng, 40_000, bandit.reward + 0.2)
    assert estimate(ESTIMATORS["dm"], wrong).low > bandit.value + 0.15
    robust = estimate(ESTIMATORS["dr"], wrong)
    assert robust.low <= bandit.value <= robust.high


def test_a_good_model_makes_doubly_robust_narrower_than_ips(bandit):
    log = bandit.log(np.random.default_rng(4), 5000, bandit.reward)
    robust, plain = (estimate(ESTIMATORS[name], log) for name in ("dr", "ips"))
    assert robust.high - robust.low < 0.9 * (plain.high - plain.low)


OBP = (
    ("ips", math.inf, 0.35594731192086815),
    ("snips", math.inf, 0.3637982928754289),
    ("dm", math.inf, 0.30808478544461987),
    ("dr", math.inf, 0.36283527981672514),
    ("ips", 2.0, 0.2534202528551884),
    ("dr", 2.0, 0.3523357078615518),
)
"""Estimator, clip and value of obp 0.5.5 on the log ``compared``; ``tests/unit/values_of_obp.py`` makes them again."""


def compared() -> Log:
    bandit = Bandit()
    return bandit.log(np.random.default_rng(2), 3000, 0.8 * bandit.reward)


@pytest.mark.parametrize(("name", "clip", "expected"), OBP)
def test_values_are_those_of_the_open_bandit_pipeline(name, clip, expected):
    log = replace(compared(), clip=clip)
    assert estimate(ESTIMATORS[name], log).value == pytest.approx(expected, rel=1e-12)


def test_judging_the_logging_policy_gives_its_own_mean(bandit):
    log = bandit.log(np.random.default_rng(5), 2000, bandit.reward)
    same = replace(log, target=log.propensity)
    for name in ("ips", "snips"):
        assert estimate(ESTIMATORS[name], same).value == pytest.approx(log.reward.mean())
    assert same.effective_size == pytest.approx(2000)


def test_clipping_bounds_weights_and_says_what_it_took(bandit):
    log = bandit.log(np.random.default_rng(6), 5000, bandit.reward)
    clipped = replace(log, clip=2.0)
    assert clipped.weight.max() == 2.0
    assert clipped.effective_size > log.effective_size
    assert clipped.clipped_share == pytest.approx(1 - clipped.weight.sum() / log.weight.sum())
    # rewards are at most 1, so the estimate falls by no more than the weight that is gone
    fall = estimate(ESTIMATORS["ips"], log).value - estimate(ESTIMATORS["ips"], clipped).value
    assert 0 < fall <= clipped.clipped_share * log.raw_weight.mean()


def test_rows_of_one_person_count_as_one():
    rng = np.random.default_rng(7)
    people = np.repeat(np.arange(200), 20)
    reward = (rng.random(4000) < np.repeat(rng.beta(0.5, 2, 200), 20)).astype(float)
    _, low, high = ratio_of_sums(reward, np.ones(4000), people)
    _, naive_low, naive_high = ratio_of_sums(reward, np.ones(4000))
    means = reward.reshape(200, 20).mean(axis=1)
    assert high - low == pytest.approx(2 * 1.97196 * means.std(ddof=1) / np.sqrt(200), rel=1e-4)
    assert high - low > 1.5 * (naive_high - naive_low)


def test_a_small_sample_is_refused(bandit):
    log = bandit.log(np.random.default_rng(8), 60, bandit.reward)
    with pytest.raises(EvidenceError, match="60 units, fewer than 100"):
        estimate(ESTIMATORS["snips"], log)


def test_a_policy_that_the_log_never_follows_is_refused():
    # the log shows item 0 always; the policy would show it in half of the cases only
    log = Log(np.ones(500), np.ones(500), np.full(500, 0.5))
    with pytest.raises(EvidenceError, match="mean weight is 0.50"):
        check_evidence(log, Least())


def test_a_few_rows_that_carry_all_weight_are_refused():
    target = np.where(np.arange(1000) < 10, 1.0, 0.0)
    log = Log(np.ones(1000), np.where(target > 0, 0.01, 0.99), target)
    with pytest.raises(EvidenceError, match="effective sample size is 10 of 1000 rows"):
        check_evidence(log, Least())


def test_estimators_that_need_a_model_say_so():
    log = Log(np.ones(500), np.ones(500), np.ones(500))
    for name in ("dm", "dr"):
        with pytest.raises(EvidenceError, match="predictions"):
            estimate(ESTIMATORS[name], log)


def test_a_log_that_cannot_be_is_refused():
    with pytest.raises(ContractError, match="outside"):
        Log(np.ones(2), np.array([0.5, 0.0]), np.ones(2))
    with pytest.raises(ContractError, match="2 rewards and 3 values of target"):
        Log(np.ones(2), np.ones(2), np.ones(3))


# -- the Open Bandit Dataset: two policies that ran side by side in a shop ----------------------------


def shop_log(policy: str, campaign: str) -> pd.DataFrame:
    path = OBD / policy / campaign / f"{campaign}.csv.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there: it is a data set that is kept apart from the sources")
    with gzip.open(path, "rt") as file:
        return pd.read_csv(file, index_col=0)


def policy_of(log: pd.DataFrame) -> pd.Series:
    """The learned policy by position: how often it showed each item in the week."""
    counts = log.groupby(["position", "item_id"]).size()
    return counts / counts.groupby(level="position").transform("sum")


def item_model(log: pd.DataFrame) -> pd.Series:
    """Click rate of each item, drawn to the overall rate by a prior of 200 showings."""
    clicks = log.groupby("item_id")["click"].agg(["sum", "size"])
    return (clicks["sum"] + 200 * log["click"].mean()) / (clicks["size"] + 200)


@pytest.mark.parametrize("campaign", ["men", "women"])
def test_the_random_log_predicts_what_the_learned_policy_earned(campaign):
    random, learned = shop_log("random", campaign), shop_log("bts", campaign)
    # the policy and the model come from the other log and the other half, so that no row judges itself
    policy, half = policy_of(learned), np.arange(len(random)) % 2
    models = {own: item_model(random[half != own]) for own in (0, 1)}
    value = {
        (own, position): float((policy[position] * model.reindex(policy[position].index)).sum())
        for own, model in models.items()
        for position in (1, 2, 3)
    }
    at = pd.MultiIndex.from_frame(random[["position", "item_id"]])
    log = Log(
        reward=random["click"].to_numpy(float),
        propensity=random["propensity_score"].to_numpy(),
        target=policy.reindex(at).fillna(0.0).to_numpy(),
        predicted=np.where(half, models[1].reindex(random["item_id"]), models[0].reindex(random["item_id"])),
        policy_value=np.array([value[own, p] for own, p in zip(half, random["position"], strict=True)]),
    )
    earned = ratio_of_sums(learned["click"].to_numpy(float), np.ones(len(learned)))
    for name in ("ips", "snips", "dr"):
        found = estimate(ESTIMATORS[name], log)
        # 46 clicks in 10,000 showings: the interval is wide, and it holds what really happened
        assert found.low <= earned[0] <= found.high, name
        assert found.low > 0 and found.high < 0.02, name
        _, low, high = difference((found.value, found.low, found.high), earned)
        assert low <= 0 <= high, name
