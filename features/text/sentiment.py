r"""Sentiment of a text by a lexicon and rules for negation, degree, contrast, supposition and questions.

Every listed word says its strength, changed by what stands before it in its clause. With :math:`P` and :math:`N`
the sums of what speaks for and against, the score is

.. math:: s = \frac{P - N}{P + N + k}

so that it lies in (-1, 1), is near 0 for mixed feelings, however strong, and for a single faint word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from features.text.lexicon import SentimentLexicon, Word
from features.text.tokens import Matcher, Unit

ENDS = frozenset(".!?。…") | {"...", ".."}
BREAKS = ENDS | frozenset(',;:、()[]{}—–-~/|"')
ASKS = frozenset("?吗")
PARTICLES = frozenset("的地得了是a") | {"an", "the"}
POSITIVE, NEUTRAL, NEGATIVE = "positive", "neutral", "negative"
LABELS = (NEGATIVE, NEUTRAL, POSITIVE)
_NOTHING = Word()
_WORD = re.compile(r"[^\W_\d]{2}|[\u4e00-\u9fff]")


@dataclass(frozen=True)
class Rules:
    """The constants of the method, chosen on the development part of the labelled texts.

    Parameters
    ----------
    scope
        How many units back a negator reaches.
    turned
        Part of its strength that a negated word keeps, with the other sign.
    before
        Weight of what a contrast follows.
    conceded, supposed, asked
        Weight of what is conceded (although ...), supposed (if ...) and asked (...?).
    prior
        ``k`` of the score.
    threshold
        A score at or beyond it is positive or negative, else neutral, which mixed feelings are too.
    """

    scope: int = 4
    turned: float = 0.6
    before: float = 0.6
    conceded: float = 0.5
    supposed: float = 0.3
    asked: float = 0.1
    prior: float = 1.5
    threshold: float = 0.25


@dataclass(frozen=True, slots=True)
class Sentiment:
    """``positive`` and ``negative``: sums of what speaks for and against, both 0 or more."""

    positive: float
    negative: float
    score: float
    label: str


class SentimentScorer:
    """Scores tokens; one a process, because it indexes the lexicon."""

    def __init__(self, lexicon: SentimentLexicon, rules: Rules = Rules()) -> None:
        self.words, self.rules = lexicon.words, rules
        openers = [term for term, word in self.words.items() if word.negates or word.factor is not None]
        self._matcher = Matcher(self.words, openers)

    def score(self, tokens: list[str]) -> Sentiment:
        """The sentiment of a tokenised text."""
        said = list(self.said(self._matcher.units(tokens)))
        return self.summed(said)

    def plain(self, tokens: list[str]) -> Sentiment:
        """The sentiment by the words alone, without rules: what the rules are measured against."""
        return self.summed([self._word(unit).valence for unit in self._matcher.units(tokens)])

    def summed(self, said: list[float]) -> Sentiment:
        positive, negative = sum((v for v in said if v > 0), 0.0), sum((-v for v in said if v < 0), 0.0)
        score = (positive - negative) / (positive + negative + self.rules.prior)
        label = NEUTRAL if abs(score) < self.rules.threshold else POSITIVE if score > 0 else NEGATIVE
        return Sentiment(positive, negative, score, label)

    def said(self, units: list[Unit]) -> Iterator[float]:
        """What each part of a text says, sentence by sentence; a sentence may begin with "But" and weaken the last."""
        last: list[float] = []
        for sentence in sentences(units):
            first = next((self._word(u) for u in sentence if u.text not in BREAKS), _NOTHING)
            weight = self.rules.before if first.contrasts else 1.0
            yield from (value * weight for value in last)
            last = self._sentence(sentence)
        yield from last

    def _word(self, unit: Unit) -> Word:
        return self.words[unit.term] if unit.term is not None else _NOTHING

    def _sentence(self, units: list[Unit]) -> list[float]:
        """What each unit of a sentence says."""
        rules, said, start, clause, weight = self.rules, [], 0, 0, 1.0
        for at, unit in enumerate(units):
            word = self._word(unit)
            if unit.text in BREAKS or word.contrasts:
                start, weight = at + 1, 1.0
                clause = clause if unit.text in ENDS else start
            if word.contrasts:
                said = [value * rules.before for value in said]
            if word.concedes:
                weight = min(weight, rules.conceded)
            if word.supposes:
                weight = min(weight, rules.supposed)
            said.append(weight * self._value(units, start, at))
        if any(unit.text in ASKS for unit in units[-2:]):
            # "It broke, how do I return it?" asks in its last clause only
            said[clause:] = [value * rules.asked for value in said[clause:]]
        return said

    def _value(self, units: list[Unit], start: int, at: int) -> float:
        """What the unit says, given what stands before it in its clause, which begins at ``start``."""
        word = self._word(units[at])
        following = units[at + 1] if at + 1 < len(units) and units[at + 1].text not in BREAKS else None
        valence = word.valence
        if word.exceeds:
            valence = -1.0 if following is not None and self._plain(following) else 0.0
        elif at > start and self._word(units[at - 1]).exceeds and self._plain(units[at]):
            return 0.0  # "too light" was said by "too"
        elif word.factor is not None and following is not None and self._word(following).valence:
            return 0.0  # "pretty bad", 好贵: a word of degree here
        # a smile is not negated by the words beside it
        return valence * self._degree(units, start, at) if _WORD.search(units[at].text) else valence

    def _plain(self, unit: Unit) -> bool:
        """True of a word that "too" turns into a complaint: it says nothing, or little good."""
        return 0 <= self._word(unit).valence < 2

    def _degree(self, units: list[Unit], start: int, at: int) -> float:
        """Factor by the words before: degree while they are next to it, negation within the scope."""
        factor, sign, near = 1.0, 1.0, True
        for unit in reversed(units[max(start, at - self.rules.scope) : at]):
            word = self._word(unit)
            if word.negates:
                # "not very good" is no strong blame: what lies between does not count
                factor, sign = 1.0, -sign * (self.rules.turned if sign > 0 else 1 / self.rules.turned)
            elif near and word.factor is not None:
                factor *= word.factor
            elif unit.text not in PARTICLES:
                near = False
        return factor * sign


def sentences(units: list[Unit]) -> Iterator[list[Unit]]:
    """Units by sentence, each with the mark that ends it."""
    start = 0
    for at, unit in enumerate(units):
        if unit.text in ENDS:
            yield units[start : at + 1]
            start = at + 1
    if start < len(units):
        yield units[start:]
