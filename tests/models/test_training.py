"""The life of a model in a real registry: trained, compared, promoted or rejected, pinned, re-pinned, rolled back."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from mlflow.models import Model

from jobs import steps
from jobs.catalog import discover
from jobs.cli import main
from jobs.errors import ContractError
from jobs.lake import Lake
from jobs.settings import Market, load_settings, save_market
from models import registry, training
from models.rankers.ranker import CannotGoOn, load
from tests.models.planted import strengths

DAYS = [dt.date(2024, 3, n) for n in (1, 2, 3, 4)]
LAST = DAYS[-1]
OPTIONS = {"models.ranker": {"trees": 15, "depth": 3, "threads": 1, "min_conversions": 50}}


@pytest.fixture
def settings(home):
    """An installation with four days of examples and a registry of its own."""
    save_market(Market("demo", params=OPTIONS))
    settings = load_settings("demo")
    land_examples(settings)
    return settings


def land_examples(settings) -> None:
    """Write four days of planted examples, and what is known of a few items."""
    contract, items = discover().table("training.examples"), discover().table("silver.items")
    lake = Lake(settings)
    known = {"ds": LAST, "arrival_ds": LAST, "content_type": "video"}
    lake.append(items, [known | {"item_id": n, "original_id": str(n)} for n in range(9)])
    for n, ds in enumerate(DAYS):
        rows = strengths(n + 1, 1200).drop_columns(["recent_items", "shown_ds"])
        made = rows.append_column("ds", pa.array([ds] * rows.num_rows)).append_column(
            "shown_ds", pa.array([ds - dt.timedelta(days=1)] * rows.num_rows)
        )
        made = made.append_column("source", pa.array(["impression"] * rows.num_rows))
        first = np.unique(made["user_id"].to_numpy() * 1000 + made["item_id"].to_numpy(), return_index=True)[1]
        lake.append(contract, made.take(pa.array(np.sort(first))).to_pylist())


def state(settings, version: str) -> dict[str, str]:
    api = registry.client(settings)
    return api.get_model_version(registry.model_name(settings), version).tags


def test_a_model_lives(settings):
    api, name = registry.client(settings), registry.model_name(settings)
    assert training.training_due(settings, LAST)
    first = training.train(settings, LAST, "run 1")
    assert first["passed"], first["lines"]

    # what a reviewer finds
    found, card = api.get_model_version(name, first["version"]), registry.card_of(settings, first["version"])
    for part in ("## Gate", "## Purpose", "## Data", "## Features", "## By group, and fairness", "## Limits"):
        assert part in card
    assert card.startswith(found.description.split("\n\nThe whole card")[0]) and "## Gate" in found.description
    assert len(found.description) <= registry.LONGEST_DESCRIPTION
    run = api.get_run(first["mlflow_run"])
    data = {d.dataset.name: d.dataset for d in run.inputs.dataset_inputs}
    parts = {f"training.examples:{part}" for part in ("train", "calibration", "validation")}
    assert set(data) == parts | {"silver.items"}  # DIN's sequences are not read by trees, and there are no groups
    assert json.loads(data["silver.items"].source)["delta_table_version"] == Lake(settings).version("silver.items")
    assert {"auc", "auc_lo", "gauc", "map_at_10", "mrr_at_10", "curve.ctr.valid", "coverage", "gini"} <= set(
        run.data.metrics
    )
    assert len(api.get_metric_history(first["mlflow_run"], "curve.ctr.train")) > 1
    files = {f.path for f in api.list_artifacts(first["mlflow_run"], "ranker")}
    assert {"ranker/gate.json", "ranker/MLmodel", "ranker/input_example.json", "ranker/ctr.ubj"} <= files
    assert "environment.json" in {f.path for f in api.list_artifacts(first["mlflow_run"])}
    plots = {f.path for f in api.list_artifacts(first["mlflow_run"], "plots")}
    assert plots == {f"plots/{n}.png" for n in ("calibration", "gain", "importance", "learning")}

    # promotion, once; the same files are what scores
    assert registry.promote(settings, "1", "looks right", "ada")["champion"] == "1"
    assert registry.promote(settings, "1", "again", "ada") == {"champion": "1", "previous": None}
    assert {"state": "champion", "approver": "ada", "reason": "looks right"}.items() <= state(settings, "1").items()
    pinned = registry.pin(settings, LAST, "night 1")
    assert pinned["version"] == "1"
    assert json.loads((training.Path(pinned["path"]) / "gate.json").read_text())["passed"]

    # a rejection keeps the champion, and its reason
    training.train(settings, LAST, "run 2")
    registry.reject(settings, "2", "too few new items", "ada")
    assert {"state": "rejected", "reason": "too few new items"}.items() <= state(settings, "2").items()
    with pytest.raises(ContractError, match="version 2 is rejected, so it cannot be promoted"):
        registry.promote(settings, "2", "after all")

    # what was compared with another champion is stale
    training.train(settings, LAST, "run 3")
    api.set_registered_model_alias(name, "champion", "2")
    with pytest.raises(ContractError, match="compared with version 1, but 2 is champion now: train again"):
        registry.promote(settings, "3", "passed its gate")
    api.set_registered_model_alias(name, "champion", "1")
    assert registry.promote(settings, "3", "passed its gate") == {"champion": "3", "previous": "1"}
    assert state(settings, "1")["state"] == "previous"

    # a day keeps its pin, until somebody says otherwise and why
    assert registry.pin(settings, LAST, "night 2")["version"] == "1"
    with pytest.raises(ContractError, match="needs a reason"):
        registry.repin(settings, LAST, "3", " ", "repin")
    with pytest.raises(ContractError, match="knows what came after 2024-03-02"):
        registry.repin(settings, DAYS[1], "3", "try", "repin")
    with pytest.raises(ContractError, match="has no version '9'"):
        registry.repin(settings, LAST, "9", "try", "repin")
    with pytest.raises(ContractError, match=r"version 2 was rejected by ada \(too few new items\)"):
        registry.repin(settings, LAST, "2", "try", "repin")
    assert registry.repin(settings, LAST, "2", "the new items have come", "repin", force=True)["version"] == "2"
    assert registry.repin(settings, LAST, "3", "prices were wrong", "repin")["version"] == "3"
    assert registry.pin(settings, LAST, "night 3")["reason"] == "prices were wrong"
    assert registry.repin(settings, LAST, "popularity", "model is down", "repin")["model"] == ""

    # a release that is rolled back takes its model along
    assert registry.restore_champion(settings, "1", "wrong prices") == {"champion": "1", "previous": "3"}
    assert str(registry.champion_of(api, settings).version) == "1"
    assert not training.training_due(settings, LAST)
    assert training.training_due(settings, LAST + dt.timedelta(days=7))


def test_an_installation_set_to_manual_promotes_nothing_by_itself(settings, monkeypatch):
    """Neither `nightjar train` nor `nightjar night` does, nor the first model: a person's word makes a champion."""
    api = registry.client(settings)
    monkeypatch.setenv("NIGHTJAR_PROMOTION", "manual")
    main(["train", "--ds", str(LAST)])
    assert state(settings, "1")["state"] == "challenger" and registry.champion_of(api, settings) is None

    monkeypatch.setattr(steps, "connect", lambda settings: SimpleNamespace(stop=lambda: None))
    monkeypatch.setattr(steps, "fit_rankers", lambda *_: {"version": "1", "passed": True})
    for name in ("landing_complete", "build_days", "training_due", "run_group", "publish_release", "write_report"):
        monkeypatch.setattr(steps, name, lambda *_, **__: True)
    steps.night(str(LAST), "demo", "night 1")
    assert registry.champion_of(api, settings) is None
    assert registry.pin(settings, LAST, "night 2")["version"] == ""  # popularity orders the lists meanwhile

    # one run may be told otherwise, and so may a person
    assert steps.promote("demo", "1", True, "dry_run", approver="ada") == {"champion": None, "refused": False}
    main(["promote", "1", "--reason", "looks right"])
    assert str(registry.champion_of(api, settings).version) == "1"
    monkeypatch.setenv("NIGHTJAR_PROMOTION", "auto")
    assert steps.promote("demo", "1", True) == {"champion": "1", "previous": None}


