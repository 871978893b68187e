"""The half-life: its score by hand, planted ones found, and whether tomorrow is forecast better."""

from __future__ import annotations

import datetime as dt
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from features.half_life import CONTRACT, Params, build, tuned
from jobs.contract import DayRange
from jobs.errors import ContractError
from jobs.runner import conform

SCHEMA = "ds date, user_id bigint, clicks int, targets int, purchases int, logins int"
DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "completejourney"
FIRST = dt.date(2024, 1, 1)
GRID = Params().half_lives


def scores(frame, *rows, ds="2024-03-10", **params):
    made = build(frame(SCHEMA, list(rows)), days=DayRange.day(ds), params=Params(**params))
    return {(r["half_life_days"], r["prior_percent"]): r for r in conform(CONTRACT, made).collect()}


def test_a_day_is_scored_by_who_acted_given_how_much(frame):
    found = scores(
        frame,
        ("2024-03-09", 1, 2, 0, 0, 0),  # yesterday: 2
        ("2024-03-08", 2, 3, 0, 0, 1),  # a day before: (3 + 1) / 2 = 2 at a half-life of 1, 2.83 at 2
        ("2024-03-08", 1, 4, 0, 0, 0),  # and 4 / 2 = 2 more: 4 in all
        ("2024-03-10", 1, 9, 3, 0, 0),
        ("2024-03-10", 2, 9, 1, 0, 0),
        ("2024-03-10", 3, 9, 9, 0, 0),  # not seen before: no half-life can know
        half_lives=(1,),
        prior_percents=(100,),
    )
    # mean of 4 and 2 is 3; shares (4/3 + 1) / 4 = 7/12 and (2/3 + 1) / 4 = 5/12; 3 targets and 1
    assert found[1, 100]["log_likelihood"] == pytest.approx(3 * math.log(7 / 12) + math.log(5 / 12), abs=1e-6)
    assert (found[1, 100]["targets"], found[1, 100]["users"]) == (4, 2)


def test_every_candidate_has_a_row_and_shares_add_up(frame):
    rows = [(f"2024-03-{d:02}", u, u, 0, 0, 0) for d in (1, 5, 9) for u in (1, 2, 3)]
    found = scores(frame, *rows, ("2024-03-10", 2, 0, 1, 0, 0), half_lives=(1, 7), prior_percents=(10, 50))
    assert set(found) == {(1, 10), (1, 50), (7, 10), (7, 50)}
    # user 2 has 2 of 6 parts and is the mean user under any half-life: a share of 1/3
    assert {round(r["log_likelihood"], 5) for r in found.values()} == {round(math.log(1 / 3), 5)}


def test_where_nobody_acted_before_all_are_equal(frame):
    rows = [("2024-03-09", 1, 0, 0, 0, 0), ("2024-03-09", 2, 0, 0, 0, 0), ("2024-03-10", 1, 0, 2, 0, 0)]
    assert scores(frame, *rows, half_lives=(3,))[3, 10]["log_likelihood"] == pytest.approx(2 * math.log(0.5), abs=1e-6)


def test_only_28_days_before_are_read(frame):
    # 10 February is 29 days before 10 March, 11 February 28
    found = scores(frame, ("2024-02-10", 1, 1, 0, 0, 0), ("2024-02-11", 2, 1, 0, 0, 0), half_lives=(7,))
    assert found[7, 10]["users"] == 1


def test_a_first_day_and_an_empty_one_score_nothing(frame):
    assert scores(frame, ("2024-03-10", 1, 5, 5, 0, 0)) == {}
    assert scores(frame) == {}


@pytest.mark.parametrize("wrong", [{"half_lives": ()}, {"half_lives": (0,)}, {"prior_percents": (5, 5)}])
def test_the_grid_is_of_different_whole_numbers(wrong):
    with pytest.raises(ContractError, match="must be different whole numbers"):
        Params(**wrong)


# -- tuning ----------------------------------------------------------------------------------------


def self_exciting(half_life: float, users: int = 300, days: int = 120, seed: int = 5) -> np.ndarray:
    """Clicks by user and day, each day Poisson around 90 % own decayed mean and 10 % the mean user's."""
    rng = np.random.default_rng(seed)
    weights = 0.5 ** (np.arange(28) / half_life)
    weights /= weights.sum()
    clicks = np.zeros((users, days))
    clicks[:, :28] = rng.poisson(3.0 * rng.lognormal(0, 0.8, users)[:, None] / np.exp(0.32), (users, 28))
    for day in range(28, days):
        own = clicks[:, day - 28 : day][:, ::-1] @ weights
        clicks[:, day] = rng.poisson(0.9 * own + 0.1 * 3.0)
    return clicks.astype(np.int32)


