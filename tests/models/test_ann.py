from __future__ import annotations

import json

import faiss
import numpy as np
import pytest

from jobs.contract import DayRange
from jobs.errors import ContractError
from models import content_index
from models.ann import KINDS, Index, IndexParams, build_index, extend_index, normalised


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


@pytest.mark.parametrize(
    ("count", "kind"), [(0, "flat"), (10, "flat"), (11, "hnsw"), (20, "hnsw"), (21, "ivf"), (30, "ivf"), (31, "ivfpq")]
)
def test_the_kind_follows_from_the_size(count, kind):
    assert IndexParams(exact_limit=10, hnsw_limit=20, ivf_limit=30).kind_of(count) == kind
    assert IndexParams(kind="hnsw").kind_of(count) == "hnsw"


@pytest.mark.parametrize(("count", "kind"), [(10, "flat"), (11, "ivf"), (30, "ivf"), (31, "ivfpq")])
def test_inner_products_get_no_graph_unless_it_is_asked_for(count, kind):
    limits = {"metric": "inner_product", "exact_limit": 10, "hnsw_limit": 20, "ivf_limit": 30}
    assert IndexParams(**limits).kind_of(count) == kind
    assert IndexParams(**limits, kind="hnsw").kind_of(count) == "hnsw"


def test_recall_is_that_of_the_queries_where_some_are_given(tmp_path):
    vectors = clustered()
    # queries between all clusters: hard for an index whose own vectors are easy
    queries = np.random.default_rng(9).normal(size=(300, 16)).astype(np.float32)
    params = IndexParams(kind="ivf", metric="inner_product", min_recall=0.5, max_effort=8)
    made = {}
    for name, given in (("own", None), ("none", queries[:0]), ("queries", queries)):
        (tmp_path / name).mkdir()
        made[name] = build_index(np.arange(2000), vectors, tmp_path / name, params, given)
    assert made["own"]["recall_at_100"] == made["none"]["recall_at_100"] != made["queries"]["recall_at_100"]
    assert [made[name]["measured_with"] for name in made] == ["its own vectors"] * 2 + ["queries"]
    sample = queries[np.linspace(0, 299, 200).astype(int)]
    found, _ = Index.load(tmp_path / "queries").search(sample, 100)
    wanted = np.argsort(-(sample @ vectors.T), axis=1)[:, :100]
    hits = [np.isin(row, best).sum() for row, best in zip(found, wanted, strict=True)]
    assert made["queries"]["recall_at_100"] == pytest.approx(np.mean(hits) / 100, abs=0.002)


@pytest.mark.parametrize("kind", KINDS)
def test_the_recall_of_every_kind_is_the_true_one_and_reaches_what_is_asked(tmp_path, kind):
    vectors, ids = clustered(), np.arange(5000, 7000)
    facts = build_index(ids, vectors, tmp_path, IndexParams(kind=kind))
    assert facts["kind"] == kind and facts["recall_at_100"] >= 0.95
    sample = np.linspace(0, 1999, 200).astype(int)
    found, _ = Index.load(tmp_path).search(vectors[sample], 100)
    hits = [np.isin(exact(vectors, vectors[at], 100), row - 5000).sum() for at, row in zip(sample, found, strict=True)]
    assert facts["recall_at_100"] == pytest.approx(np.mean(hits) / 100, abs=0.002)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_search_looks_as_far_as_the_asked_recall_needs(tmp_path, kind):
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(3000, 16)).astype(np.float32)  # no clusters: hard for lists and graphs
    reached = []
    for asked in (0.5, 0.97):
        (tmp_path / str(asked)).mkdir()
        params = IndexParams(kind=kind, min_recall=asked)
        facts = build_index(np.arange(3000), vectors, tmp_path / str(asked), params)
        assert facts["recall_at_100"] >= asked
        reached.append(facts["parameters"])
    effort = "candidates" if kind == "hnsw" else "probes"
    assert reached[0][effort] <= reached[1][effort]
    if kind != "hnsw":
        assert reached[0][effort] < reached[1][effort]


def test_an_index_of_bad_recall_is_refused_and_not_saved(tmp_path):
    with pytest.raises(ContractError, match="below 0.95: raise max_effort"):
        build_index(np.arange(2000), clustered(), tmp_path, IndexParams(kind="ivf", max_effort=1))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_loaded_index_searches_with_the_parameters_that_it_was_measured_with(tmp_path, kind):
    facts = build_index(np.arange(2000), clustered(), tmp_path, IndexParams(kind=kind))
    loaded, described = Index.load(tmp_path), json.loads((tmp_path / "index.json").read_text())
    assert described == {name: value for name, value in facts.items() if name != "build_seconds"}
    if kind == "hnsw":
        assert loaded.index.hnsw.efSearch == facts["parameters"]["candidates"]
    else:
        assert faiss.extract_index_ivf(loaded.index).nprobe == facts["parameters"]["probes"]