@pytest.mark.parametrize(
    ("promotion", "champion", "newest", "age", "due"),
    [
        ("auto", None, None, 0, True),
        # a champion: what was trained last has its week, refused, rejected or waiting
        ("auto", 20, "refused", 1, False),
        ("manual", 20, "rejected", 1, False),
        ("manual", 20, "challenger", 6, False),
        ("manual", 20, "challenger", 7, True),
        ("auto", 3, "champion", 3, False),
        ("auto", 7, "champion", 7, True),
        # the champion that a rollback brought back is old; what it took the place of is not
        ("auto", 20, "previous", 2, False),
        # none: the gate's refusal is tried again, a question is not asked twice
        ("auto", None, "refused", 1, True),
        ("manual", None, "refused", 1, True),
        ("manual", None, "challenger", 1, False),
        ("manual", None, "rejected", 1, False),
        ("dry_run", None, "challenger", 1, False),
        # the gate promotes at once: a version that passed and is no champion had its night cut off
        ("auto", None, "challenger", 1, True),
        ("auto", 20, "challenger", 0, True),
        ("auto", 20, "challenger", 1, False),
        ("manual", 20, "challenger", 0, False),
    ],
)
def test_training_waits_for_its_week_whatever_came_of_the_newest(
    settings, monkeypatch, promotion, champion, newest, age, due
):
    def version(days, state):
        return SimpleNamespace(tags={"data_until": str(LAST - dt.timedelta(days=days)), "state": state})

    monkeypatch.setattr(registry, "client", lambda settings: None)
    monkeypatch.setattr(registry, "champion_of", lambda *_: None if champion is None else version(champion, "champion"))
    monkeypatch.setattr(registry, "newest_of", lambda *_: None if newest is None else version(age, newest))
    assert training.training_due(replace(settings, promotion=promotion), LAST) is due


