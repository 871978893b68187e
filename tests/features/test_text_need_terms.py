from __future__ import annotations

import json

from features.need_terms import CONTRACT, Params, build, load
from features.text.lexicon import need_lexicon
from jobs.contract import DayRange

REVIEWS = "ds date, text string"
ITEMS = "ds date, title string, description string, brand string"
TODAY = DayRange.day("2024-03-28")
# "kombucha" stands where terms of healthy living stand, "socket" where none do
ABOUT = ["vitamin kombucha protein", "kombucha calcium vitamin", "protein calcium kombucha", "vitamin calcium protein"]
OTHER = ["socket wrench bolt", "bolt socket nut", "wrench nut socket", "nut bolt wrench"]
OPTIONS = {"min_texts": 2, "max_share": 0.9, "dimensions": 2, "min_cosine": 0.6}


def fitted(frame, out, reviews, items=(), **params):
    out.mkdir()
    rows = [("2024-03-28", text) for text in reviews]
    facts = build(frame(REVIEWS, rows), frame(ITEMS, list(items)), days=TODAY, params=Params(**params), out=out)
    return facts, load(out)


def test_words_used_like_a_needs_terms_are_found_and_weigh_less(frame, tmp_path):
    facts, terms = fitted(frame, tmp_path / "a", ABOUT + OTHER, **OPTIONS)
    assert set(terms) == {"kombucha"}
    assert set(terms["kombucha"]) == {"healthy_living"} and 0 < terms["kombucha"]["healthy_living"] <= 0.5
    assert (facts["texts"], facts["lexicon"]) == (8, need_lexicon().version)
    assert facts["found"]["healthy_living"] == ["kombucha"] and facts["found"]["thrift"] == []
    json.dumps(facts)


def test_texts_of_items_are_read_too_and_repeated_ones_once(frame, tmp_path):
    items = [("2024-03-28", text, None, None) for text in ABOUT[1:] + OTHER]
    facts, terms = fitted(frame, tmp_path / "a", ABOUT[:1] * 9, items, **OPTIONS)
    assert (facts["texts"], set(terms)) == (8, {"kombucha"})


def test_the_same_texts_in_another_order_give_the_same_file(frame, tmp_path):
    fitted(frame, tmp_path / "a", ABOUT + OTHER, **OPTIONS)
    fitted(frame, tmp_path / "b", OTHER[::-1] + ABOUT[::-1], **OPTIONS)
    assert (tmp_path / "a" / "terms.json").read_bytes() == (tmp_path / "b" / "terms.json").read_bytes()


def test_without_reviews_nothing_is_fitted(frame, tmp_path):
    items = [("2024-03-28", text, None, None) for text in ABOUT]
    facts, terms = fitted(frame, tmp_path / "a", [], items, **OPTIONS)
    assert (facts["texts"], terms) == (0, {})


def test_opinions_brands_and_stop_words_are_no_terms(frame, tmp_path):
    about = [text.replace("kombucha", "kombucha delicious would Acme") for text in ABOUT]
    _, terms = fitted(frame, tmp_path / "a", about + OTHER, [("2024-03-28", "x", None, "ACME")], **OPTIONS)
    assert set(terms) == {"kombucha"}


def test_its_reader_is_built_in_the_same_group():
    assert CONTRACT.group == "features"
