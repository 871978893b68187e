"""Health: lines from the same weekday, scores, and an index whose weights are visible."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from jobs.contract import make_params
from jobs.errors import ContractError
from quality import health
from quality.health import ALL, Params, figures

SUNDAY = dt.date(2024, 3, 31)
ONE_OF_EACH = Params(
    weights={m: 0.0 for part in health.FIGURES.values() for m in part if m not in ("dau", "gini", "gmv")}
)


def course(value, weeks=8, of=lambda day: 100.0):
    """Values of the days before and of the day itself."""
    past = {SUNDAY - dt.timedelta(days=n): (of(SUNDAY - dt.timedelta(days=n)), 500) for n in range(1, 7 * weeks + 1)}
    return past | {SUNDAY: (value, 500)}


def judged(metric, value, params=None, place=(ALL, ALL), **more):
    rows = figures({(metric, *place): course(value, **more)}, SUNDAY, params or Params())
    return next(r for r in rows if r["metric"] == metric and (r["dimension"], r["value_group"]) == place)


def test_a_day_like_those_before_is_well():
    row = judged("dau", 100.0)
    assert (row["verdict"], row["score"], row["median"], row["basis"], row["history"]) == ("ok", 100, 100, "weekday", 8)
    # nothing ever moved, so the line is 10 % away
    assert (row["low"], row["high"]) == (90, 110)


@pytest.mark.parametrize(
    ("value", "verdict", "score"), [(120, "ok", 100), (95, "ok", 75), (90, "ok", 50), (89, "warn", 45), (70, "warn", 0)]
)
def test_the_score_falls_to_half_at_the_line(value, verdict, score):
    row = judged("dau", float(value))
    assert (row["verdict"], row["score"]) == (verdict, pytest.approx(score))


def test_where_less_is_better_more_warns():
    assert judged("negative_feedback_rate", 0.2, of=lambda day: 0.1)["verdict"] == "warn"
    assert judged("negative_feedback_rate", 0.01, of=lambda day: 0.1)["verdict"] == "ok"


def test_traffic_of_creators_warns_on_both_sides_and_has_no_score():
    for value in (50.0, 150.0):
        row = judged("creator_traffic", value)
        assert row["verdict"] == "warn" and row["score"] is None


def test_a_quiet_sunday_is_held_against_sundays():
    def quiet(day):
        return 60.0 if day.weekday() == 6 else 100.0

    row = judged("dau", 60.0, of=quiet)
    assert (row["verdict"], row["median"]) == ("ok", 60)
    # with two Sundays all days are the past, and a quiet Sunday is still no reason to warn twice
    row = judged("dau", 60.0, weeks=2, of=quiet)
    assert (row["basis"], row["history"], row["median"]) == ("days", 14, 100)


def test_noise_widens_the_lines():
    # Sundays of 80, 120, 80, 120 ...: median 100, deviation 20, four of it times 1.4826
    row = judged("dau", 0.0, of=lambda day: 80.0 + 40.0 * ((day - dt.date(2024, 1, 7)).days // 7 % 2))
    assert row["low"] == pytest.approx(100 - 4 * 1.4826 * 20) and row["verdict"] == "ok"


def test_too_short_a_past_has_no_line():
    past = {("dau", ALL, ALL): {SUNDAY - dt.timedelta(days=n): (100.0, 9) for n in range(7)}}
    row = next(r for r in figures(past, SUNDAY, Params()) if r["metric"] == "dau")
    assert row["verdict"] == "no_history" and row.get("low") is None and row["history"] == 6


def test_a_small_segment_is_too_small_and_a_large_one_is_judged():
    assert judged("creator_growth", 1.0, Params(least_n=501), ("stage", "head"))["verdict"] == "too_small"
    assert judged("creator_growth", 1.0, Params(), ("stage", "head"))["verdict"] == "warn"


def test_what_the_data_cannot_say_is_said():
    rows = {r["metric"]: r for r in figures({}, SUNDAY, Params()) if r["dimension"] == ALL}
    assert rows["fill_rate"]["verdict"] == rows["ecpm"]["verdict"] == "not_known"
    assert "no feed has revenue of ads" in rows["ecpm"]["why"]
    assert rows["nps"]["why"] == "its source has no row on the day"
    assert rows["index"]["value"] is None and rows["index"]["verdict"] == "no_history"


def test_the_index_is_the_weighted_mean_of_parts_and_they_of_figures():
    past = {
        ("dau", ALL, ALL): course(90.0),  # at its line: 50
        ("gini", ALL, ALL): course(100.0),  # 100
        ("gmv", ALL, ALL): course(95.0),  # half way to its line: 75
    }
    rows = [r for r in figures(past, SUNDAY, ONE_OF_EACH) if r["metric"] == "index"]
    parts = {r["value_group"]: (r["value"], r["weight"], r["n"]) for r in rows}
    assert parts["users"] == (pytest.approx(50), 0.4, 1)
    assert parts["business"] == (pytest.approx(75), 0.3, 1)
    # 0.4 x 50 + 0.3 x 100 + 0.3 x 75
    assert parts[ALL][0] == pytest.approx(72.5)


def fallen(value, figures_of, **params):
    """Index rows of a Sunday on which the named figures fall from 100, where they always were, to a value."""
    past = {(m, ALL, ALL): course(value if m in figures_of else 100.0, weeks=16) for m in ("dau", "nps", "gini", "gmv")}
    weights = {m: 0.0 for part in health.FIGURES.values() for m in part if (m, ALL, ALL) not in past}
    rows = figures(past, SUNDAY, Params(weights=weights, **params))
    return {r["value_group"]: r for r in rows if r["metric"] == "index"}


def test_an_index_below_its_own_past_warns():
    # dau and nps twice as far as their lines: users are at 0, the index at 0.4 x 0 + 0.6 x 100
    rows = fallen(80.0, ("dau", "nps"))
    all_, users = rows[ALL], rows["users"]
    assert (all_["value"], all_["score"], all_["median"], all_["low"]) == (60, 60, 100, pytest.approx(90))
    assert (all_["verdict"], all_["basis"], all_["history"]) == ("warn", "weekday", 8)
    assert all_["why"] == "below its line, which 8 same weekdays before draw"
    # a part may move by a fifth
    assert (users["value"], users["verdict"], users["low"]) == (0, "warn", pytest.approx(80))
    assert rows["business"]["verdict"] == rows["ecosystem"]["verdict"] == "ok"


def test_an_index_that_falls_by_little_is_well():
    # half way to its line: users are at (75 + 100) / 2, the index 5 below 100
    rows = fallen(95.0, ("dau",))
    assert (rows[ALL]["value"], rows["users"]["value"]) == (pytest.approx(95), pytest.approx(87.5))
    assert {r["verdict"] for r in rows.values()} == {"ok"}
    # a tenth is what the others' lines have
    assert fallen(95.0, ("dau",), least_part_change=0.1)["users"]["verdict"] == "warn"


def test_an_index_whose_figures_have_had_lines_for_less_than_a_week_has_none():
    past = {("dau", ALL, ALL): {SUNDAY - dt.timedelta(days=n): (100.0, 9) for n in range(14)}}
    row = next(r for r in figures(past, SUNDAY, Params()) if r["metric"] == "index" and r["dimension"] == ALL)
    # of 13 days before the first seven have no score
    assert (row["value"], row["history"], row["verdict"]) == (100, 6, "no_history")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"weights": {"npss": 0}}, r"weights names \['npss'\], which it does not know; it knows .*'nps'"),
        ({"parts": {"user": 1.0}}, r"parts names \['user'\].*\['business', 'ecosystem', 'users'\]"),
        ({"weights": {"nps": "0"}}, "weights of nps is '0', but must be 0 or a number above"),
        ({"weights": {"nps": -1}}, "weights of nps is -1"),
    ],
)
def test_a_weight_of_nothing_known_is_refused(options, said):
    with pytest.raises(ContractError, match=said):
        make_params(Params, options, "market shop, params of audit.health")


def test_a_part_without_scores_leaves_the_others_their_weight():
    past = {("dau", ALL, ALL): course(90.0), ("gmv", ALL, ALL): course(100.0)}
    index = [r for r in figures(past, SUNDAY, Params()) if r["metric"] == "index" and r["dimension"] == ALL]
    # 0.4 x 50 + 0.3 x 100, by 0.7
    assert index[0]["value"] == pytest.approx(50 / 0.7)


def test_thirty_quiet_nights_warn_less_than_once_in_a_hundred_figures():
    rng = np.random.default_rng(5)
    days = [SUNDAY - dt.timedelta(days=n) for n in range(30 + health.HISTORY)]
    warned = judgements = 0
    for metric in [m for part in health.FIGURES.values() for m in part]:
        of = {day: (float(v), 500) for day, v in zip(days, 100 * rng.lognormal(0, 0.05, len(days)))}
        for night in days[:30]:
            past = {day: v for day, v in of.items() if day <= night}
            row = next(r for r in figures({(metric, ALL, ALL): past}, night, Params()) if r["metric"] == metric)
            judgements += 1
            warned += row["verdict"] == "warn"
    assert judgements == 30 * sum(map(len, health.FIGURES.values())) and warned / judgements < 0.01
