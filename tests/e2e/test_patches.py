"""Feedback and takedowns leave what is served within minutes; a rollback does not bring them back."""

import contextlib
import gzip
import json
import shutil
from datetime import date
from pathlib import Path

import pytest

from jobs import feedback, releases, steps, takedown
from jobs.explain import explain
from jobs.landing import INTRADAY, incomplete
from jobs.ops import FEEDBACK
from jobs.quarantine import deliver
from jobs.settings import load_settings
from tests.e2e.conftest import NEXT, NIGHT, BuiltWorld

pytestmark = pytest.mark.slow
ORIGINALS = {"user": ("silver.users", "user_id"), "item": ("silver.items", "item_id")}
SERVED = ("serving.recommendations", "serving.fallback", "serving.similar_items")


@pytest.fixture(scope="module")
def served(world, tmp_path_factory):
    """A copy of the built world, with the next day's files landed, to change what is served in."""
    home = tmp_path_factory.mktemp("served") / "home"
    shutil.copytree(world.home, home)
    with pytest.MonkeyPatch.context() as patch:
        copy = BuiltWorld(home, None)
        copy.enter(patch)
        yield BuiltWorld(home, load_settings("demo"))


def rows(served, table, release=None):
    release = release or releases.current(served.lake)
    return served.lake.rows(table, ds=release["ds"], release_id=release["release_id"]).to_pandas()


def blocked_by_hand(served):
    """Pairs that people asked not to see again on the day after the night, straight from the landed files."""
    folder = served.settings.landing / "demo" / "events" / f"ds={NEXT}"
    wanted, found = ("not_interested", "dislike", "already_purchased"), []
    for path in sorted(folder.glob("*.jsonl*")):
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        for line in content.decode(errors="replace").splitlines():
            with contextlib.suppress(ValueError, AttributeError):  # planted faults
                row = json.loads(line)
                found += [(row.get("user_id"), row.get("item_id"))] if row.get("action") in wanted else []
    return found


def keys(served, table, column):
    known = served.lake.rows(table, [column, "original_id"], ds=NIGHT).to_pandas()
    return known.set_index("original_id")[column]


@pytest.fixture(scope="module")
def night(served):
    """The release of the night, before any test changes what is served."""
    return releases.current(served.lake)


def refusal(served, number, user, item):
    """An event of the day after the night: a person does not want to see an item again."""
    names = {kind: named(served, *of) for kind, of in ORIGINALS.items()}
    return {
        "event_id": f"intraday-{number}",
        "user_id": names["user"][user],
        "item_id": names["item"][item],
        "at": f"{NEXT}T09:00:00Z",
        "action": "not_interested",
    }


def land(served, folder, events):
    path = folder / "events.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return feedback.land(served.settings, path)


@pytest.fixture(scope="module")
def patched(served, night, tmp_path_factory):
    """The first look at feedback; three people refuse what stands first in their lists."""
    first = rows(served, "serving.recommendations", night).query("rank == 1").sort_values("user_id").head(3)
    refusals = [refusal(served, n, u, i) for n, (u, i) in enumerate(zip(first["user_id"], first["item_id"]))]
    assert land(served, tmp_path_factory.mktemp("refusals"), refusals) == 3
    return steps.apply_feedback("demo", "feedback-1")


def test_a_patch_is_a_release_of_its_own_that_keeps_model_and_index(served, night, patched):
    now = releases.current(served.lake)
    assert now["kind"] == "patch" and now["release_id"] == patched["release_id"] != night["release_id"]
    assert now["base_release_id"] == night["release_id"]
    used = {name: Path(folder) for name, folder in json.loads(night["artifacts"]).items()}
    assert {"models.als", "models.item_index", "models.item2vec", "models.neighbours", "models.shelf"} <= set(used)
    assert all(folder.is_dir() for folder in used.values()) and str(used["models.item_index"]) == night["index_path"]
    kept = ("ds", "model", "model_version", "index_path", "artifacts")
    assert [now[name] for name in kept] == [night[name] for name in kept]


