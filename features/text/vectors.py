"""Word vectors from a market's own texts, and the words nearest to the seeds of each need."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse as sp

_WORD = re.compile(r"[a-z][a-z'-]{2,}$|[\u3400-\u9fff]{2,}$")
SMOOTHING = 0.75
SEED = 7


def vocabulary(documents: Collection[Collection[str]], least: int, max_share: float, size: int) -> list[str]:
    """Words of at least ``least`` documents and at most ``max_share`` of them; the ``size`` most frequent, sorted."""
    frequency = Counter(word for document in documents for word in set(document))
    most = max_share * len(documents)
    kept = [(-n, word) for word, n in frequency.items() if least <= n <= most and (" " in word or _WORD.match(word))]
    return sorted(word for _, word in sorted(kept)[:size])


def word_vectors(documents: Collection[Collection[str]], words: list[str], dimensions: int) -> np.ndarray:
    r"""Unit vectors of words that occur in the same documents: SVD of positive pointwise mutual information.

    .. math:: \mathrm{PPMI}(w, c) = \max\Big(0, \log \frac{n_{wc} \sum n}{n_w \, n_c^{3/4} \sum n / \sum n^{3/4}}\Big)

    Levy, Goldberg and Dagan, Improving distributional similarity with lessons learned from word embeddings,
    TACL 3, 2015. One thread and a fixed seed: the same texts give the same vectors, which ARPACK's do not.

    Returns
    -------
    ndarray
        float64, shape ``(words, min(dimensions, words - 1))``; a word that occurs with no other is all zeros.
    """
    from sklearn.utils.extmath import randomized_svd
    from threadpoolctl import threadpool_limits

    rank = min(dimensions, len(words) - 1)
    if rank < 1:
        return np.zeros((len(words), 0))
    ppmi = _ppmi(_together(documents, words))
    with threadpool_limits(1, "blas"):
        left, strength, _ = randomized_svd(ppmi, rank, n_iter=7, random_state=SEED)
    vectors = left * np.sqrt(strength)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 1e-9)


def _together(documents: Collection[Collection[str]], words: list[str]) -> sp.csr_array:
    """How many documents hold each pair of different words."""
    import scipy.sparse as sp

    place = {word: at for at, word in enumerate(words)}
    # sorted, so that sums are added up in one order
    cells = [(row, at) for row, d in enumerate(documents) for at in sorted({place[w] for w in d if w in place})]
    rows, columns = np.array(cells, dtype=np.int64).reshape(-1, 2).T
    holds = sp.csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(documents), len(words)))
    pairs = sp.csr_array(holds.T @ holds)
    pairs.setdiag(0)
    pairs.eliminate_zeros()
    pairs.sort_indices()
    return pairs


def _ppmi(pairs: sp.csr_array) -> sp.csr_array:
    import scipy.sparse as sp

    total = pairs.sum(axis=0)
    smooth = total**SMOOTHING
    cells = pairs.tocoo()
    rows, columns = cells.coords
    expected = total[rows] * smooth[columns] / max(smooth.sum(), 1.0)
    values = np.maximum(0.0, np.log(cells.data / expected))
    found = sp.csr_array((values, (rows, columns)), shape=pairs.shape)
    found.eliminate_zeros()
    return found


def nearest(
    words: list[str],
    vectors: np.ndarray,
    seeds: dict[str, dict[str, float]],
    ignored: Collection[str],
    *,
    top: int,
    least: float,
    min_seeds: int,
) -> dict[str, dict[str, float]]:
    """Words near the seeds of a need: ``{word: {need: cosine}}``, each for the need that it is nearest to.

    Parameters
    ----------
    seeds
        Weights by need of each seed; a need with fewer than ``min_seeds`` seeds among the words is left alone.
    ignored
        Words that are never found.
    top, least
        At most so many words a need, of at least this cosine with the mean of its seeds.
    """
    by_need: dict[str, list[int]] = {}
    for at, word in enumerate(words):
        for need in seeds.get(word, {}):
            by_need.setdefault(need, []).append(at)
    needs = sorted(need for need, at in by_need.items() if len(at) >= min_seeds)
    if not needs or not vectors.shape[1]:
        return {}
    centres = np.array([vectors[by_need[need]].mean(axis=0) for need in needs])
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-9)
    # rounded, so that near ties do not hang on the last bits
    cosine = np.round(vectors @ centres.T, 4)
    best = cosine.argmax(axis=1)
    found: dict[str, dict[str, float]] = {}
    for number, need in enumerate(needs):
        free = [
            (-cosine[at, number], word)
            for at, word in enumerate(words)
            if best[at] == number and cosine[at, number] >= least and word not in seeds and word not in ignored
        ]
        for negative, word in sorted(free)[:top]:
            found[word] = {need: float(-negative)}
    return found
