"""The data files that operations edit: what words say, what people are after, which categories serve it.

Each has a ``version``; what is made from one carries the version and a hash of the content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from jobs.errors import SettingsError
from jobs.settings import home_dir

FOLDER = Path(__file__).resolve().parent.parent / "lexicon"


@dataclass(frozen=True, slots=True)
class Word:
    """What a term does in a text: says something, or changes what others say."""

    valence: float = 0.0
    factor: float | None = None
    negates: bool = False
    exceeds: bool = False
    contrasts: bool = False
    concedes: bool = False
    supposes: bool = False


@dataclass(frozen=True)
class SentimentLexicon:
    """Words by term; see ``features/lexicon/sentiment.yaml`` for what their roles mean."""

    version: str
    words: dict[str, Word]


@dataclass(frozen=True)
class NeedLexicon:
    """``terms``: the weight of each term by need; ``rejections``: terms that say that there is no need."""

    version: str
    needs: tuple[str, ...]
    terms: dict[str, dict[str, float]]
    rejections: frozenset[str] = field(default_factory=frozenset)

    def with_terms(self, more: dict[str, dict[str, float]]) -> NeedLexicon:
        """This lexicon and found terms; a term that it has keeps its own weights."""
        return replace(self, terms={**more, **self.terms})


@dataclass(frozen=True)
class NeedCategories:
    """Names of categories by need."""

    version: str
    names: dict[str, tuple[str, ...]]


def sentiment_lexicon(option: str = "") -> SentimentLexicon:
    """The packaged sentiment lexicon, or the file that a market names; see `_load`."""
    path, version, content = _load("sentiment", option)
    words: dict[str, Word] = {}

    def give(term: str, **role: Any) -> None:
        words[term] = replace(words.get(term, Word()), **role)

    for where, strength, terms in _by_number(path, content, "words"):
        for term in terms:
            if term in words:
                raise SettingsError(f"{path}: {where} repeats {term!r}, which has a strength already.")
            give(term, valence=strength)
    for _, factor, terms in _by_number(path, content, "intensifiers"):
        for term in terms:
            give(term, factor=factor)
    for section, role in (
        ("negators", "negates"),
        ("excess", "exceeds"),
        ("contrasts", "contrasts"),
        ("concessions", "concedes"),
        ("conditions", "supposes"),
    ):
        for language, terms in _mapping(path, content, section).items():
            for term in _terms(path, f"{section}.{language}", terms):
                give(term, **{role: True})
    return SentimentLexicon(version, words)


def need_lexicon(option: str = "") -> NeedLexicon:
    """The packaged need lexicon, or the file that a market names; see `_load`."""
    path, version, content = _load("needs", option)
    terms: dict[str, dict[str, float]] = {}
    needs = _mapping(path, content, "needs")
    for need, entry in needs.items():
        if not isinstance(entry, dict):
            raise SettingsError(f"{path}: needs.{need} must have a description and terms by language.")
        for language, listed in entry.items():
            if language != "description":
                for term in _terms(path, f"needs.{need}.{language}", listed):
                    terms.setdefault(term, {})[need] = 1.0
    rejections = [
        term
        for language, listed in _mapping(path, content, "rejections").items()
        for term in _terms(path, f"rejections.{language}", listed)
    ]
    return NeedLexicon(version, tuple(needs), terms, frozenset(rejections))


def need_categories(option: str = "") -> NeedCategories:
    """The packaged mapping of needs to categories, or the file that a market names; see `_load`."""
    path, version, content = _load("need_categories", option)
    named = _mapping(path, content, "needs")
    return NeedCategories(version, {need: tuple(_terms(path, f"needs.{need}", names)) for need, names in named.items()})


def _load(name: str, option: str) -> tuple[Path, str, dict[str, Any]]:
    """Path, version and content of a data file; a relative ``option`` is below the installation's home.

    Raises
    ------
    SettingsError
        The file is missing, is no YAML mapping, or has no version.
    """
    path = home_dir() / option if option else FOLDER / f"{name}.yaml"
    try:
        raw = path.read_bytes()
        content = yaml.safe_load(raw)
    except FileNotFoundError:
        raise SettingsError(f"The data file {path} is missing: write it, or leave the option out.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"The data file {path} is no YAML ({error}).") from None
    if not isinstance(content, dict) or not isinstance(content.get("version"), int):
        raise SettingsError(f"The data file {path} must be a mapping with a whole number as its version.")
    return path, f"{content['version']}-{hashlib.sha256(raw).hexdigest()[:8]}", content


def _mapping(path: Path, content: dict[str, Any], section: str) -> dict[str, Any]:
    found = content.get(section)
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise SettingsError(f"{path}: section {section} must map names to lists.")
    return found


def _by_number(path: Path, content: dict[str, Any], section: str) -> Iterator[tuple[str, float, list[str]]]:
    """The lists of a section that has numbers below its languages."""
    for language, numbered in _mapping(path, content, section).items():
        if not isinstance(numbered, dict):
            raise SettingsError(f"{path}: {section}.{language} must map numbers to lists of terms.")
        for number, terms in numbered.items():
            where = f"{section}.{language}.{number}"
            if isinstance(number, bool) or not isinstance(number, int | float):
                raise SettingsError(f"{path}: {where} must be below a number.")
            yield where, float(number), _terms(path, where, terms)


def _terms(path: Path, where: str, terms: Any) -> list[str]:
    if not isinstance(terms, list):
        raise SettingsError(f"{path}: {where} must be a list of terms.")
    for term in terms:
        if not isinstance(term, str) or not term.strip():
            raise SettingsError(f"{path}: {where} holds {term!r}, which is no text: put it in quotes.")
    return terms
