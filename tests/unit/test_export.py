"""What is exported is what is served: every user on every surface, by original ids, in three forms."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from jobs.errors import PublishError, SettingsError
from jobs.export import WRITERS, export
from jobs.lake import Lake
from jobs.published import current_lists
from jobs.settings import Market, Settings
from tests.unit.served_world import ANNA, BERT, CARL, DAY, DETAIL, REASON, RELEASE, listed, plant, served, shared

LISTS = {
    ("anna", "feed"): (["i2", "i1"], "personal"),
    ("bert", "feed"): (["i6"], "region=south"),
    ("carl", "feed"): (["i5", "i6"], "everyone"),
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return served(tmp_path_factory.mktemp("served"))


def read_parquet(folder, name):
    return pq.read_table(folder / f"{name}.parquet").to_pylist()


def read_jsonl(folder, name):
    lines = [json.loads(line) for line in (folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = []
    for line in lines:
        entries = line.pop("rows")
        rows += [line | entry for entry in entries]
    return [{k: json.dumps(v, ensure_ascii=False) if k == "reasons" else v for k, v in row.items()} for row in rows]


def read_sqlite(folder, name):
    with closing(sqlite3.connect(folder / "lists.sqlite")) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(f"SELECT * FROM {name}")]


READERS = {"parquet": read_parquet, "jsonl": read_jsonl, "sqlite": read_sqlite}


@pytest.mark.parametrize("form", WRITERS)
def test_every_user_has_a_list_on_every_surface(settings, tmp_path, form):
    manifest = export(settings, tmp_path / "out", form)
    found: dict = {}
    for row in READERS[form](tmp_path / "out", "recommendations"):
        found.setdefault((row["user_id"], row["surface"]), []).append(row)
        assert row["release_id"] == RELEASE
        assert json.loads(row["reasons"]) == REASON and row["slot_type"] == "organic" and row["detail"] == DETAIL
        # a shared list is in the market's language, and made for no context
        own = row["source"] == "personal"
        assert (row["language"], row["context"]) == (("zh", "weekend") if own else ("en", None))
    assert {k: ([r["item_id"] for r in rows], rows[0]["source"]) for k, rows in found.items()} == LISTS
    assert all([r["rank"] for r in rows] == list(range(1, len(rows) + 1)) for rows in found.values())
    assert manifest["users"] == 3 and manifest["rows"] == {
        "recommendations": 5,
        "similar_items": 1,
        "category_boosts": 1,
    }


@pytest.mark.parametrize("form", WRITERS)
def test_pages_of_items_and_factors_of_search_go_with_it(settings, tmp_path, form):
    export(settings, tmp_path / "out", form)
    (similar,) = READERS[form](tmp_path / "out", "similar_items")
    assert (similar["item_id"], similar["similar_item_id"], similar["source"]) == ("i0", "i1", "together")
    (boost,) = READERS[form](tmp_path / "out", "category_boosts")
    assert (boost["user_id"], boost["category"], boost["boost"]) == ("anna", "a", 1.5)


@pytest.mark.parametrize("form", WRITERS)
def test_the_manifest_describes_the_files(settings, tmp_path, form):
    made = export(settings, tmp_path / "out", form)
    kept = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert kept == json.loads(json.dumps(made))
    assert kept["release_id"] == RELEASE and kept["model_version"] == "2"
    names = {f["name"]: f for f in kept["files"]}
    assert set(names) | {"manifest.json"} == {path.name for path in (tmp_path / "out").iterdir()}
    for name, said in names.items():
        content = (tmp_path / "out" / name).read_bytes()
        assert (said["bytes"], said["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    assert sum(f["rows"] for f in kept["files"]) == 7


def test_a_service_reads_one_list_from_sqlite_by_its_key(settings, tmp_path):
    export(settings, tmp_path / "out", "sqlite")
    query = "SELECT item_id FROM recommendations WHERE user_id = ? AND surface = ? ORDER BY rank"
    with closing(sqlite3.connect(f"file:{tmp_path}/out/lists.sqlite?mode=ro", uri=True)) as database:
        assert [row[0] for row in database.execute(query, ("carl", "feed"))] == ["i5", "i6"]
        plan = " ".join(str(row) for row in database.execute(f"EXPLAIN QUERY PLAN {query}", ("carl", "feed")))
    assert "SEARCH recommendations USING PRIMARY KEY" in plan and "TEMP B-TREE" not in plan


def test_what_a_user_refused_is_left_out_of_the_list_of_the_segment(tmp_path):
    settings = served(tmp_path)
    lake, settings = Lake(settings), replace(settings, market=Market("shop", repeat_categories=("b",)))
    # rank 2 is kept for ads; i0 to i3 are of category a, i4 to i7 of b
    rows = shared("everyone", [10, 14, 11, 15, 12, 13], "home", ranks=(1, 3, 4, 5, 6, 7), spare=2)
    plant(lake, "serving.fallback", rows, release_id=RELEASE)

    def did(user, item, age, **counts):
        plain = {"user_id": user, "item_id": item, "rejections": 0, "purchases": 0}
        return {**plain, **counts, "ds": DAY - dt.timedelta(days=age)}

    week = [
        did(ANNA, 10, 6, rejections=1),
        did(ANNA, 11, 0, purchases=1),
        did(ANNA, 14, 0, purchases=1),  # of what repeats
        did(ANNA, 15, 7, rejections=1),  # a week is over
        did(ANNA, 17, 0, rejections=1),
        did(CARL, 11, 0),
    ]
    plant(lake, "silver.user_item_daily", week)
    plant(lake, "ops.withheld", [{"user_id": CARL, "item_id": 15}], base_release_id=RELEASE)
    plant(lake, "ops.withheld", [{"user_id": CARL, "item_id": 14}], base_release_id="of another night")
    event = {"event_id": "e1", "user_id": BERT, "item_id": 17, "action": "block_author", "arrival_ds": DAY, "at_ms": 1}
    plant(lake, "silver.events", [event])
    export(settings, tmp_path / "out", "parquet")
    found: dict = {"anna": [], "bert": [], "carl": []}
    for row in read_parquet(tmp_path / "out", "recommendations"):
        if row["surface"] == "home":
            found[row["user_id"]].append((row["rank"], row["item_id"]))
    assert found == {
        # without i0 and i1 the two that are spare move in
        "anna": [(1, "i4"), (3, "i5"), (4, "i2"), (5, "i3")],
        "bert": [],  # every planted item is of the creator whom he blocked
        "carl": [(1, "i0"), (3, "i4"), (4, "i1"), (5, "i2")],
    }


def test_the_lists_that_a_reader_sees_are_without_what_is_spare(settings):
    release, own, of_segments = current_lists(settings)
    assert (release["release_id"], own["item_id"].tolist()) == (RELEASE, ["i2", "i1"])
    assert of_segments.groupby("segment")["item_id"].apply(list).to_dict() == {
        "everyone": ["i5", "i6"],
        "region=south": ["i6"],
    }


def test_a_folder_that_is_there_is_left_alone(settings, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(SettingsError, match="exists already"):
        export(settings, tmp_path / "out", "parquet")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_surface_without_a_list_for_everyone_is_refused_and_leaves_nothing(tmp_path):
    settings = served(tmp_path)
    plant(Lake(settings), "serving.recommendations", listed(ANNA, [11], "search"), release_id=RELEASE)
    with pytest.raises(PublishError, match="Surface search of 2024-03-14-abc has no list for everyone"):
        export(settings, tmp_path / "out", "parquet")
    assert not (tmp_path / "out").exists()


def test_nothing_published_says_so(tmp_path):
    settings = Settings(tmp_path, tmp_path / "lake", tmp_path / "landing", Market("shop"))
    with pytest.raises(PublishError, match="run a night first"):
        export(settings, tmp_path / "out", "parquet")
