"""How well sentiment and needs are read from hand-labelled texts: ``python -m features.text.evaluate [FOLDER]``.

The folder (``tests/data/text``) holds ``sentiment.jsonl`` and ``needs.jsonl``. Constants were chosen on the part
``dev``; what counts is ``held_out``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from features.text.lexicon import need_lexicon, sentiment_lexicon
from features.text.needs import NeedFinder
from features.text.sentiment import LABELS, NEGATIVE, Rules, SentimentScorer
from features.text.tokens import Tokeniser

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "data" / "text"
PARTS = ("dev", "held_out")
METHODS = ("rules", "lexicon only", "majority")
LEXICON_THRESHOLD = 0.2  # the best on dev, for the lexicon alone
SAMPLES, SEED = 2000, 7


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    """The labelled texts of a file, in order."""
    return [json.loads(line) for line in (folder / name).read_text(encoding="utf-8").splitlines()]


def accuracy(truth: np.ndarray, found: np.ndarray) -> float:
    """Share of equal labels."""
    return float((truth == found).mean())


def macro_f1(truth: np.ndarray, found: np.ndarray) -> float:
    """Mean over the labels of the harmonic mean of precision and recall; 0 for a label that is never right."""
    scores = []
    for label in range(len(LABELS)):
        hits = ((truth == label) & (found == label)).sum()
        scores.append(2 * hits / max(1, (truth == label).sum() + (found == label).sum()))
    return float(np.mean(scores))


def interval(measure: Callable[[np.ndarray], float], n: int) -> tuple[float, float]:
    """Percentile bootstrap interval (95 %) of a measure of drawn rows."""
    rng = np.random.default_rng(SEED)
    drawn = [measure(rng.integers(0, n, n)) for _ in range(SAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def labelled(texts: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """The label of each text by each method, and the ``truth``, as positions in `LABELS`."""
    lexicon = sentiment_lexicon()
    tokeniser, scorer = Tokeniser(lexicon.words), SentimentScorer(lexicon)
    bare = SentimentScorer(lexicon, Rules(threshold=LEXICON_THRESHOLD))
    tokens = [tokeniser(text["text"]) for text in texts]
    found = {
        "truth": [text["label"] for text in texts],
        "rules": [scorer.score(each).label for each in tokens],
        "lexicon only": [bare.plain(each).label for each in tokens],
        "majority": [NEGATIVE] * len(texts),
    }
    return {name: np.array([LABELS.index(label) for label in labels]) for name, labels in found.items()}


def measured(truth: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    """Accuracy and macro-F1 with their intervals."""
    return {
        "accuracy": accuracy(truth, found),
        "accuracy_interval": interval(lambda at: accuracy(truth[at], found[at]), len(truth)),
        "macro_f1": macro_f1(truth, found),
        "macro_f1_interval": interval(lambda at: macro_f1(truth[at], found[at]), len(truth)),
    }


def parts(texts: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """Each part and language, and the positions of its texts."""
    for part in PARTS:
        for language in ("en", "zh", "both"):
            at = [n for n, t in enumerate(texts) if t["split"] == part and language in (t["language"], "both")]
            yield {"part": part, "language": language, "texts": len(at)}, np.array(at)


def sentiment_rows(texts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Accuracy and macro-F1 by part, language and method."""
    found = labelled(texts)
    return [
        {**which, "method": method, **measured(found["truth"][at], found[method][at])}
        for which, at in parts(texts)
        for method in METHODS
    ]


def gain(texts: list[dict[str, Any]], part: str, over: str) -> tuple[float, float, float]:
    """Macro-F1 of the rules less that of another method, with the interval of the paired difference."""
    found = labelled([text for text in texts if text["split"] == part])
    truth, ours, theirs = found["truth"], found["rules"], found[over]

    def difference(at: np.ndarray) -> float:
        return macro_f1(truth[at], ours[at]) - macro_f1(truth[at], theirs[at])

    return difference(np.arange(len(truth))), *interval(difference, len(truth))


def by_note(texts: list[dict[str, Any]], part: str) -> dict[str, tuple[int, float, float]]:
    """Texts, and accuracy of the rules and of the lexicon alone, by what is special about the text."""
    kept = [text for text in texts if text["split"] == part]
    found, notes = labelled(kept), np.array([text["note"] for text in kept])
    return {
        str(note): (
            int((notes == note).sum()),
            *[accuracy(found["truth"][notes == note], found[m][notes == note]) for m in METHODS[:2]],
        )
        for note in np.unique(notes)
    }


def need_rows(texts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Precision, recall and F1 over all pairs of text and need, with the interval of F1 over texts."""
    lexicon = need_lexicon()
    finder, tokeniser = NeedFinder(lexicon), Tokeniser([*lexicon.terms, *lexicon.rejections])
    found = [set(finder.find(tokeniser(text["text"]))) for text in texts]
    rows = []
    for which, at in parts(texts):
        truth = [set(texts[n]["needs"]) for n in at]
        commonest = max(lexicon.needs, key=lambda need, truth=truth: sum(need in needs for needs in truth))
        for method, named in (("lexicon", [found[n] for n in at]), ("majority", [{commonest}] * len(at))):
            counts = np.array([(len(t & g), len(g), len(t)) for t, g in zip(truth, named)])
            rows.append({**which, "method": method, **retrieved(counts)})
    return rows


def retrieved(counts: np.ndarray) -> dict[str, Any]:
    """Precision, recall and F1 of rows of hits, needs named and needs there."""
    hits, named, there = counts.sum(0)
    return {
        "precision": float(hits / max(1, named)),
        "recall": float(hits / max(1, there)),
        "f1": _f1(counts),
        "f1_interval": interval(lambda drawn: _f1(counts[drawn]), len(counts)),
    }


def _f1(counts: np.ndarray) -> float:
    hits, named, wanted = counts.sum(0)
    return float(2 * hits / max(1, named + wanted))


def markdown(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    names = [name for name in rows[0] if not name.endswith("_interval")]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for row in rows:
        cells = []
        for name in names:
            cell = f"{row[name]:.3f}" if isinstance(row[name], float) else str(row[name])
            if span := row.get(f"{name}_interval"):
                cell += f" ({span[0]:.2f} to {span[1]:.2f})"
            cells.append(cell)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(folder: Path) -> None:
    texts, needs = read(folder, "sentiment.jsonl"), read(folder, "needs.jsonl")
    print(f"Sentiment\n\n{markdown(sentiment_rows(texts))}\n")
    for over in METHODS[1:]:
        more, low, high = gain(texts, "held_out", over)
        print(f"Rules less {over}, held out: macro-F1 {more:+.3f} ({low:+.2f} to {high:+.2f})")
    notes = by_note(texts, "held_out").items()
    table = [{"note": n, "texts": c, "rules": ours, "lexicon only": theirs} for n, (c, ours, theirs) in notes]
    print(f"\n{markdown(table)}\n\nNeeds\n\n{markdown(need_rows(needs))}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
