"""Systems that compare strings, without a trained encoder, and one that adds strings to an encoder.

Each function takes the names of a dictionary and returns a ``Rank`` for :func:`.protocols.predict`.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from rapidfuzz import fuzz, process
from sklearn.feature_extraction.text import TfidfVectorizer
from tqdm.auto import tqdm

# n texts -> (n, k) rows of the dictionary, best first, -1 where there are no more
Rank = Callable[[Sequence[str]], np.ndarray]
# n texts -> (n, names of the dictionary), the higher the better
Scores = Callable[[Sequence[str]], np.ndarray]

TABLE = 1 << 25  # scores in memory at a time: 128 MB


def exact_match(names: Sequence[str], k: int = 10) -> Rank:
    """A lookup table: the rows whose name is the text, letter by letter."""
    rows = defaultdict(list)
    for i, name in enumerate(names):
        rows[name].append(i)

    def rank(texts: Sequence[str]) -> np.ndarray:
        found = np.full((len(texts), k), -1)
        for text, places in zip(texts, found, strict=True):
            same = rows.get(text, [])[:k]
            places[: len(same)] = same
        return found

    return rank


def tfidf(names: Sequence[str], k: int = 10) -> Rank:
    """Character 2- to 4-grams within words, sublinear TF-IDF, cosine."""
    return _by_scores(tfidf_scores(names), k, "TF-IDF", len(names))


def tfidf_scores(names: Sequence[str]) -> Scores:
    """The cosine similarities behind :func:`tfidf`: n texts -> (n, names)."""
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True,
                                 dtype=np.float32)
    dictionary = vectorizer.fit_transform(names).T.tocsr()
    # sparse times sparse: few names share a letter group with a text
    return lambda texts: (vectorizer.transform(texts) @ dictionary).toarray()


def fuzzy(names: Sequence[str], k: int = 10) -> Rank:
    """Fewest letters to add or take away (normalised indel similarity), after sorting the words."""
    def with_sorted_words(texts: Sequence[str]) -> list[str]:
        return [" ".join(sorted(text.split())) for text in texts]

    dictionary = with_sorted_words(names)

    def scores(texts: Sequence[str]) -> np.ndarray:
        return process.cdist(with_sorted_words(texts), dictionary, scorer=fuzz.ratio,
                             dtype=np.float32, workers=-1)

    return _by_scores(scores, k, "fuzzy", len(names))


def hybrid(names: Sequence[str], vectors: np.ndarray, embed: Callable[[Sequence[str]], np.ndarray],
           weight: float, k: int = 10) -> Rank:
    """Letters and meaning: ``weight`` times the TF-IDF cosine, plus the cosine of an encoder.

    Args:
        vectors: (n, d) vectors of the names, from that encoder.
        embed: the encoder: texts -> (texts, d).
    """
    letters, meaning = tfidf_scores(names), _unit(vectors).T

    def scores(texts: Sequence[str]) -> np.ndarray:
        return weight * letters(texts) + _unit(embed(texts)) @ meaning

    return _by_scores(scores, k, "hybrid", len(names))


def _unit(vectors: np.ndarray) -> np.ndarray:
    # a vector of zeros stays zero
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)


def _by_scores(scores: Scores, k: int, label: str, names: int) -> Rank:
    """Rank by scores, a block of texts at a time, with a progress bar called ``label``."""
    block = max(1, min(256, TABLE // names))

    def rank(texts: Sequence[str]) -> np.ndarray:
        found = []
        for start in tqdm(range(0, len(texts), block), desc=label, unit="block"):
            loss = -scores(texts[start : start + block])
            # sort the names up to the k-th score alone, because sorting all would cost much more
            last = min(k, loss.shape[1]) - 1
            edges = np.partition(loss, last, axis=1)[:, last]
            for row, edge in zip(loss, edges, strict=True):
                near = np.flatnonzero(row <= edge)  # in order: of equal names the first wins
                found.append(near[row[near].argsort(kind="stable")[:k]])
        return np.stack(found) if found else np.empty((0, min(k, names)), int)

    return rank
