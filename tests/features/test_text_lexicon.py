from __future__ import annotations

import pytest

from features.text.lexicon import Word, need_categories, need_lexicon, sentiment_lexicon
from jobs.errors import SettingsError

SECTIONS = """
words: {en: {2: [good, pretty], -2: [bad]}}
negators: {en: [not]}
intensifiers: {en: {1.3: [very, pretty]}}
excess: {en: []}
contrasts: {en: [but]}
concessions: {en: [although]}
conditions: {en: [if]}
"""


def write(home, name, text):
    (home / name).write_text(text, encoding="utf-8")
    return name


def test_the_packaged_files_are_whole():
    words, needs, categories = sentiment_lexicon().words, need_lexicon(), need_categories()
    assert len(words) > 1500 and len(needs.terms) > 1000
    assert set(categories.names) == set(needs.needs)
    # each need is spoken of in both languages
    for need in needs.needs:
        own = [term for term, by_need in needs.terms.items() if need in by_need]
        assert sum(term.isascii() for term in own) > 30 and sum(not term.isascii() for term in own) > 30


def test_a_term_may_have_several_roles(home):
    lexicon = sentiment_lexicon(write(home, "mine.yaml", "version: 3" + SECTIONS))
    assert lexicon.words["pretty"] == Word(valence=2.0, factor=1.3)
    assert lexicon.words["but"] == Word(contrasts=True)
    assert lexicon.version.startswith("3-")


def test_the_version_tells_an_edit_that_forgot_to_raise_it(home):
    first = sentiment_lexicon(write(home, "mine.yaml", "version: 1" + SECTIONS)).version
    second = sentiment_lexicon(write(home, "mine.yaml", "version: 1" + SECTIONS.replace("bad", "awful"))).version
    assert first != second and first[:2] == second[:2] == "1-"


@pytest.mark.parametrize(
    "text, message",
    [
        ("version: one", "whole number"),
        ("- 1", "must be a mapping"),
        ("version: [", "is no YAML"),
        ("version: 1\nwords: {en: {2: [no]}}", r"words\.en\.2 holds False, which is no text"),
        ("version: 1\nwords: {en: {much: [good]}}", r"words\.en\.much must be below a number"),
        ("version: 1\nwords: {en: {2: good}}", r"words\.en\.2 must be a list of terms"),
        ("version: 1\nwords: {en: {2: [good], -2: [good]}}", "repeats 'good'"),
        ("version: 1", "section words must map names to lists"),
    ],
)
def test_a_malformed_lexicon_is_named(home, text, message):
    with pytest.raises(SettingsError, match=message):
        sentiment_lexicon(write(home, "mine.yaml", text))


def test_a_missing_file_is_named(home):
    with pytest.raises(SettingsError, match="none.yaml is missing"):
        need_lexicon("none.yaml")


@pytest.mark.parametrize(
    "text, message",
    [
        ("version: 1\nneeds: {rest: [sleep]}\nrejections: {}", r"needs\.rest must have a description"),
        ("version: 1\nneeds: {rest: {en: [1]}}\nrejections: {}", r"needs\.rest\.en holds 1, which is no text"),
        ("version: 1\nneeds: {}\nrejections: [no]", "section rejections"),
    ],
)
def test_a_malformed_need_lexicon_is_named(home, text, message):
    with pytest.raises(SettingsError, match=message):
        need_lexicon(write(home, "mine.yaml", text))


def test_a_malformed_mapping_is_named_and_an_unknown_category_is_none(home):
    with pytest.raises(SettingsError, match=r"needs\.rest must be a list"):
        need_categories(write(home, "map.yaml", "version: 1\nneeds: {rest: travel}"))
    found = need_categories(write(home, "map.yaml", "version: 1\nneeds: {rest: [no such category]}"))
    assert found.names == {"rest": ("no such category",)}


def test_found_terms_never_replace_those_of_the_lexicon():
    lexicon = need_lexicon().with_terms({"yoga": {"novelty": 0.3}, "kombucha": {"healthy_living": 0.4}})
    assert lexicon.terms["yoga"] == {"healthy_living": 1.0}
    assert lexicon.terms["kombucha"] == {"healthy_living": 0.4}
