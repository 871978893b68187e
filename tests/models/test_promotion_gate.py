"""What must not be promoted is refused, by the line that says why."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

from models import training
from models.evaluation import FUSED, GROUP, evaluate
from models.promotion_gate import Params, gate, passed
from models.rankers import xgb
from models.rankers.xgb import XgbParams, XgbRanker
from tests.models.planted import strengths

SMALL = XgbParams(trees=15, depth=3, threads=1, min_conversions=50)
FEW = Params(min_group=30, min_rows_per_s=0)
ROWS = 3000


def refused(lines) -> list[str]:
    return sorted({line.metric for line in lines if line.fails and not line.passed})


class Oracle(XgbRanker):
    """A ranker whose pCTR is a given column: what is judged is the gate, not a fit."""

    def raw(self, columns):
        return {"pctr": columns["_pctr"].to_numpy().astype(float)}

    @property
    def heads(self):
        return ("pctr",)


def judged(held: pa.Table, pctr: np.ndarray, **more):
    return dataclasses.replace(evaluate(Oracle(), held.append_column("_pctr", pa.array(pctr))), **more)


def true_chance(held: pa.Table) -> np.ndarray:
    return 1 / (1 + np.exp(6 - 3 * held["pair_strength"].to_numpy().astype(float)))


@pytest.fixture(scope="module")
def held() -> pa.Table:
    """Showings whose users are of two groups."""
    table = strengths(3, ROWS)
    group = np.where(table["user_id"].to_numpy() % 5 == 0, "few", "many")
    return table.append_column(GROUP + "region", pa.array(group))


@pytest.fixture(scope="module")
def good(held):
    return judged(held, true_chance(held))


def test_an_honest_ranker_passes_alone_and_against_itself(good):
    assert refused(gate(good, None, FEW)) == []
    lines = gate(good, good, FEW, skewed=[])
    assert passed(lines)
    assert {"finite", "auc", "calibration_error", "ndcg_at_10", "feature_auc", "size_mb", "rows_per_s"} <= {
        line.metric for line in lines
    }
    assert {"coverage", "gini", "long_tail", "skew", "ndcg_at_10 - champion"} <= {line.metric for line in lines}
    assert "region=few" in {line.slice for line in lines if line.metric == "ndcg_at_10 - champion by group"}


def test_shuffled_labels_are_refused():
    rng = np.random.default_rng(5)
    shuffled = []
    for table in (strengths(seed, ROWS) for seed in (1, 2, 3)):
        labels = pa.array(rng.permutation(table["label"].to_numpy()))
        shuffled.append(table.set_column(table.schema.get_field_index("label"), "label", labels))
    assert "auc" in refused(gate(evaluate(xgb.fit(*shuffled[:2], SMALL), shuffled[2]), None, FEW))


def test_a_diverged_fit_is_refused(held):
    assert "finite" in refused(gate(judged(held, np.full(ROWS, np.nan)), None, FEW))


def test_constant_scores_are_refused(held):
    rate = held["label"].to_numpy().mean()
    assert "auc" in refused(gate(judged(held, np.full(ROWS, rate)), None, FEW))


def test_a_leak_is_refused_and_named(held):
    # what was clicked afterwards has found its way into a feature
    at = held.schema.get_field_index("user_clicks_1d")
    leaked = held.set_column(at, "user_clicks_1d", held["label"].cast(pa.float32()))
    lines = gate(judged(leaked, leaked["label"].to_numpy() * 0.98 + 0.01), None, FEW)
    assert refused(lines) == ["feature_auc"]
    assert [line.slice for line in lines if line.metric == "feature_auc"] == ["user_clicks_1d"]


def test_better_overall_and_worse_for_one_group_is_refused(held):
    few = held[GROUP + "region"].to_numpy(zero_copy_only=False) == "few"
    rng = np.random.default_rng(11)
    chance, noise = true_chance(held), rng.random(ROWS)
    # the champion knows the few and little of the many; the challenger knows the many alone
    champion = judged(held, np.where(few, chance, 0.1 * chance + 0.9 * noise))
    challenger = judged(held, np.where(few, noise, chance))
    assert challenger.figures["ndcg_at_10"].value > champion.figures["ndcg_at_10"].value
    lines = gate(challenger, champion, dataclasses.replace(FEW, max_calibration_gap=1, max_calibration_error=1))
    assert refused(lines) == ["ndcg_at_10 - champion by group"]
    assert {line.slice for line in lines if line.fails and not line.passed} == {"region=few"}


def test_a_group_that_is_judged_wrongly_is_refused(held):
    few = held[GROUP + "region"].to_numpy(zero_copy_only=False) == "few"
    lines = gate(judged(held, np.clip(true_chance(held) + 0.1 * few, 0, 1)), None, FEW)
    assert refused(lines) == ["calibration_gap"]
    assert [line.slice for line in lines if not line.passed and line.fails] == ["region=few"]


@pytest.mark.parametrize(
    ("change", "metric"),
    [
        ({"size_mb": 500.0}, "size_mb"),
        ({"finite": 0.99}, "finite"),
    ],
)
def test_a_limit_refuses_by_itself(good, change, metric):
    assert refused(gate(dataclasses.replace(good, **change), None, FEW)) == [metric]


@pytest.mark.parametrize(("name", "value"), [("coverage", 0.1), ("gini", 0.9), ("long_tail", 0.01)])
def test_narrower_lists_than_the_champions_are_refused(good, name, value):
    figure = dataclasses.replace(good.figures[name], value=value)
    narrow = dataclasses.replace(good, figures=good.figures | {name: figure})
    assert refused(gate(narrow, good, FEW)) == [name]


def test_uneven_coverage_of_groups_is_refused(good):
    few = good.groups["region"] == "few"
    lines = gate(dataclasses.replace(good, covered=~few), None, FEW)
    assert refused(lines) == ["coverage_gap"]
    assert [line.slice for line in lines if line.metric == "coverage_gap" and not line.passed] == [
        "region: many over few"
    ]


def test_skewed_features_are_named(good):
    lines = gate(good, None, FEW, skewed=["pair_strength", "user_ctr_28d"])
    assert refused(lines) == ["skew"]
    assert lines[-1].slice == "pair_strength, user_ctr_28d"


def test_skew_that_was_not_judged_is_said_and_not_passed(good):
    (line,) = [line for line in gate(good, None, FEW) if line.metric == "skew"]
    assert (line.passed, line.fails) == (False, False)
    assert line.why == "audit.skew has judged no day of the last week: one is needed, so nothing was judged"
    (line,) = [line for line in gate(good, None, FEW, skewed=[]) if line.metric == "skew"]
    assert line.passed and line.fails


def test_slow_scoring_is_a_warning_only(good):
    lines = gate(dataclasses.replace(good, rows_per_s=10.0), None, dataclasses.replace(FEW, min_rows_per_s=1000))
    assert [line.metric for line in lines if not line.passed] == ["rows_per_s", "regression.replay", "skew"]
    assert passed(lines)


def test_small_groups_are_not_judged(good):
    lines = gate(good, good, dataclasses.replace(FEW, min_group=10_000))
    assert not [line for line in lines if line.metric in ("calibration_gap", "coverage_gap")]


# -- past bad cases ------------------------------------------------------------------------------


EVERY = pa.array(range(4 * ROWS), pa.int64())


def with_cases(table: pa.Table, named: np.ndarray, first: int = 0) -> pa.Table:
    """Rows of which some are bad cases that should not have been shown."""
    case = pa.array(first + np.arange(table.num_rows), pa.int64(), mask=~named)
    label = pa.array(np.where(named, 0, table["label"].to_numpy()))
    return table.set_column(table.schema.get_field_index("label"), "label", label).append_column("case_id", case)


@pytest.fixture(scope="module")
def replayed_days():
    """Three days; in every list the likeliest row is a case, as what was shown thrice without a click may be."""
    parts = []
    for seed in (1, 2, 3):
        table = strengths(seed, ROWS)
        user, chance = table["user_id"].to_numpy(), true_chance(table)
        best = np.zeros(ROWS, bool)
        best[[at[np.argmax(chance[at])] for at in (np.flatnonzero(user == u) for u in np.unique(user))]] = True
        parts.append(with_cases(table, best, first=seed * ROWS))
    return training.Data(*parts, versions={})


def scored_by(data: training.Data, of) -> training.Data:
    parts = [part.append_column("_pctr", pa.array(of(part))) for part in (data.train, data.valid, data.held)]
    return dataclasses.replace(data, train=parts[0], valid=parts[1], held=parts[2])


def is_case(part: pa.Table) -> np.ndarray:
    return part["case_id"].is_valid().to_numpy()


def test_a_model_that_puts_bad_cases_back_is_refused_and_one_that_learnt_from_them_is_not(good, replayed_days):
    unmoved = scored_by(replayed_days, true_chance)
    learnt = scored_by(replayed_days, lambda part: np.where(is_case(part), 0.01, true_chance(part)))
    bad, mended = (training.replay_cases(Oracle(), data, EVERY) for data in (unmoved, learnt))
    # 250 lists a day, each with one case
    assert (bad.n, bad.repeated, mended.n, mended.repeated) == (750, 1.0, 750, 0.0)
    lines = gate(good, None, FEW, replayed=bad)
    assert refused(lines) == ["regression.replay"]
    (line,) = [line for line in lines if line.metric == "regression.replay"]
    assert line.value > 0.99 and "of 750 past bad cases" in line.why and "100% measured" in line.why
    assert passed(gate(good, None, FEW, replayed=mended)) and passed(gate(good, good, FEW, replayed=mended))
    # a limit of the market's own
    assert passed(gate(good, None, dataclasses.replace(FEW, max_repeated=1.0), replayed=bad))


def test_what_no_ranker_answers_for_is_neither_judged_nor_judged_against(replayed_days):
    data = scored_by(replayed_days, true_chance)
    cases = data.held["case_id"].drop_null().combine_chunks()
    found = training.replay_cases(Oracle(), data, cases.slice(0, 30))
    assert (found.n, found.repeated) == (30, 1.0)
    assert training.replay_cases(Oracle(), data, cases.slice(0, 0)).n == 0


def test_a_fit_on_its_cases_does_not_repeat_them(replayed_days):
    rows = [part.append_column("_", pa.array(is_case(part))) for part in (replayed_days.train, replayed_days.valid)]
    # what made them cases can be seen: the person asked not to see them
    seen = [
        part.set_column(
            part.schema.get_field_index("pair_impressions"), "pair_impressions", part["_"].cast(pa.float32())
        )
        for part in rows
    ]
    fitted = xgb.fit(*seen, SMALL)
    data = dataclasses.replace(replayed_days, train=seen[0], valid=seen[1], held=seen[1].slice(0, 0))
    found = training.replay_cases(fitted, data, EVERY)
    assert found.n == 500 and found.repeated < 0.05


@pytest.mark.parametrize("cases", [0, 19])
def test_too_few_cases_are_said_and_not_passed(good, replayed_days, cases):
    named = np.zeros(ROWS, bool)
    named[np.flatnonzero(is_case(replayed_days.train))[:cases]] = True
    few = with_cases(replayed_days.train.drop_columns(["case_id"]), named)
    data = scored_by(training.Data(few, few.slice(0, 0), few.slice(0, 0), {}), true_chance)
    found = training.replay_cases(Oracle(), data, EVERY)
    assert found.n == cases
    (line,) = [x for x in gate(good, None, FEW, replayed=found) if x.metric == "regression.replay"]
    assert (line.passed, line.fails) == (False, False)
    assert line.why == f"{cases} past bad cases are too few to replay: 20 are needed, so nothing was judged"


class Parts(XgbRanker):
    """A ranker whose heads are given columns."""

    def raw(self, columns):
        return {head: columns[f"_{head}"].to_numpy().astype(float) for head in self.heads}

    @property
    def heads(self):
        return ("pctr", "pcvr", "rank")


def test_the_order_that_is_served_is_judged_and_not_a_head_alone(held):
    """LambdaMART and pCTR of the challenger are the truth; its pCVR turns lists upside down."""
    chance = true_chance(held)
    rows = held.append_column("_pctr", pa.array(chance)).append_column("_rank", pa.array(chance))
    sound = evaluate(Parts(), rows.append_column("_pcvr", pa.array(0.5 * chance)), order=FUSED)
    reversed_ = rows.append_column("_pcvr", pa.array(chance * np.clip((1 - chance) ** 9, 1e-6, 1)))
    # the heads by themselves order as well as before
    assert refused(gate(evaluate(Parts(), reversed_), sound, FEW)) == []
    served = evaluate(Parts(), reversed_, order=FUSED)
    assert served.figures["ndcg_at_10_lambdamart"] == sound.figures["ndcg_at_10_lambdamart"]
    assert "ndcg_at_10 - champion" in refused(gate(served, sound, FEW))