@pytest.mark.parametrize("kind", KINDS)
def test_two_builds_are_equal(tmp_path, kind):
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        facts = build_index(np.arange(2000), clustered(), tmp_path / name, IndexParams(kind=kind))
        made.append({k: v for k, v in facts.items() if k != "build_seconds"})
    assert made[0] == made[1]


@pytest.mark.parametrize("kind", KINDS)
def test_new_items_are_added_without_a_rebuild_and_are_found(tmp_path, kind):
    vectors, ids, params = clustered(), np.arange(2000), IndexParams(kind=kind)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old = build_index(ids[:1900], vectors[:1900], tmp_path / "old", params)
    shuffled = np.random.default_rng(1).permutation(2000)
    facts = extend_index(tmp_path / "old", ids[shuffled], vectors[shuffled], tmp_path / "new", params)
    assert (facts["added"], facts["count"]) == (100, 2000)
    assert facts["recall_at_100"] >= 0.95
    assert facts["parameters"].get("lists") == old["parameters"].get("lists")  # nothing was trained again
    found, _ = Index.load(tmp_path / "new").search(vectors[1900:], 100)
    assert np.mean((found == ids[1900:, None]).any(axis=1)) > 0.95
    # the old one is as it was
    assert Index.load(tmp_path / "old").require(ids[:1900], vectors[:1900]).facts["count"] == 1900


def test_an_index_that_nothing_is_added_to_is_the_same(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old = build_index(np.arange(300), clustered(300), tmp_path / "old", IndexParams())
    new = extend_index(tmp_path / "old", np.arange(300), clustered(300), tmp_path / "new", IndexParams())
    assert new["added"] == 0 and new["index_sha256"] == old["index_sha256"]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["ids.npy", "index.faiss", "index.json"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"vectors": clustered(400) + 1}, "not the 300 that it is to be searched with"),
        ({"ids": np.arange(100, 500)}, "holds items that are no longer there"),
        ({"params": IndexParams(metric="inner_product")}, "measures by cosine, not inner_product"),
        ({"ids": np.repeat(np.arange(200), 2)}, "An id stands for more than one vector"),
        ({"ids": np.arange(399)}, "399 ids and 400 vectors"),
    ],
)
def test_what_does_not_belong_to_an_index_is_not_added(tmp_path, changed, message):
    build_index(np.arange(300), clustered(400)[:300], tmp_path, IndexParams())
    given = {"ids": np.arange(400), "vectors": clustered(400), "params": IndexParams()} | changed
    with pytest.raises(ContractError, match=message):
        extend_index(tmp_path, given["ids"], given["vectors"], tmp_path / "new", given["params"])


def test_embeddings_that_it_was_not_built_from_are_refused(saved):
    index = Index.load(saved)
    # whatever their order
    assert index.require(np.arange(300)[::-1], clustered(300)[::-1]) is index
    for ids, vectors in ((np.arange(300), clustered(300) * 2), (np.arange(1, 301), clustered(300))):
        with pytest.raises(ContractError, match="build it again from them"):
            index.require(ids, vectors)


def test_a_search_in_batches_is_the_search(tmp_path, monkeypatch):
    build_index(np.arange(300), clustered(300), tmp_path, IndexParams())
    whole = Index.load(tmp_path).search(clustered(300), 7)
    monkeypatch.setattr("models.ann.QUERIES_AT_ONCE", 64)
    parts = Index.load(tmp_path).search(clustered(300), 7)
    assert np.array_equal(whole[0], parts[0]) and np.array_equal(whole[1], parts[1])


@pytest.mark.parametrize("options", [{"metric": "l2"}, {"kind": "lsh"}])
def test_an_unknown_metric_or_kind_is_named(options):
    with pytest.raises(ContractError, match=next(iter(options.values()))):
        IndexParams(**options)


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
    facts = content_index.build(content, None, days=DayRange.day("2024-03-01"), params=IndexParams(), out=tmp_path)
    assert facts["count"] == len(rows) == len(Index.load(tmp_path).ids)


def test_a_large_content_index_grows_by_new_items_and_is_built_again_when_vectors_change(frame, tmp_path):
    params, vectors = IndexParams(kind="ivf"), clustered(60)

    def build(name, previous, rows):
        (tmp_path / name).mkdir()
        content = frame("item_id bigint, vector array<float>", [(i, [float(x) for x in v]) for i, v in rows])
        return content_index.build(
            content, previous, days=DayRange.day("2024-03-01"), params=params, out=tmp_path / name
        )

    first = build("first", None, list(enumerate(vectors[:40])))
    grown = build("grown", tmp_path / "first", list(enumerate(vectors)))
    anew = build("anew", tmp_path / "grown", list(enumerate(vectors * [2] + 1)))
    assert grown["added"] == 20 and "added" not in anew
    assert grown["parameters"]["lists"] == first["parameters"]["lists"] < anew["parameters"]["lists"]
