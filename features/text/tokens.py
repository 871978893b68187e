"""Tokens of English, Chinese and mixed text, and the terms of a lexicon among them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

HAN = re.compile(r"([\u3400-\u4dbf\u4e00-\u9fff]+)")
_KANA_OR_HANGUL = re.compile(r"[\u3040-\u30ff\uac00-\ud7af]")
_LATIN = re.compile(r"[a-z]")
_MODIFIERS = re.compile("[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]")
_LATIN_WORD = re.compile(r"[a-z][a-z'-]*$")
_DRAWN_OUT = re.compile(r"(.)\1{2,}")
LINE_END = "。"
UNDETERMINED = "und"
ENDINGS: dict[str, str | tuple[str, ...]] = {
    "s": "",
    "es": ("s", "x", "z", "ch", "sh", "o", "i"),
    "d": "e",
    "ed": "",
    "ing": "",
    "ly": "",
    "r": "e",
    "er": "",
    "st": "e",
    "est": "",
}
"""Regular endings of English, and what they may follow."""


def normalise(text: str) -> str:
    """One spelling for what looks alike: full-width forms, quotes, case, the skin tones of emoji, line ends."""
    plain = unicodedata.normalize("NFKC", text).replace("\u2019", "'").lower()
    return re.sub(r"\s*\n\s*", f" {LINE_END} ", _MODIFIERS.sub("", plain).strip())


def language_of(tag: str | None, text: str) -> str:
    """The primary language subtag: the given tag's, else by the text's script.

    Han without kana or hangul is ``zh``, Latin is taken for ``en``, all else is ``und`` (BCP 47: undetermined).
    A Chinese text may quote many Latin letters, so a fifth of Han letters is enough.

    Examples
    --------
    >>> language_of("zh-Hans-CN", "hello"), language_of(None, "这个 phone 很好"), language_of(" ", "42")
    ('zh', 'zh', 'und')
    """
    if tag and tag.strip():
        return re.split(r"[-_]", tag.strip().lower())[0]
    plain = text.lower()
    han, latin = sum(map(len, HAN.findall(plain))), len(_LATIN.findall(plain))
    if _KANA_OR_HANGUL.search(plain) or han + latin == 0:
        return UNDETERMINED
    return "zh" if han >= 0.2 * (han + latin) else "en"


class Tokeniser:
    """Cuts normalised text: Han by jieba, which learns the lexicon's terms, all else by NLTK's tweet tokeniser.

    Parameters
    ----------
    terms
        Terms of the lexicons in use.
    """

    def __init__(self, terms: Iterable[str] = ()) -> None:
        import rjieba
        from nltk.tokenize import TweetTokenizer

        self._jieba = rjieba.Jieba()
        for term in sorted(set(terms)):
            if len(term) > 1 and HAN.fullmatch(term) and not self._jieba.has_word(term):
                self._jieba.add_word(term, self._jieba.suggest_freq(term), "")
        self._tweets = TweetTokenizer(reduce_len=True)

    def __call__(self, text: str) -> list[str]:
        """Tokens in order, punctuation and emoji among them; a space between Han counts as a comma."""
        found: list[str] = []
        pieces = HAN.split(normalise(text))
        for at, piece in enumerate(pieces):
            if at % 2:
                found += self._jieba.cut(piece)
            elif piece.strip():
                found += self._tweets.tokenize(piece)
            elif piece and 0 < at < len(pieces) - 1:
                found.append(",")
        return found


@dataclass(frozen=True, slots=True)
class Unit:
    """A term of the lexicon, or a token that it lacks (``term`` is then None)."""

    text: str
    term: str | None


def bases(word: str) -> Iterator[str]:
    """What an English word may be an inflection of: plural, tense, comparison, adverb; guesses, for a look-up.

    Examples
    --------
    >>> [word for word in bases("tastier") if word == "tasty"], "stop" in bases("stopping"), "use" in bases("used")
    (['tasty'], True, True)
    """
    for ending, after in ENDINGS.items():
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < 3 or not stem.endswith(after):
            continue
        yield stem
        if stem.endswith("i"):
            yield f"{stem[:-1]}y"
        if ending in ("ing", "ly"):
            yield f"{stem}e"
        if stem[-1] == stem[-2]:
            yield stem[:-1]


class Matcher:
    """Finds the terms of a lexicon in tokens, the longest first; an English word by its inflections too.

    Parameters
    ----------
    terms
        Terms as they are written in the lexicon's file.
    openers
        Han terms that jieba may leave glued to the next one, as 很 in 很快: an unlisted token that begins with one
        is cut there if a term follows.
    """

    def __init__(self, terms: Collection[str], openers: Collection[str] = ()) -> None:
        self._terms = {normalise(term): term for term in sorted(terms)}
        self._prefixes = {term[:n] for term in self._terms for n in range(1, len(term))}
        self._openers = {opener for opener in openers if HAN.fullmatch(opener)}
        self._single = lru_cache(maxsize=100_000)(self._look_up)

    def _look_up(self, token: str) -> str | None:
        """The term of a single token: itself, without drawn-out letters, or what it is an inflection of."""
        for form in dict.fromkeys((token, _DRAWN_OUT.sub(r"\1\1", token), _DRAWN_OUT.sub(r"\1", token))):
            if form in self._terms:
                return self._terms[form]
            if _LATIN_WORD.match(form):
                for base in bases(form):
                    if base in self._terms:
                        return self._terms[base]
        return None

    def units(self, tokens: list[str]) -> list[Unit]:
        """Tokens as units: neighbours that make up a term are one, the others stay as they are."""
        found: list[Unit] = []
        at = 0
        while at < len(tokens):
            term, taken = self._longest(tokens, at)
            if term is None:
                found += self._parts(tokens[at])
            else:
                found.append(Unit(" ".join(tokens[at : at + taken]), term))
            at += taken
        return found

    def _longest(self, tokens: list[str], at: int) -> tuple[str | None, int]:
        joined, best, taken = tokens[at], self._single(tokens[at]), 1
        for end in range(at + 1, len(tokens)):
            if joined not in self._prefixes:
                break
            glue = "" if HAN.match(joined[-1]) or HAN.match(tokens[end][0]) else " "
            joined += glue + tokens[end]
            if joined in self._terms:
                best, taken = self._terms[joined], end + 1 - at
        return best, taken

    def _parts(self, token: str) -> Iterator[Unit]:
        for cut in range(len(token) - 1 if HAN.fullmatch(token) else 0, 0, -1):
            head, rest = token[:cut], token[cut:]
            if head in self._openers and rest in self._terms:
                yield Unit(head, head)
                yield Unit(rest, self._terms[rest])
                return
        yield Unit(token, None)