def test_drift_is_that_since_the_newest_was_trained(settings, monkeypatch):
    lake, contract = Lake(settings), discover().table("audit.drift")
    newest = SimpleNamespace(tags={"data_until": str(DAYS[1]), "state": "refused"})
    monkeypatch.setattr(registry, "client", lambda settings: None)
    monkeypatch.setattr(registry, "champion_of", lambda *_: SimpleNamespace(tags={"data_until": str(DAYS[0])}))
    monkeypatch.setattr(registry, "newest_of", lambda *_: newest)

    def drifted(ds, features):
        verdicts = ["drift" if n < features else "ok" for n in range(5)]
        of = {"ds": ds, "table": "features.item_stats"}
        lake.append(contract, [of | {"feature": f"f{n}", "verdict": v} for n, v in enumerate(verdicts)])

    drifted(DAYS[1], 5)  # seen by the newest, though not by the champion
    assert not training.training_due(settings, DAYS[2])
    drifted(DAYS[2], 1)  # one feature of five is a fifth
    assert training.training_due(settings, DAYS[2])


def test_a_fit_goes_on_from_the_champion_or_says_why_not(settings):
    def options(**more):
        return replace(settings, market=replace(settings.market, params={"models.ranker": {**usual, **more}}))

    usual = OPTIONS["models.ranker"]
    with pytest.raises(CannotGoOn, match="There is no champion to go on from"):
        training.train(settings, LAST, "run", warm=True)
    training.train(options(warm=True), DAYS[2], "run 1")
    assert state(settings, "1")["started_from"].startswith("nothing: There is no champion")
    registry.promote(settings, "1", "passed its gate")

    # the champion's 15 trees at most, and those of a day more
    training.train(settings, LAST, "run 2", warm=True)
    api = registry.client(settings)
    old, new = (registry.load_version(settings, api, version).boosters["ctr"] for version in ("1", "2"))
    kept = old.num_boosted_rounds()
    assert new.num_boosted_rounds() > kept and new[:kept].get_dump() == old.get_dump()
    assert state(settings, "2")["started_from"] == "version 1"
    assert "Started from: version 1." in registry.card_of(settings, "2")

    # refused for a person, and recorded where the market's option cannot be followed
    with pytest.raises(CannotGoOn, match=r"version 1, was fitted with other parameters \(depth, seed\): fit anew"):
        training.train(options(depth=4, seed=8), LAST, "run", warm=True)
    training.train(options(depth=4, warm=True), LAST, "run 3")
    assert "was fitted with other parameters (depth)" in state(settings, "3")["started_from"]
    training.train(settings, LAST, "run 4")
    assert state(settings, "4")["started_from"] == "nothing"
    registry.promote(settings, "4", "passed its gate")
    with pytest.raises(CannotGoOn, match="version 4, knows the days to 2024-03-04, which judge here"):
        training.train(settings, DAYS[2], "run", warm=True)
    with pytest.raises(CannotGoOn, match="version 4, is a xgb, and a deepfm is trained"):
        market = replace(settings.market, params={"models.ranker": {"ranker": "deepfm"}})
        training.train(replace(settings, market=market), LAST, "run", warm=True)


