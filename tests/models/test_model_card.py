from __future__ import annotations

from models.model_card import WHOLE, shortened

CARD = "\n".join(["# Ranker", *[f"line {n:03d}" for n in range(100)]])


def test_a_card_that_fits_stays_as_it_is():
    assert shortened(CARD, len(CARD)) == CARD


def test_whole_lines_are_kept_from_the_top_and_the_end_says_where_the_rest_is():
    found = shortened(CARD, 300)
    assert len(found) <= 300
    kept, end = found.split("\n\n")
    assert end == WHOLE
    assert kept.split("\n") == CARD.split("\n")[: len(kept.split("\n"))]
    assert len(found) + len("\nline 000") > 300
