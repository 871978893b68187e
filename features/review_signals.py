"""What each review and customer-service text says: its language, its sentiment, the needs it gives away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from features import need_terms as terms
from features.text.lexicon import NeedLexicon, SentimentLexicon, need_lexicon, sentiment_lexicon
from features.text.sentiment import LABELS
from jobs.contract import ArtifactInput, Column, DayRange, Table, TableInput, between, in_set, no_rows_where

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Params:
    """Data files of this market, below the installation's home, and how much of a text is read.

    Parameters
    ----------
    sentiment, needs
        The lexicons; empty for the packaged ones.
    max_chars
        Only the beginning of a longer text is read, so that no text can hold up the night.
    """

    sentiment: str = ""
    needs: str = ""
    max_chars: int = 20_000


CONTRACT = Table(
    name="features.review_signals",
    group="features",
    owner="user-understanding",
    description="Sentiment and needs of every text of the day, by lexicon and rules (docs/text.md).",
    columns=[
        Column("review_id", "string", "Id of the text."),
        Column("user_id", "bigint", "Surrogate user key.", subject=True),
        Column("item_id", "bigint", "Surrogate item key; null where the text is about none."),
        Column("channel", "string", "review or service."),
        Column("language", "string", "Language subtag: the given tag's, else by script; und where it shows none."),
        Column("sentiment", "double", "Score from -1 to 1; null in a language without a lexicon.", digits=6),
        Column("label", "string", "negative, neutral (which mixed feelings are too) or positive; null as sentiment."),
        Column("positive", "double", "Strength of what speaks for.", digits=6),
        Column("negative", "double", "Strength of what speaks against.", digits=6),
        Column("needs", "map<string,double>", "Need: weight of its strongest term, 1 if it is in the lexicon."),
        Column("need_terms", "array<string>", "The terms that gave the needs away, sorted."),
        Column("lexicons", "string", "Versions of the sentiment and the need lexicon, with hashes of their content."),
    ],
    keys=["review_id"],
    workers=True,
    inputs=[TableInput("silver.reviews"), ArtifactInput("features.need_terms", optional=True)],
    checks=[
        between("sentiment", -1, 1),
        in_set("label", LABELS),
        between("positive", 0, None),
        between("negative", 0, None),
        no_rows_where("(sentiment IS NULL) <> (label IS NULL)", "a score without a label"),
    ],
)
PASSED = "ds date, review_id string, user_id bigint, item_id bigint, channel string"
FOUND = (
    "language string, sentiment double, label string, positive double, negative double, needs map<string,double>, "
    "need_terms array<string>"
)


def build(reviews: DataFrame, need_terms: Path | None, *, days: DayRange, params: Params) -> DataFrame:
    sentiment, needs = sentiment_lexicon(params.sentiment), need_lexicon(params.needs)
    if need_terms is not None:
        needs = needs.with_terms(terms.load(need_terms))
    passed = [part.split()[0] for part in PASSED.split(", ")]
    texts = reviews.select(
        *passed, F.col("language").alias("tag"), F.left("text", F.lit(params.max_chars)).alias("text")
    )
    made = texts.mapInArrow(reader(sentiment, needs, passed), f"{PASSED}, {FOUND}")
    return made.withColumn("lexicons", F.lit(f"sentiment {sentiment.version}, needs {needs.version}"))


def reader(sentiment: SentimentLexicon, needs: NeedLexicon, passed: list[str]):
    """A function for ``mapInArrow``: texts in, signals out beside the passed columns; one index a worker."""

    def read(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from features.text.needs import NeedFinder
        from features.text.sentiment import SentimentScorer
        from features.text.tokens import Tokeniser, language_of

        scorer, finder = SentimentScorer(sentiment), NeedFinder(needs)
        tokeniser = Tokeniser([*sentiment.words, *needs.terms, *needs.rejections])
        for batch in batches:
            found: dict[str, list] = {name: [] for name in SIGNALS.names}
            for tag, text in zip(batch.column("tag").to_pylist(), batch.column("text").to_pylist()):
                tokens = tokeniser(text or "")
                language, said = language_of(tag, text or ""), scorer.score(tokens)
                known = language in LANGUAGES
                by_need = finder.find(tokens) if known else {}
                found["language"].append(language)
                found["sentiment"].append(said.score if known else None)
                found["label"].append(said.label if known else None)
                found["positive"].append(said.positive if known else None)
                found["negative"].append(said.negative if known else None)
                found["needs"].append([(need, max(hits.values())) for need, hits in sorted(by_need.items())])
                found["need_terms"].append(sorted({term for hits in by_need.values() for term in hits}))
            columns = [batch.column(name) for name in passed]
            columns += [pa.array(found[field.name], field.type) for field in SIGNALS]
            yield pa.RecordBatch.from_arrays(columns, names=[*passed, *SIGNALS.names])

    return read


SIGNALS = pa.schema(
    [
        ("language", pa.string()),
        ("sentiment", pa.float64()),
        ("label", pa.string()),
        ("positive", pa.float64()),
        ("negative", pa.float64()),
        ("needs", pa.map_(pa.string(), pa.float64())),
        ("need_terms", pa.list_(pa.string())),
    ]
)
