"""Words that the market's own texts use like the terms of the need lexicon."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features.text.lexicon import need_lexicon, sentiment_lexicon
from features.text.needs import NeedFinder
from features.text.tokens import Matcher, Tokeniser
from features.text.vectors import nearest, vocabulary, word_vectors
from jobs.contract import Artifact, DayRange, TableInput

HORIZON = 90
FILE = "terms.json"


@dataclass(frozen=True)
class Params:
    """How far the lexicon is expanded.

    Parameters
    ----------
    lexicon
        Need lexicon of this market, below the installation's home; empty for the packaged one. Give
        ``features.review_signals`` the same.
    max_texts, dimensions
        Texts fitted on; length of the word vectors.
    min_texts, max_share
        A word must be in so many texts at least, and in at most this share of them.
    top, min_cosine, min_seeds
        Words found a need, their least cosine with the mean of its seeds, and how many seeds the texts must hold.
    weight
        Weight of a found word of cosine 1; a term of the lexicon weighs 1.
    """

    lexicon: str = ""
    max_texts: int = 100_000
    dimensions: int = 50
    min_texts: int = 5
    max_share: float = 0.1
    max_words: int = 20_000
    top: int = 10
    min_cosine: float = 0.6
    min_seeds: int = 3
    weight: float = 0.5


CONTRACT = Artifact(
    name="features.need_terms",
    group="features",
    owner="user-understanding",
    description="Words near the terms of each need, by vectors (PPMI, SVD) of the words of 90 days of reviews and of "
    "the items' texts. Without reviews there are none.",
    inputs=[TableInput("silver.reviews", days=HORIZON), TableInput("silver.items")],
    every_days=7,
)


def build(reviews: DataFrame, items: DataFrame, *, days: DayRange, params: Params, out: Path) -> dict[str, Any]:
    """Write ``terms.json``: the version of the lexicon and ``{word: {need: weight}}``."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    lexicon = need_lexicon(params.lexicon)
    said = reviews.select("text")
    told = items.select(F.concat_ws(". ", "title", "description").alias("text"))
    texts = [] if said.isEmpty() else _sample(said.unionByName(told), params.max_texts)
    sentiment = sentiment_lexicon()
    tokeniser, finder = Tokeniser([*lexicon.terms, *lexicon.rejections, *sentiment.words]), NeedFinder(lexicon)
    documents = [{unit.term or unit.text for unit in finder.matcher.units(tokeniser(text))} for text in texts]
    words = vocabulary(documents, params.min_texts, params.max_share, params.max_words)
    opinions = Matcher(sentiment.words)
    ignored = {word for word in words if opinions.units([word])[0].term is not None} | lexicon.rejections
    ignored |= ENGLISH_STOP_WORDS | {token for brand in _brands(items) for token in tokeniser(brand)}
    found = nearest(
        words,
        word_vectors(documents, words, params.dimensions),
        lexicon.terms,
        ignored,
        top=params.top,
        least=params.min_cosine,
        min_seeds=params.min_seeds,
    )
    terms = {w: {need: round(params.weight * c, 4) for need, c in near.items()} for w, near in sorted(found.items())}
    (out / FILE).write_text(json.dumps({"lexicon": lexicon.version, "terms": terms}, ensure_ascii=False, indent=1))
    by_need = {need: sorted(w for w, near in terms.items() if need in near) for need in lexicon.needs}
    return {"texts": len(texts), "words": len(words), "lexicon": lexicon.version, "found": by_need}


def _sample(texts: DataFrame, size: int) -> list[str]:
    """Different texts in an order that no partitioning changes; at most ``size``."""
    different = texts.where("text IS NOT NULL").distinct()
    return different.orderBy(F.xxhash64("text"), "text").limit(size).toArrow()["text"].to_pylist()


def _brands(items: DataFrame) -> list[str]:
    """Names that stand beside needs in many texts and speak of none."""
    return items.select("brand").where("brand IS NOT NULL").distinct().toArrow()["brand"].to_pylist()


def load(path: Path) -> dict[str, dict[str, float]]:
    """The words of a saved artifact, with their weights by need."""
    return json.loads((path / FILE).read_text())["terms"]
