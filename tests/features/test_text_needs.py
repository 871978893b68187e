from __future__ import annotations

import pytest

from features.text.lexicon import NeedLexicon
from features.text.needs import NeedFinder
from features.text.tokens import Tokeniser

LEXICON = NeedLexicon(
    "1",
    ("rest", "health"),
    {
        "sleep": {"rest": 1.0},
        "yoga": {"rest": 0.5, "health": 1.0},
        "lose weight": {"health": 1.0},
        "睡眠": {"rest": 1.0},
        "减肥": {"health": 1.0},
    },
    frozenset({"not interested in", "不感兴趣"}),
)


@pytest.fixture(scope="module")
def find():
    finder, tokeniser = NeedFinder(LEXICON), Tokeniser([*LEXICON.terms, *LEXICON.rejections])
    return lambda text: finder.find(tokeniser(text))


@pytest.mark.parametrize(
    "text, needs",
    [
        ("I sleep better", {"rest": {"sleep": 1.0}}),
        ("Sleeping, sleeping!", {"rest": {"sleep": 1.0}}),  # inflected; a term counts once a text
        ("yoga", {"rest": {"yoga": 0.5}, "health": {"yoga": 1.0}}),
        ("no sleep at all", {"rest": {"sleep": 1.0}}),  # who misses it needs it
        ("not interested in yoga, I want to lose weight", {"health": {"lose weight": 1.0}}),
        ("对减肥不感兴趣，睡眠不好", {"rest": {"睡眠": 1.0}}),
        ("睡眠 and yoga", {"rest": {"睡眠": 1.0, "yoga": 0.5}, "health": {"yoga": 1.0}}),
        ("", {}),
        ("the parcel came", {}),
    ],
)
def test_needs_are_found_unless_their_clause_rejects_them(find, text, needs):
    assert find(text) == needs