def test_a_pinned_model_is_what_was_pinned_or_is_not_opened(settings):
    training.train(settings, LAST, "run 1")
    registry.promote(settings, "1", "passed its gate")
    pin = registry.pin(settings, LAST, "night 1")
    folder = Path(pin["path"])
    scores = load(folder).score(strengths(3))
    assert steps.open_model(settings, pin) == folder

    # gone, and an installation that has moved: fetched again, the same to the byte
    shutil.rmtree(folder)
    assert registry.open_pin(settings, pin) == folder
    moved = pin | {"path": f"/nowhere/{folder.name}"}
    found = registry.open_pin(settings, moved)
    assert found == folder
    assert all((load(found).score(strengths(3))[head] == values).all() for head, values in scores.items())

    # changed: neither opened nor fetched over, neither by its pin nor as champion
    (folder / "calibration.json").write_text("{}")
    with pytest.raises(ContractError, match="does not hold the files that were recorded .* delete it, and it is fetch"):
        registry.open_pin(settings, pin)
    with pytest.raises(ContractError, match="does not hold the files that were recorded"):
        registry.load_version(settings, registry.client(settings), "1")

    # gone here and in MLflow
    shutil.rmtree(folder)
    shutil.rmtree(settings.home / "mlartifacts")
    with pytest.raises(ContractError, match="The files of nightjar_demo_ranker version 1 cannot be fetched from MLfl"):
        registry.open_pin(settings, pin)
    assert not list(folder.parent.iterdir())


def test_an_unknown_ranker_or_option_is_named(settings):
    market = replace(settings.market, params={"models.ranker": {"ranker": "svm"}})
    with pytest.raises(ContractError, match="There is no ranker 'svm'"):
        training.chosen(replace(settings, market=market))
    market = replace(settings.market, params={"models.ranker": {"ranker": "din", "trees": 3}})
    with pytest.raises(ContractError, match=r"unknown option \['trees'\]"):
        training.chosen(replace(settings, market=market))


def test_cases_that_a_ranker_answers_for_are_replayed_up_to_the_day(settings):
    lake, contract = Lake(settings), discover().table("audit.badcase")
    assert training.confirmed_cases(settings, LAST).to_pylist() == []
    layers = ("ranking", "content", "policy", "candidates", "delivery")
    for ds in DAYS:
        lake.append(contract, [{"ds": ds, "case_id": 10 * ds.day + n, "layer": of} for n, of in enumerate(layers)])
    assert sorted(training.confirmed_cases(settings, DAYS[1]).to_pylist()) == [10, 11, 20, 21]


def test_skew_is_judged_on_the_last_day_that_can_tell(settings):
    lake, contract = Lake(settings), discover().table("audit.skew")
    assert training.skewed_features(settings, LAST) is None
    verdicts = {"a": ("skew", "healed"), "b": ("skew", "ok"), "c": ("ok", "skew"), "d": ("healed", "healed")}
    for n, ds in enumerate(DAYS[-2:]):
        rows = [{"ds": ds, "feature": f, "known_ds": DAYS[0], "verdict": of[n]} for f, of in verdicts.items()]
        lake.append(contract, rows)
    assert training.skewed_features(settings, LAST) == ["a", "c"]
    assert training.skewed_features(settings, DAYS[-2]) == ["a", "b"]


def test_a_sequence_is_that_of_the_evening_before_the_showing(settings):
    lake, contract = Lake(settings), discover().table("features.user_sequence")
    # the newest item tells the day: 11 for the first of March, 12 for the second
    past = {"user_id": 1, "last_ms": [2, 1], "strengths": [1.0, 1.0], "length": 2}
    lake.append(contract, [{"ds": ds, **past, "items": [10 + ds.day, 5]} for ds in DAYS[:2]])
    shown = pa.table({"shown_ds": pa.array([DAYS[1], DAYS[2], DAYS[2]]), "user_id": [1, 1, 2]})
    found = training._with_sequences(lake, shown.take([1, 0, 2]), None)  # in any order of days
    assert found["recent_items"].to_pylist() == [[12, 5], [11, 5], None]


