from __future__ import annotations

import pytest

from features.text.lexicon import SentimentLexicon, Word, sentiment_lexicon
from features.text.sentiment import Rules, SentimentScorer
from features.text.tokens import Tokeniser

WORDS = {
    "good": Word(2.0),
    "great": Word(3.0),
    "light": Word(1.0),
    "bad": Word(-2.0),
    "pretty": Word(2.0, factor=1.5),
    "very": Word(factor=1.5),
    "slightly": Word(factor=0.5),
    "too": Word(factor=1.5, exceeds=True),
    "not": Word(negates=True),
    "never": Word(negates=True),
    "not only": Word(),
    "but": Word(contrasts=True),
    "although": Word(concedes=True),
    "if": Word(supposes=True),
    "好": Word(2.0, factor=1.5),
    "差": Word(-2.0),
    "满意": Word(2.0),
    "很": Word(factor=1.5),
    "不": Word(negates=True),
    "但是": Word(contrasts=True),
    "虽然": Word(concedes=True),
    ":(": Word(-2.0),
    "👍": Word(2.0),
}
RULES = Rules(scope=3, turned=0.5, before=0.5, conceded=0.5, supposed=0.2, asked=0.1, prior=1.0, threshold=0.25)


@pytest.fixture(scope="module")
def said():
    """The parts of a text that say anything, by a lexicon of a few words."""
    scorer, tokeniser = SentimentScorer(SentimentLexicon("1", WORDS), RULES), Tokeniser(WORDS)

    def parts(text):
        return [round(value, 6) for value in scorer.said(scorer._matcher.units(tokeniser(text))) if value]

    return parts


@pytest.mark.parametrize(
    "text, parts",
    [
        ("a good lamp", [2]),
        ("very good", [3]),  # 2 * 1.5
        ("slightly bad", [-1]),  # -2 * 0.5
        ("not good", [-1]),  # 2 * -0.5
        ("not very good", [-1]),  # the degree between does not count
        ("very much not good", [-1]),  # "very" is not next to the negated words
        ("never not good", [2]),  # twice turned is as before
        ("not at all bad", [1]),  # -2 * -0.5
        ("not one of the good", [2]),  # "not" is 4 back, the scope is 3
        ("not here, good", [2]),  # a comma ends the clause
        ("not only good", [2]),  # a fixed expression
        ("pretty bad", [-3]),  # degree where a word of the lexicon follows
        ("a pretty lamp", [2]),  # else beauty
        ("too long", [-1]),
        ("too light", [-1]),
        ("too bad", [-3]),
        ("me too", []),
        ("not too long", [0.5]),  # -1 * -0.5
        ("bad but good", [-1, 2]),  # before a contrast counts half
        ("bad. But good.", [-1, 2]),  # also over the end of a sentence
        ("although bad, good", [-1, 2]),
        ("good if good", [2, 0.4]),
        ("Is it good?", [0.2]),
        ("It is bad, is it good?", [-2, 0.2]),  # only the last clause asks
        ("not much :(", [-2]),  # a smile is not negated
        ("很满意", [3]),
        ("不满意", [-1]),
        ("不很满意", [-1]),
        ("好差", [-3]),
        ("很好", [3]),
        ("差，但是好", [-1, 2]),
        ("虽然差，好", [-1, 2]),
        ("好吗？", [0.2]),
        ("这个 phone 很 good 👍", [3, 2]),
        ("", []),
        ("?!。", []),
    ],
)
def test_what_a_text_says(said, text, parts):
    assert said(text) == parts


def test_the_score_weighs_for_against():
    scorer = SentimentScorer(SentimentLexicon("1", WORDS), RULES)
    # P = 3 + 2, N = 2, k = 1: (5 - 2) / (5 + 2 + 1)
    found = scorer.summed([3.0, 2.0, -2.0])
    assert (found.positive, found.negative, found.score, found.label) == (5.0, 2.0, 0.375, "positive")


def test_mixed_feelings_are_neutral_however_strong():
    scorer = SentimentScorer(SentimentLexicon("1", WORDS), RULES)
    assert scorer.summed([9.0, -9.0]).label == "neutral"
    assert scorer.summed([]).label == "neutral"
    assert (scorer.summed([1.0]).label, scorer.summed([-1.0]).label) == ("positive", "negative")


@pytest.fixture(scope="module")
def label():
    """The label of a text by the packaged lexicon."""
    lexicon = sentiment_lexicon()
    scorer, tokeniser = SentimentScorer(lexicon), Tokeniser(lexicon.words)
    return lambda text: scorer.score(tokeniser(text)).label


@pytest.mark.parametrize(
    "text, expected",
    [
        ("This lamp is good.", "positive"),
        ("This lamp is not good.", "negative"),
        ("这个灯很好。", "positive"),
        ("这个灯不好。", "negative"),
        ("物流慢，但是质量很好", "positive"),
        ("I love the sound and hate the colour", "neutral"),
        ("很好" * 3000, "positive"),
        ("😡", "negative"),
    ],
)
def test_the_packaged_lexicon_reads_plain_sentences(label, text, expected):
    assert label(text) == expected


@pytest.mark.parametrize("text", ["a" * 100_000, "http://x." * 20_000, "!" * 50_000, "👍" * 20_000, "-" * 20_000])
def test_no_text_is_too_odd(label, text):
    assert label(text) in {"negative", "neutral", "positive"}
