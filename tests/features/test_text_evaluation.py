"""The methods held against hand-labelled texts, and against the truth that a simulated world plants."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pandas as pd
import pytest

from features.text.evaluate import (
    FOLDER,
    accuracy,
    gain,
    labelled,
    macro_f1,
    main,
    need_rows,
    read,
)
from features.text.lexicon import need_categories, need_lexicon, sentiment_lexicon
from features.text.needs import NeedFinder
from features.text.sentiment import SentimentScorer
from features.text.tokens import Tokeniser
from features.text.vectors import nearest, vocabulary, word_vectors
from jobs.simulator import WorldConfig, simulate
from jobs.simulator.faults import NOT_UTF8
from jobs.simulator.vocabulary import CATEGORIES


@pytest.fixture(scope="module")
def texts():
    return read(FOLDER, "sentiment.jsonl")


@pytest.fixture(scope="module")
def needs():
    return read(FOLDER, "needs.jsonl")


def test_the_labelled_texts_are_many_different_and_halved(texts, needs):
    for rows, least in ((texts, 240), (needs, 100)):
        assert len(rows) >= least
        assert len({row["text"] for row in rows}) == len({row["id"] for row in rows}) == len(rows)
        for language in ("en", "zh"):
            halves = [
                sum(r["split"] == part and r["language"] == language for r in rows) for part in ("dev", "held_out")
            ]
            assert halves[0] == halves[1] == len(rows) / 4
    assert {row["note"] for row in texts} >= {"negation", "contrast", "mixed", "service"}


def test_macro_f1_is_the_mean_over_labels():
    truth, found = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 1])
    # label 0: 1 hit of 2 + 1 named: 2/3; label 1: 1 of 1 + 3: 1/2; label 2: 0
    assert macro_f1(truth, found) == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert accuracy(truth, found) == 0.5


@pytest.mark.parametrize("baseline", ["majority", "lexicon only"])
def test_sentiment_beats_the_baseline_on_held_out_texts(texts, baseline):
    more, low, _ = gain(texts, "held_out", baseline)
    assert more > 0.05 and low > 0


@pytest.mark.parametrize("language", ["en", "zh"])
def test_sentiment_beats_both_baselines_in_each_language(texts, language):
    kept = [t for t in texts if t["split"] == "held_out" and t["language"] == language]
    found = labelled(kept)
    scores = {method: macro_f1(found["truth"], found[method]) for method in ("rules", "lexicon only", "majority")}
    assert scores["rules"] > 0.7
    assert scores["rules"] > scores["lexicon only"] > scores["majority"]


def test_shuffled_labels_are_not_learnt(texts):
    found = labelled([t for t in texts if t["split"] == "held_out"])
    shuffled = np.random.default_rng(7).permutation(found["truth"])
    assert macro_f1(shuffled, found["rules"]) < 0.45


def test_needs_beat_the_baseline_on_held_out_texts(needs):
    rows = {r["method"]: r for r in need_rows(needs) if r["part"] == "held_out" and r["language"] == "both"}
    assert rows["lexicon"]["f1"] > 0.8
    assert rows["lexicon"]["f1_interval"][0] > rows["majority"]["f1_interval"][1]


def test_the_command_prints_the_tables_of_the_docs(capsys):
    main(FOLDER)
    printed = capsys.readouterr().out
    docs = (FOLDER.parents[2] / "docs" / "text.md").read_text(encoding="utf-8")
    for line in printed.splitlines():
        if "| held_out |" in line or line.startswith("Rules less"):
            assert line in docs


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A simulated world with many items whose title promises too much: its good reviews, items and their truth."""
    root = tmp_path_factory.mktemp("world")
    config = WorldConfig(users=3000, items=1500, creators=60, days=6, title_party_rate=0.2)
    simulate(config, root / "landing", root / "truth")
    landed = root / "landing" / config.market
    reviews = pd.DataFrame(
        json.loads(line)
        for file in sorted((landed / "reviews").rglob("*.jsonl.gz"))
        for line in gzip.decompress(file.read_bytes()).splitlines()
        if line.endswith(b"}") and NOT_UTF8 not in line
    )
    items = pd.concat(pd.read_csv(file) for file in sorted((landed / "items").rglob("part-*")))
    return reviews[reviews["text"].notna()], items, pd.read_parquet(root / "truth" / config.market / "items.parquet")


def test_sentiment_shows_what_a_simulated_world_plants(world):
    reviews, _, truth = world
    reviews = reviews[reviews["channel"] == "review"]
    lexicon = sentiment_lexicon()
    scorer, tokeniser = SentimentScorer(lexicon), Tokeniser(lexicon.words)
    reviews = reviews.assign(score=[scorer.score(tokeniser(text)).score for text in reviews["text"]])
    stars = pd.to_numeric(reviews["rating"], errors="coerce")
    assert reviews["score"][stars >= 4].mean() - reviews["score"][stars <= 2].mean() > 0.5

    means = reviews.groupby("item_id")["score"].mean().rename("score").reset_index().merge(truth, on="item_id")
    baited = means["title_party"].astype(bool)
    assert baited.sum() > 10
    assert means["score"][~baited].mean() - means["score"][baited].mean() > 0.5


def test_words_found_for_a_need_are_of_topics_that_serve_it(world):
    reviews, items, _ = world
    lexicon = need_lexicon()
    tokeniser, finder = Tokeniser(lexicon.terms), NeedFinder(lexicon)
    texts = sorted({*reviews["text"], *(items["title"] + ". " + items["description"]).dropna()})
    documents = [{unit.term or unit.text for unit in finder.matcher.units(tokeniser(text))} for text in texts]
    words = vocabulary(documents, 5, 0.1, 20_000)
    brands = {brand.lower() for category in CATEGORIES for brand in category.brands}
    found = nearest(words, word_vectors(documents, words, 50), lexicon.terms, brands, top=10, least=0.6, min_seeds=3)
    home = {word: c.name for c in CATEGORIES for name, topic in c.topics.items() for word in (*name.split(), *topic)}
    served = [home.get(word) in need_categories().names[need] for word, near in found.items() for need in near]
    # chance would be 0.17: that part of all pairs of need and category is in the mapping
    assert len(served) >= 15 and np.mean(served) > 0.6