def test_a_run_on_sequences_names_them_among_its_data_and_inputs(settings):
    lake, contract = Lake(settings), discover().table("features.user_sequence")
    past = {"items": [7, 5], "last_ms": [2, 1], "strengths": [1.0, 1.0], "length": 2}
    for ds in DAYS:
        lake.append(contract, [{"ds": ds - dt.timedelta(days=2), "user_id": n, **past} for n in range(100)])
    options = {"ranker": "din", "buckets": 64, "width": 2, "layers": [4], "epochs": 1, "min_conversions": 50}
    market = replace(settings.market, params={"models.ranker": options})
    made = training.train(replace(settings, market=market), LAST, "run 1")
    api = registry.client(settings)
    inputs = {d.dataset.name: d.dataset for d in api.get_run(made["mlflow_run"]).inputs.dataset_inputs}
    assert json.loads(inputs["features.user_sequence"].source)["delta_table_version"] == 4
    folder = registry.fetch(settings, api, made["version"])
    types = {c.name: str(c.type) for c in Model.load(str(folder / "MLmodel")).signature.inputs.inputs}
    assert types["recent_items"] == "Array(long)" and types["item_id"] == "DataType.long"
    assert set(types) == set(load(folder).features) | {"recent_items", "item_id"}
    assert json.loads((folder / "input_example.json").read_text())["data"][0][-1] in ([7, 5], None)


def test_a_network_whose_loss_diverges_is_registered_and_refused_by_name(settings):
    """Steps of 1e30 overflow what a float32 holds, so that weights, loss and scores are no numbers."""
    options = {"ranker": "deepfm", "buckets": 64, "width": 2, "layers": [4], "learning_rate": 1e30}
    market = replace(settings.market, params={"models.ranker": options | {"min_conversions": 50}})
    made = training.train(replace(settings, market=market), LAST, "run 1")
    kept = registry.load_version(settings, registry.client(settings), made["version"])
    assert kept.facts["diverged"] and kept.facts["epochs"] == 1
    assert np.isnan(kept.raw(strengths(3))["pctr"]).all() and "pctr" not in kept.calibration
    lines = {line["metric"]: line for line in made["lines"]}
    assert not made["passed"] and (lines["finite"]["value"], lines["finite"]["passed"]) == (0.0, False)
    assert state(settings, made["version"])["state"] == "refused"


def test_what_is_published_meanwhile_is_not_read_and_what_was_read_is_recorded(settings, monkeypatch):
    lake, catalog = Lake(settings), discover()
    examples, version_of, before = catalog.table("training.examples"), Lake.version, training.training_set
    expected = before(settings, LAST)

    def publish_then(self, table):
        version = version_of(self, table)
        if table == "training.examples":
            # a night comes between the look at the version and the rows
            lake.append(examples, lake.rows("training.examples", ds=[LAST]).to_pylist())
            lake.append(
                catalog.table("silver.items"), [{"ds": LAST, "arrival_ds": LAST, "item_id": 99, "original_id": "99"}]
            )
        return version

    items = version_of(lake, "silver.items")
    monkeypatch.setattr(Lake, "version", publish_then)
    found = training.training_set(settings, LAST)
    assert found.held.equals(expected.held) and found.train.equals(expected.train)
    assert found.versions == {"training.examples": 4, "silver.items": items + 1}


def test_a_set_beyond_its_size_is_thinned_to_some_people_with_all_of_their_rows(settings):
    whole = training.training_set(settings, LAST)
    total = sum(part.num_rows for part in (whole.train, whole.valid, whole.held))
    thin = training.training_set(settings, LAST, most=total // 4)
    assert (whole.people, thin.people) == (1.0, pytest.approx(0.25, abs=0.01))
    people = set(thin.train["user_id"].to_pylist())
    # 100 people in all, each drawn with a chance of a quarter: 25, give or take three deviations of 4.3
    assert 12 <= len(people) <= 38
    for part, of in ((thin.train, whole.train), (thin.valid, whole.valid), (thin.held, whole.held)):
        assert part.equals(of.filter(pc.is_in(of["user_id"], pa.array(sorted(people)))))


def test_a_model_says_which_share_of_people_it_was_trained_on(settings):
    market = replace(settings.market, params={"models.ranker": OPTIONS["models.ranker"] | {"max_rows": 2000}})
    made = training.train(replace(settings, market=market), LAST, "run 1")
    tags = state(settings, made["version"])
    share = float(tags["share_of_people"])
    assert 0.3 < share < 0.6 and f"those of {100 * share:.1f} % of people" in made["card"]
    market = replace(settings.market, params={"models.ranker": {"max_rows": "many"}})
    with pytest.raises(ContractError, match="models.ranker: option max_rows is 'many', but must be like its default"):
        training.train(replace(settings, market=market), LAST, "run 2")
    market = replace(settings.market, params={"models.ranker": {"max_rows": 0}})
    with pytest.raises(ContractError, match="models.ranker: max_rows is 0, it must be above 0"):
        training.train(replace(settings, market=market), LAST, "run 2")
