"""Needs that a text gives away: the terms of the need lexicon in it, unless their clause rejects them."""

from __future__ import annotations

from collections.abc import Iterator

from features.text.lexicon import NeedLexicon
from features.text.sentiment import BREAKS
from features.text.tokens import Matcher, Unit


class NeedFinder:
    """Finds needs in tokens; one a process, because it indexes the lexicon."""

    def __init__(self, lexicon: NeedLexicon) -> None:
        self._lexicon = lexicon
        self.matcher = Matcher({*lexicon.terms, *lexicon.rejections})

    def find(self, tokens: list[str]) -> dict[str, dict[str, float]]:
        """Weight of each term found, by need."""
        found: dict[str, dict[str, float]] = {}
        for clause in _clauses(self.matcher.units(tokens)):
            if any(unit.term in self._lexicon.rejections for unit in clause):
                continue
            for unit in clause:
                for need, weight in self._lexicon.terms.get(unit.term, {}).items():
                    found.setdefault(need, {})[unit.term] = weight
        return found


def _clauses(units: list[Unit]) -> Iterator[list[Unit]]:
    clause: list[Unit] = []
    for unit in units:
        if unit.text in BREAKS:
            yield clause
            clause = []
        else:
            clause.append(unit)
    yield clause