def daily(spark, clicks: np.ndarray, first: dt.date):
    """The rows of ``silver.user_daily`` that a matrix of targets by user and day makes."""
    user, day = np.nonzero(clicks)
    n = clicks[user, day].astype(np.int32)
    rows = pd.DataFrame(
        {
            "day": day.astype(np.int32),
            "user_id": user.astype(np.int64),
            "clicks": np.zeros_like(n),
            "targets": n,
            "purchases": np.zeros_like(n),
            "logins": np.zeros_like(n),
        }
    )
    return spark.createDataFrame(rows).selectExpr(f"date_add(DATE'{first}', day) AS ds", "* EXCEPT (day)")


def scored(spark, clicks: np.ndarray, days: DayRange, first: dt.date = FIRST):
    """Scores of a range of days as a pandas frame."""
    return build(daily(spark, clicks, first), days=days, params=Params()).toPandas()


def choice(scored: pd.DataFrame, days: DayRange) -> tuple[int, int]:
    """The best half-life and weight of the mean user over some days."""
    within = scored[(scored.ds >= days.first) & (scored.ds <= days.last)]
    return within.groupby(["half_life_days", "prior_percent"]).log_likelihood.sum().idxmax()


def gain(scored: pd.DataFrame, train: DayRange, held_out: DayRange, fixed: int = 7) -> tuple[int, float]:
    """The half-life of the training days, and by how many nats a target it beats the fixed one on later days.

    The fixed half-life gets its own best weight of the mean user, so that only the half-life differs.
    """
    best = choice(scored, train)
    of_fixed = choice(scored[scored.half_life_days == fixed], train)
    later = scored[(scored.ds >= held_out.first) & (scored.ds <= held_out.last)]
    by = later.groupby(["half_life_days", "prior_percent"])
    return best[0], (by.log_likelihood.sum()[best] - by.log_likelihood.sum()[of_fixed]) / by.targets.sum()[best]


def span(start: int, length: int, first: dt.date = FIRST) -> DayRange:
    return DayRange(first + dt.timedelta(days=start), first + dt.timedelta(days=start + length - 1))


@pytest.mark.parametrize("planted", [2, 5, 14])
def test_a_planted_half_life_is_found_and_forecasts_better_than_7_days(spark, planted):
    clicks = self_exciting(planted)
    found = scored(spark, clicks, span(78, 42))
    chosen, better = gain(found, span(78, 28), span(106, 14))
    assert abs(GRID.index(chosen) - GRID.index(planted)) <= 1
    assert better > 0
    rows = spark.createDataFrame(found).withColumn("ds", F.col("ds").cast("date"))
    picked = {str(r["ds"]): r["half_life_days"] for r in tuned(rows, span(105, 1), 500).collect()}
    assert picked == {str(span(105, 1).last): float(chosen)}


@pytest.mark.skipif(not DATA.exists(), reason=f"{DATA} is absent")
def test_on_real_shopping_the_tuned_half_life_forecasts_better_than_7_days(spark):
    lines = pd.read_csv(DATA / "transactions.csv.gz", usecols=["household_id", "transaction_timestamp"])
    at = pd.to_datetime(lines.transaction_timestamp, utc=True).dt.tz_convert("America/New_York")
    first = dt.date(2017, 1, 1)
    day = (at.dt.tz_localize(None).dt.normalize() - pd.Timestamp(first)).dt.days.to_numpy()
    users, user = np.unique(lines.household_id.to_numpy(), return_inverse=True)
    lines_of = np.zeros((len(users), day.max() + 1), dtype=np.int32)
    np.add.at(lines_of, (user, day), 1)
    gains = []
    for start in (60, 200):
        found = scored(spark, lines_of[:, start - 30 : start + 56], span(30, 56, first), first)
        gains.append(gain(found, span(30, 28, first), span(58, 28, first)))
    # households buy at a steady pace: the slower the better, and by a few hundredths of a nat a line
    assert all(chosen > 7 and better > 0 for chosen, better in gains), gains


def test_the_tuned_half_life_of_a_range_is_that_of_its_days(frame):
    rows = [(f"2024-03-{d:02}", h, 10, -float((d * h * 7) % 11), 40) for d in range(1, 12) for h in (2, 5, 9)]
    made = frame("ds date, half_life_days int, prior_percent int, log_likelihood double, targets bigint", rows)
    days = DayRange(dt.date(2024, 3, 8), dt.date(2024, 3, 11))
    once = sorted(tuned(made, days, 100).collect())
    assert once == [r for d in days for r in tuned(made.where(f"ds <= DATE'{d}'"), DayRange.day(d), 100).collect()]
    assert len(once) == 4
    assert tuned(made, days, 10_000).collect() == []
