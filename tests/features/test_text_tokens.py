from __future__ import annotations

import doctest

import pytest

from features.text import tokens
from features.text.tokens import Matcher, Tokeniser, Unit, bases, language_of, normalise


@pytest.fixture(scope="module")
def tokeniser():
    return Tokeniser(["没有想象中"])


def test_examples_in_the_docstrings_hold():
    assert doctest.testmod(tokens).failed == 0


def test_english_keeps_contractions_emoticons_and_emoji(tokeniser):
    assert tokeniser("I DON’T love it :( 👍🏽") == ["i", "don't", "love", "it", ":(", "👍"]


def test_chinese_is_cut_into_words(tokeniser):
    assert tokeniser("物流很快，质量太差") == ["物流", "很快", ",", "质量", "太", "差"]


def test_mixed_scripts_are_cut_each_by_its_own(tokeniser):
    assert tokeniser("这个phone很good") == ["这个", "phone", "很", "good"]


def test_jieba_learns_the_terms_of_the_lexicon(tokeniser):
    # without the term it reads 没有 / 想象 / 中好 / 用
    assert tokeniser("没有想象中好用") == ["没有想象中", "好用"]


def test_a_space_between_han_parts_clauses_and_a_line_end_sentences(tokeniser):
    assert tokeniser("很好 不错\n再来") == ["很", "好", ",", "不错", "。", "再", "来"]


@pytest.mark.parametrize("text", ["", "   ", "\n\n"])
def test_nothing_gives_no_words(tokeniser, text):
    assert [token for token in tokeniser(text) if token != "。"] == []


def test_full_width_forms_are_one_with_the_plain_ones():
    assert normalise("ＡＢＣ！？") == "abc!?"


@pytest.mark.parametrize(
    "tag, text, language",
    [
        ("en-GB", "很好", "en"),  # a given tag stands
        ("zh_CN", "", "zh"),
        ("", "Good.", "en"),
        (None, "很好", "zh"),
        (None, "iPhone 15 Pro Max 很好用啊", "zh"),  # 5 Han of 17 letters: more than a fifth
        (None, "I ate 豆腐 in a restaurant in Boston", "en"),  # 2 of 29
        (None, "とても良い", "und"),
        (None, "좋아요", "und"),
        (None, "👍👍", "und"),
        (None, "", "und"),
    ],
)
def test_language_is_the_tag_or_the_script(tag, text, language):
    assert language_of(tag, text) == language


@pytest.mark.parametrize(
    "word, base",
    [
        ("stains", "stain"),
        ("crashes", "crash"),
        ("tastier", "tasty"),
        ("nicest", "nice"),
        ("ruined", "ruin"),
        ("stopping", "stop"),
        ("amazingly", "amazing"),
        ("annoyed", "annoy"),
        ("loving", "love"),
    ],
)
def test_inflections_lead_to_their_base(word, base):
    assert base in bases(word)


@pytest.mark.parametrize("word, other", [("james", "jam"), ("please", "pleas"), ("best", "be"), ("useful", "use")])
def test_other_words_do_not(word, other):
    assert other not in bases(word)


def test_the_longest_term_wins():
    matcher = Matcher(["good", "good for nothing", "nothing"])
    assert matcher.units(["good", "for", "nothing", "good"]) == [
        Unit("good for nothing", "good for nothing"),
        Unit("good", "good"),
    ]


def test_a_term_is_found_across_the_cuts_of_jieba():
    assert Matcher(["名不副实"]).units(["名", "不副", "实", "啊"]) == [Unit("名 不副 实", "名不副实"), Unit("啊", None)]


def test_a_glued_opener_is_cut_off_where_a_term_follows():
    matcher = Matcher(["很", "快"], openers=["很"])
    assert matcher.units(["很快", "很多"]) == [Unit("很", "很"), Unit("快", "快"), Unit("很多", None)]


def test_drawn_out_letters_do_not_hide_a_term():
    assert [unit.term for unit in Matcher(["good", "so"]).units(["sooo", "goood"])] == ["so", "good"]