def test_what_people_no_longer_want_is_gone_and_replaced(served, night, patched):
    users, items = keys(served, "silver.users", "user_id"), keys(served, "silver.items", "item_id")
    pairs = {(users[u], items[i]) for u, i in blocked_by_hand(served) if u in users.index and i in items.index}
    before, after = (rows(served, "serving.recommendations", r) for r in (night, releases.current(served.lake)))
    shown = {name: set(zip(frame["user_id"], frame["item_id"])) for name, frame in (("old", before), ("new", after))}
    assert shown["old"] & pairs, "nobody refused what was served, so the test says nothing"
    assert not shown["new"] & pairs
    sizes = before.groupby("user_id").size()
    # who withdrew consent has no list any longer; all others have as long a one as before
    assert after.groupby("user_id").size().equals(sizes[after["user_id"].unique()].sort_index())
    assert (after["reasons"].str.len() > 0).all()


def test_whom_people_follow_is_told_under_every_row_of_theirs_the_replaced_ones_too(served, night, patched):
    made_by = served.lake.rows("silver.items", ["item_id", "creator_id"], ds=NIGHT).to_pylist()
    creator = {row["item_id"]: row["creator_id"] for row in made_by}
    follows = {(r["user_id"], r["creator_id"]) for r in served.lake.rows("features.user_follows", ds=NIGHT).to_pylist()}
    before, after = (rows(served, "serving.recommendations", r) for r in (night, releases.current(served.lake)))
    found = [
        ((row.user_id, creator[row.item_id]) in follows, any(told["code"] == "followed" for told in row.reasons))
        for row in (*before.itertuples(), *after.itertuples())
    ]
    assert any(theirs for theirs, _ in found) and all(theirs == told for theirs, told in found)


def _as_shown(of_user):
    ordered = of_user.sort_values(["surface", "rank"])
    return list(zip(ordered["surface"], ordered["rank"], ordered["item_id"], ordered["score"]))


def test_lists_that_hold_nothing_excluded_stay_as_they_are(served, night, patched):
    before, after = (
        rows(served, "serving.recommendations", r).groupby("user_id").apply(_as_shown, include_groups=False)
        for r in (night, releases.current(served.lake))
    )
    changed = [user for user in before.index if user not in after.index or before[user] != after[user]]
    assert 0 < len(changed) <= patched["users"] < len(before)
    for table in ("serving.fallback", "serving.similar_items"):
        assert len(rows(served, table, night)) == len(rows(served, table))


def test_a_second_look_finds_nothing_new_without_spark(served, patched, monkeypatch):
    monkeypatch.setenv("NIGHTJAR_SPARK", "sc://127.0.0.1:1")
    assert steps.apply_feedback("demo", "feedback-2") == {
        "release_id": patched["release_id"],
        "users": 0,
        "new": False,
    }


def test_a_block_that_is_delivered_during_the_day_is_applied(served, patched, tmp_path):
    first = rows(served, "serving.recommendations").sort_values(["user_id", "rank"]).iloc[0]
    assert land(served, tmp_path, [refusal(served, "later", first["user_id"], first["item_id"])]) == 1
    made = steps.apply_feedback("demo", "feedback-3")
    after = rows(served, "serving.recommendations")
    of_user = after[after["user_id"] == first["user_id"]]
    assert made["users"] == 1
    assert first["item_id"] not in set(of_user["item_id"]) and len(of_user) == 20
    assert incomplete(served.settings.landing, "demo", first["ds"]) == []


def named(served, table, column):
    return {key: name for name, key in keys(served, table, column).items()}


@pytest.fixture(scope="module")
def withdrawn(served, patched, tmp_path_factory):
    """A user with lists of his own, who withdraws consent during the day."""
    user = int(rows(served, "serving.recommendations")["user_id"].max())
    name = named(served, "silver.users", "user_id")[user]
    said = {"user_id": name, "purpose": "personalisation", "granted": False, "at": f"{NEXT}T09:00:00Z"}
    path = tmp_path_factory.mktemp("withdrawn") / "consent.jsonl"
    path.write_text(json.dumps(said) + "\n")
    assert deliver(served.settings, "silver.consent", date.fromisoformat(NEXT), path, INTRADAY) == 1
    assert steps.apply_feedback("demo", "feedback-4")["users"] == 1
    return user


