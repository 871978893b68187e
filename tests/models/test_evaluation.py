"""Figures of held-out lists by hand, and their intervals over users."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from models import evaluation
from models.evaluation import of_groups, resampled
from models.rankers.xgb import XgbRanker
from quality.metrics.auc import auc
from tests.models.planted import strengths


class Given(XgbRanker):
    """A ranker whose pCTR is a given column."""

    heads = ("pctr",)

    def raw(self, columns):
        return {"pctr": columns["_pctr"].to_numpy()}


# three people: a hit in second place, none, and hits in first and third
GROUP = np.array([0, 0, 0, 1, 1, 2, 2, 2])
LABEL = np.array([0, 1, 0, 0, 0, 1, 0, 1])
SCORE = np.array([3.0, 2.0, 1.0, 5.0, 4.0, 9.0, 8.0, 7.0])


@pytest.mark.parametrize(
    ("metric", "k", "expected"),
    [
        # (1 / log2 3) / 1, and (1 + 1 / log2 4) / (1 + 1 / log2 3)
        ("ndcg", 10, [0.6309297535714575, np.nan, 1.5 / (1 + 0.6309297535714575)]),
        ("recall", 2, [1.0, np.nan, 0.5]),
        # precision at the hits: 1/2; and (1/1 + 2/3) / 2
        ("map", 10, [0.5, np.nan, 5 / 6]),
        ("mrr", 10, [0.5, np.nan, 1.0]),
        ("hit_rate", 1, [0.0, np.nan, 1.0]),
    ],
)
def test_a_metric_of_lists_by_hand(metric, k, expected):
    np.testing.assert_allclose(of_groups(metric, LABEL, SCORE, GROUP, k), expected)


def test_rows_of_a_user_stay_together_and_who_is_drawn_twice_is_two_people():
    seen = []

    def keep(at, users):
        seen.append((at, users))
        return 0.0

    resampled({"x": keep}, GROUP)
    *drawn, (whole, _) = seen
    assert len(drawn) == evaluation.BOOTSTRAPS and whole.tolist() == list(range(8))
    for at, users in drawn:
        people = [at[users == user] for user in np.unique(users)]
        assert len(people) == 3
        assert all(rows.tolist() == np.flatnonzero(GROUP[rows[0]] == GROUP).tolist() for rows in people)
    assert any(len(np.unique(GROUP[at])) < 3 for at, _ in drawn)


def test_an_interval_is_as_wide_as_theory_says():
    # 400 people with one row each: the mean of 0 and 1 errs by sqrt(p q / 400) = 0.02 at p = 0.2
    label = np.arange(400) % 5 == 0
    figure = resampled({"rate": lambda at, users: label[at].mean()}, np.arange(400))["rate"]
    assert figure.value == pytest.approx(0.2)
    assert (figure.lo, figure.hi) == pytest.approx((0.2 - 1.96 * 0.02, 0.2 + 1.96 * 0.02), abs=0.008)


def test_an_interval_stays_within_what_can_be():
    # one of 30 people is ordered wrongly: a symmetric interval would end beyond 1
    label, score = np.tile([1, 0], 30), np.tile([0.9, 0.1], 30)
    score[:2] = [0.1, 0.9]
    figure = resampled({"auc": lambda at, users: auc(label[at], score[at])}, np.repeat(np.arange(30), 2))["auc"]
    assert figure.lo < figure.value < figure.hi <= 1.0
    assert 2 * figure.value - figure.lo > 1


def test_a_figure_that_cannot_be_said_has_no_interval():
    figure = resampled({"auc": lambda at, users: auc(np.zeros(8)[at], SCORE[at])}, GROUP)["auc"]
    assert np.isnan([figure.value, figure.lo, figure.hi]).all()


def test_figures_of_exposure_lie_within_their_intervals():
    # a bootstrap would draw some lists twice and others never: less covered, and more unequal, than what is shown
    held, rng = strengths(3, 3000), np.random.default_rng(1)
    held = held.append_column("_pctr", pa.array(rng.random(3000)))
    figures = evaluation.evaluate(Given(), held).figures
    for name in ("coverage", "gini", "long_tail"):
        assert 0 <= figures[name].lo <= figures[name].value <= figures[name].hi <= 1, name


def test_many_rows_are_drawn_less_often(monkeypatch):
    drawn = []
    monkeypatch.setattr(evaluation, "ROWS_RESAMPLED", 800)
    resampled({"x": lambda at, users: drawn.append(len(at)) or 0.0}, np.arange(10))
    assert len(drawn) == 80 + 1
