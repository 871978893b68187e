from __future__ import annotations

import numpy as np
import pytest

from features.text.vectors import nearest, vocabulary, word_vectors

# two themes that never meet: tea is drunk in the evening, trains go to town
TEA = [["tea", "cup", "leaf"], ["tea", "leaf", "pot"], ["cup", "pot", "tea"], ["leaf", "pot", "cup"]] * 3
TRAIN = [["train", "rail", "town"], ["train", "town", "seat"], ["rail", "seat", "train"], ["town", "seat", "rail"]] * 3
DOCUMENTS = TEA + TRAIN


def test_the_vocabulary_leaves_out_the_rare_the_common_and_what_is_no_word():
    documents = [["the", "tea", "12", "x"], ["the", "tea", "cup"], ["the", "tea", "12"], ["the", "茶", "茶叶"]] * 2
    # the: all 8 texts; cup and 茶叶: 2; 茶, x: too short; 12: no word
    assert vocabulary(documents, 2, 0.9, 10) == ["cup", "tea", "茶叶"]
    assert vocabulary(documents, 3, 0.9, 10) == ["tea"]
    assert vocabulary(documents, 2, 0.9, 1) == ["tea"]


def test_words_of_one_theme_are_near_and_the_same_each_time():
    words = vocabulary(DOCUMENTS, 1, 1.0, 100)
    vectors = word_vectors(DOCUMENTS, words, 2)
    assert vectors.shape == (8, 2)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1)
    at = {word: n for n, word in enumerate(words)}
    assert vectors[at["tea"]] @ vectors[at["cup"]] > 0.99 > 0.01 > abs(vectors[at["tea"]] @ vectors[at["train"]])
    np.testing.assert_array_equal(vectors, word_vectors(DOCUMENTS, words, 2))


@pytest.mark.parametrize("documents", [[], [["tea"]], [["tea"], ["cup"]]])
def test_too_little_text_gives_no_neighbours(documents):
    words = vocabulary(documents, 1, 1.0, 100)
    vectors = word_vectors(documents, words, 4)
    assert nearest(words, vectors, {"tea": {"rest": 1.0}}, (), top=5, least=0.1, min_seeds=1) == {}


def test_a_word_goes_to_the_need_that_it_is_nearest_to():
    words = ["bus", "cup", "leaf", "pot", "rail", "tea"]
    vectors = np.array([[0.6, 0.8], [1, 0], [0.8, 0.6], [0.96, 0.28], [0, 1], [1, 0]])
    seeds = {"tea": {"rest": 1.0}, "cup": {"rest": 1.0}, "rail": {"travel": 1.0}}
    found = nearest(words, vectors, seeds, {"pot"}, top=5, least=0.7, min_seeds=1)
    # rest is at (1, 0), travel at (0, 1); pot is ignored, seeds are not found again
    assert found == {"leaf": {"rest": 0.8}, "bus": {"travel": 0.8}}
    # travel has one seed only
    assert nearest(words, vectors, seeds, {"pot"}, top=5, least=0.7, min_seeds=2) == {"leaf": {"rest": 0.8}}
    # the nearest first
    assert nearest(words, vectors, seeds, (), top=1, least=0.5, min_seeds=2) == {"pot": {"rest": 0.96}}