def test_who_withdraws_consent_during_the_day_has_no_list_of_their_own(served, withdrawn):
    for table in ("serving.recommendations", "serving.decision_log", "serving.category_boosts"):
        assert withdrawn not in set(rows(served, table)["user_id"]), table
    name = named(served, "silver.users", "user_id")[withdrawn]
    assert not explain(served.settings, name, None, "feed")["user"]["consents"]


def test_what_was_refused_during_the_day_is_told_so(served, patched):
    (first, *_), wanted = (
        refused_first(served),
        "refused it, blocked its creator or bought it since the lists were made",
    )
    assert explain(served.settings, *first, "feed")["verdict"] == f"It is not in a list of the user's own: {wanted}."


def refused_first(served):
    """The pairs of source ids that `patched` refused."""
    folder = served.settings.landing / "demo" / "events" / f"ds={NEXT}"
    found = [json.loads(line) for path in folder.glob(f"{INTRADAY}*.jsonl") for line in path.read_text().splitlines()]
    return [(row["user_id"], row["item_id"]) for row in found if row["event_id"].startswith("intraday-")]


def test_a_takedown_leaves_every_served_table_and_stays_away_after_a_rollback(served, night, withdrawn):
    shown = rows(served, "serving.recommendations")["item_id"].value_counts()
    item = shown.index[0]
    steps.take_down("demo", "takedown-1", named(served, "silver.items", "item_id")[item], "recalled by its maker")
    now = releases.current(served.lake)
    assert now["kind"] == "patch" and "recalled by its maker" in now["reason"]
    before = {table: rows(served, table, now) for table in SERVED}
    back = steps.rollback("demo", "back-1", night["release_id"], "a test")
    assert (back["kind"], back["base_release_id"]) == ("rollback", night["release_id"])
    assert releases.current(served.lake)["sequence"] == back["sequence"]
    for table in SERVED:
        for frame in (before[table], rows(served, table)):
            columns = [c for c in ("item_id", "similar_item_id") if c in frame]
            assert len(frame) and not frame[columns].isin([item]).any(axis=None), table


def test_a_rollback_knows_what_people_refused_and_withdrew_since(served, night, withdrawn):
    users, items = keys(served, "silver.users", "user_id"), keys(served, "silver.items", "item_id")
    pairs = {(users[u], items[i]) for u, i in blocked_by_hand(served) if u in users.index and i in items.index}
    old, new = rows(served, "serving.recommendations", night), rows(served, "serving.recommendations")
    assert releases.current(served.lake)["kind"] == "rollback"
    assert pairs & set(zip(old["user_id"], old["item_id"])) and not pairs & set(zip(new["user_id"], new["item_id"]))
    assert withdrawn in set(old["user_id"]) and withdrawn not in set(new["user_id"])
    # a look finds nothing that the rollback left
    assert not steps.apply_feedback("demo", "feedback-5")["new"]


def test_a_takedown_while_a_night_runs_holds_for_its_release(served, night, patched):
    steps.run_group("serving", NIGHT, "demo", "night-2")
    item = rows(served, "serving.recommendations")["item_id"].value_counts().index[0]
    takedown.order(served.settings, named(served, "silver.items", "item_id")[item], "recalled", "takedown-2")
    steps.publish_release(NIGHT, "demo", "night-2")
    now = releases.current(served.lake)
    assert (now["kind"], now["reason"]) == ("patch", "taken down while the lists were made")
    for table in SERVED:
        frame = rows(served, table)
        columns = [c for c in ("item_id", "similar_item_id") if c in frame]
        assert len(frame) and not frame[columns].isin([item]).any(axis=None), table


def test_every_look_is_in_the_log(served, patched):
    looks = served.lake.rows(FEEDBACK.name).to_pandas()
    assert (looks["seconds"] > 0).all() and (looks["files"] > 0).all()
    assert looks["users"].max() >= patched["users"] > 0
