from __future__ import annotations

import json

import pytest

from features.review_signals import CONTRACT, Params, build
from features.text.lexicon import need_lexicon, sentiment_lexicon
from jobs.contract import DayRange
from jobs.runner import conform

SCHEMA = (
    "ds date, review_id string, user_id bigint, item_id bigint, channel string, text string, rating double, "
    "language string"
)
TODAY = DayRange.day("2024-03-28")


def signals(frame, *texts, need_terms=None, **params):
    """Signals by review id, of pairs of text and language."""
    rows = [
        ("2024-03-28", f"r{n}", 10 + n, 100, "review", text, None, language) for n, (text, language) in enumerate(texts)
    ]
    made = build(frame(SCHEMA, rows), need_terms, days=TODAY, params=Params(**params))
    return {r["review_id"]: r.asDict(recursive=True) for r in conform(CONTRACT, made).collect()}


def test_texts_of_both_languages_mixed_scripts_and_none(frame):
    found = signals(
        frame,
        ("This lamp is good.", "en"),
        ("这个灯不好，想减肥", None),
        ("这个 phone 很 good 👍", ""),
        ("", "en"),
        ("👍", None),
        ("Très bon, good", "fr-FR"),
        ("yoga " * 50_000, "en"),
    )
    # good is 2: 2 / (2 + 1.5)
    assert (found["r0"]["language"], found["r0"]["label"]) == ("en", "positive")
    assert found["r0"]["sentiment"] == pytest.approx(2 / 3.5, abs=1e-6)
    assert (found["r0"]["positive"], found["r0"]["negative"]) == (2.0, 0.0)
    # 好 is turned: -2 * 0.6
    assert (found["r1"]["language"], found["r1"]["label"], found["r1"]["negative"]) == ("zh", "negative", 1.2)
    assert (found["r1"]["needs"], found["r1"]["need_terms"]) == ({"healthy_living": 1.0}, ["减肥"])
    assert (found["r2"]["language"], found["r2"]["label"]) == ("zh", "positive")
    # nothing said is neutral
    assert (found["r3"]["sentiment"], found["r3"]["label"], found["r3"]["needs"]) == (0.0, "neutral", {})
    # no script, or a language without a lexicon: no score
    assert (found["r4"]["language"], found["r4"]["sentiment"], found["r4"]["label"]) == ("und", None, None)
    assert (found["r5"]["language"], found["r5"]["sentiment"], found["r5"]["needs"]) == ("fr", None, {})
    assert found["r6"]["needs"] == {"healthy_living": 1.0}
    assert {row["user_id"] for row in found.values()} == set(range(10, 17))
    assert found["r0"]["lexicons"] == f"sentiment {sentiment_lexicon().version}, needs {need_lexicon().version}"


def test_only_the_beginning_of_a_long_text_is_read(frame):
    found = signals(frame, ("good bad bad bad", "en"), max_chars=4)
    assert found["r0"]["label"] == "positive"


def test_found_terms_weigh_less_and_show(frame, tmp_path):
    terms = {"kombucha": {"healthy_living": 0.4}, "lavender": {"relaxation": 0.3}}
    (tmp_path / "terms.json").write_text(json.dumps({"lexicon": "1", "terms": terms}))
    found = signals(
        frame, ("kombucha and lavender", "en"), ("kombucha after yoga", "en"), need_terms=tmp_path, max_chars=100
    )
    assert found["r0"]["needs"] == {"healthy_living": 0.4, "relaxation": 0.3}
    # the strongest term of a need counts
    assert (found["r1"]["needs"], found["r1"]["need_terms"]) == ({"healthy_living": 1.0}, ["kombucha", "yoga"])


def test_a_market_may_bring_its_own_lexicons(frame, home):
    (home / "needs.yaml").write_text("version: 7\nrejections: {}\nneeds: {warmth: {description: x, en: [scarf]}}")
    found = signals(frame, ("A good scarf for yoga", "en"), needs="needs.yaml")
    assert found["r0"]["needs"] == {"warmth": 1.0}
    assert ", needs 7-" in found["r0"]["lexicons"]


def test_an_empty_day_makes_no_row(frame):
    assert signals(frame) == {}
