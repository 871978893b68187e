from __future__ import annotations

import json

import numpy as np
import pytest

from jobs.contract import DayRange
from jobs.errors import ContractError
from models import content_index
from models.ann import Index, IndexParams, build_index, normalised


def clustered(n: int = 2000, d: int = 16, clusters: int = 20) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(clusters, d))
    return (centres[np.arange(n) % clusters] + 0.1 * rng.normal(size=(n, d))).astype(np.float32)


def exact(vectors: np.ndarray, query: np.ndarray, k: int) -> np.ndarray:
    scores = normalised(vectors) @ normalised(query[None])[0]
    return np.argsort(-scores, kind="stable")[:k]


def test_up_to_the_limit_the_index_is_exact(tmp_path):
    vectors, ids = clustered(300), np.arange(1000, 1300)
    facts = build_index(ids, vectors, tmp_path, IndexParams())
    assert (facts["kind"], facts["count"], facts["dimension"], facts["recall_at_100"]) == ("flat", 300, 16, 1.0)
    found, scores = Index.load(tmp_path).search(vectors[:5], 10)
    for row in range(5):
        assert found[row].tolist() == ids[exact(vectors, vectors[row], 10)].tolist()
    # a vector is nearest to itself, with cosine 1
    assert found[:, 0].tolist() == ids[:5].tolist()
    assert scores[:, 0] == pytest.approx(1.0, abs=1e-5)


def test_inner_products_keep_the_lengths_that_cosines_drop(tmp_path):
    # the query (1, 1): 10 is nearer in direction, 11 longer: products 2.0 and 3.0, cosines 1.0 and 0.949
    vectors, ids, query = np.array([[1, 1], [2, 1]], np.float32), np.array([10, 11]), np.array([[1, 1]], np.float32)
    for metric, nearest, best in (("cosine", [10, 11], 1.0), ("inner_product", [11, 10], 3.0)):
        folder = tmp_path / metric
        folder.mkdir()
        build_index(ids, vectors, folder, IndexParams(metric=metric))
        found, scores = Index.load(folder).search(query, 2)
        assert found[0].tolist() == nearest
        assert scores[0, 0] == pytest.approx(best)
    with pytest.raises(ContractError, match="no metric 'l2'"):
        build_index(ids, vectors, tmp_path, IndexParams(metric="l2"))


def test_above_the_limit_lists_are_searched_and_the_recall_is_the_true_one(tmp_path):
    vectors, ids = clustered(), np.arange(2000)
    facts = build_index(ids, vectors, tmp_path, IndexParams(exact_limit=500, nprobe=4, min_recall=0.0))
    assert facts["kind"] == "ivf"
    loaded = Index.load(tmp_path)
    sample = np.linspace(0, 1999, 200).astype(int)
    found, _ = loaded.search(vectors[sample], 100)
    hits = [np.isin(exact(vectors, vectors[at], 100), row).sum() for at, row in zip(sample, found, strict=True)]
    assert facts["recall_at_100"] == pytest.approx(np.mean(hits) / 100, abs=0.002)
    assert facts["recall_at_100"] < 1.0, "four of 178 lists cannot hold all 100 nearest, or this test says nothing"


def test_many_lists_searched_reach_the_asked_recall(tmp_path):
    facts = build_index(np.arange(2000), clustered(), tmp_path, IndexParams(exact_limit=500, nprobe=64))
    assert facts["recall_at_100"] >= 0.95


def test_an_index_of_bad_recall_is_refused_and_not_saved(tmp_path):
    with pytest.raises(ContractError, match="0.95"):
        build_index(np.arange(2000), clustered(), tmp_path, IndexParams(exact_limit=500, nprobe=1))
    assert list(tmp_path.iterdir()) == []


def test_a_saved_index_searches_as_many_lists_as_it_was_measured_with(tmp_path):
    build_index(np.arange(2000), clustered(), tmp_path, IndexParams(exact_limit=500, nprobe=64))
    assert Index.load(tmp_path).index.nprobe == 64


def test_two_builds_are_equal(tmp_path):
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        facts = build_index(np.arange(2000), clustered(), tmp_path / name, IndexParams(exact_limit=500, nprobe=64))
        made.append({k: v for k, v in facts.items() if k != "build_seconds"})
    assert made[0] == made[1]


@pytest.fixture
def saved(tmp_path):
    build_index(np.arange(300), clustered(300), tmp_path, IndexParams())
    return tmp_path


def test_an_exchanged_id_map_is_refused(saved):
    np.save(saved / "ids.npy", np.arange(1, 301))
    with pytest.raises(ContractError, match="ids.npy is not the file that index.json describes: rebuild the index"):
        Index.load(saved)


def test_an_exchanged_index_is_refused(saved, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    build_index(np.arange(300), clustered(300) * 2 + 1, other, IndexParams())
    (saved / "index.faiss").write_bytes((other / "index.faiss").read_bytes())
    with pytest.raises(ContractError, match="index.faiss is not the file"):
        Index.load(saved)


def test_an_id_map_of_another_length_is_refused(saved):
    import hashlib

    np.save(saved / "ids.npy", np.arange(299))
    facts = json.loads((saved / "index.json").read_text())
    facts["ids_sha256"] = hashlib.sha256((saved / "ids.npy").read_bytes()).hexdigest()
    (saved / "index.json").write_text(json.dumps(facts))
    with pytest.raises(ContractError, match="holds 300 vectors, its id map 299"):
        Index.load(saved)


def test_queries_of_another_dimension_are_refused(saved):
    with pytest.raises(ContractError, match="Queries have 8 dimensions, the index 16"):
        Index.load(saved).search(np.zeros((1, 8), np.float32), 5)


def test_more_neighbours_than_vectors_gives_all(saved):
    found, scores = Index.load(saved).search(clustered(300)[:1], 1000)
    assert sorted(found[0].tolist()) == list(range(300))
    assert np.isfinite(scores).all()


def test_an_index_of_nothing_finds_nothing(tmp_path):
    facts = build_index(np.zeros(0, np.int64), np.zeros((0, 16), np.float32), tmp_path, IndexParams())
    assert (facts["count"], facts["recall_at_100"]) == (0, None)
    found, scores = Index.load(tmp_path).search(np.ones((2, 16), np.float32), 5)
    assert found.shape == scores.shape == (2, 0)


def test_normalised_rows_have_length_1_and_a_zero_row_stays(tmp_path):
    assert normalised(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]


@pytest.mark.parametrize("rows", [[], [(1, [1.0, 0.0]), (2, [0.0, 1.0])]])
def test_the_content_index_is_built_of_any_number_of_items(frame, tmp_path, rows):
    content = frame("item_id bigint, vector array<float>", rows)
    facts = content_index.build(content, days=DayRange.day("2024-03-01"), params=IndexParams(), out=tmp_path)
    assert facts["count"] == len(rows) == len(Index.load(tmp_path).ids)
